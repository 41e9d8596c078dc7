"""What the plot of a regression shows, read from the rollups: the hour before it, and up to two hours since.

Regression ──► its series ──► histograms and sums by minute ──► Picture
"""

from __future__ import annotations

import numpy as np

from analyzers.latency.findings import title
from analyzers.latency.grid import MINUTE_S, grid
from analyzers.latency.limits import LIMITS
from analyzers.latency.picture import Picture
from analyzers.latency.regression import Regression
from analyzers.latency.series_keys import CALLEE
from analyzers.latency.stack import Stack
from analyzers.latency.stored_rollups import StoredRollups
from storage.engine import Engine

MOST_MIN = 120
"""Minutes since the change that are drawn, at most."""
_QUANTILES = (0.5, 0.95, 0.99)


def read_picture(engine: Engine, one: Regression) -> Picture:
    """The picture of a regression, as the reporter saw it that its numbers are of; without minutes, once they are gone.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    rollups = StoredRollups(engine)
    reporter = next((each for each in one.reporters if each not in CALLEE), one.reporters[0])
    series = np.array(
        [
            number
            for number, each in enumerate(rollups.keys.series)
            if (each.source, each.destination, each.reporter) == (one.source, one.destination, reporter)
            and one.operation in (None, each.operation)
        ],
        np.int64,
    )
    begin = int(one.since.timestamp())
    end = int((one.ended or one.last_seen).timestamp()) + (30 * MINUTE_S if one.ended else 0)
    since = begin - LIMITS.before_min * MINUTE_S
    until = max(min(end, begin + MOST_MIN * MINUTE_S), begin + MINUTE_S)
    length = (until - since) // MINUTE_S
    many = len(rollups.keys.series)
    place = np.full(many, -1, np.int64)
    place[series] = 0
    read = rollups.histograms(series, since, until)
    drawn = read.minutes(place, 1, since, length)
    minutes = Stack(drawn.counts[0], drawn.first)
    sums = grid(many, since, length, [rollups.sums(since, until, series)])
    requests, errors = sums.requests[series].sum(axis=0), sums.errors[series].sum(axis=0)
    known = np.flatnonzero(requests > 0)
    quantiles = minutes.quantiles_us(_QUANTILES)[known]
    split = (begin - since) // MINUTE_S
    last = (int(one.ended.timestamp()) - since) // MINUTE_S if one.ended else length
    halves = [
        Stack(minutes.counts[part].sum(axis=0, keepdims=True), minutes.first)
        for part in (slice(0, split), slice(split, last))
    ]
    return Picture(
        source=one.source,
        destination=one.destination,
        operation=one.operation,
        reporter=reporter,
        since=one.since,
        minutes=since + known * MINUTE_S,
        calls=requests[known],
        p50_us=quantiles[:, 0],
        p95_us=quantiles[:, 1],
        p99_us=quantiles[:, 2],
        error_share=errors[known] / requests[known],
        before=halves[0],
        after=halves[1],
        ratio=one.ratio,
        ratio_low=one.ratio_low,
        ratio_high=one.ratio_high,
        what=one.what,
        shape=one.shape,
        cause=one.causes[0].why if one.causes else title(one),
        ended=one.ended,
    )
