"""From a SOURCE of the command line to the source that reads it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from collector.clock import Clock
from collector.ingest.bounds import BoundsBook
from collector.ingest.measures import Measures
from collector.ingest.options import IngestOptions
from collector.sources.files import FileSource
from collector.sources.options import KafkaOptions
from collector.sources.otlp_http import RequestLimits
from collector.sources.source import Source
from collector.sources.stdin import StdinSource
from collector.sources.urls import FileUrl, KafkaUrl, OtlpUrl, SourceUrl


def open_source(
    url: SourceUrl,
    bounds: BoundsBook,
    clock: Clock,
    *,
    options: IngestOptions,
    kafka: KafkaOptions,
    otlp: RequestLimits,
    until_idle: bool,
    notice: Callable[[str], None],
    measures: Measures,
) -> Source:
    """Open what `url` names.

    Raises:
        BadSource, SourceUnavailable, SourceRefused: it cannot be read.
    """
    options = options.within_memory()
    match url:
        case KafkaUrl():
            from collector.sources.kafka import KafkaSource

            return KafkaSource(
                url,
                bounds.recorded,
                clock,
                options,
                kafka.at_most(options.fetch_bytes),
                until_idle=until_idle,
                notice=notice,
                measures=measures,
            )
        case FileUrl():
            return FileSource(
                url,
                bounds,
                clock,
                batch_bytes=options.batch_bytes,
                batch_age_s=options.batch_age_s,
                until_idle=until_idle,
                unfinished_line_s=options.unfinished_line_s,
                notice=notice,
            )
        case OtlpUrl():
            from collector.sources.push import PushSource

            return PushSource(url, clock, options, otlp, until_idle=until_idle)
        case _:
            return StdinSource(
                url, sys.stdin.buffer, clock, batch_bytes=options.batch_bytes, batch_age_s=options.batch_age_s
            )
