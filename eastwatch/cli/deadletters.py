"""`eastwatch deadletters list`: what could not be read, where it stood, and why."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from collector.deadletters import EARLIEST, LATEST, StoredDeadLetter, dead_letter_counts, dead_letters
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of
from eastwatch.cli.terminal import printable
from eastwatch.cli.times import parse_time, rfc3339

_SHOWN_BYTES = 100

app = typer.Typer(help="Records that could not be decoded.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Records that could not be decoded."""


@app.command("list")
def list_(
    ctx: typer.Context,
    since: Annotated[str | None, typer.Option(metavar="T", help="arrived at or after, RFC 3339 or -2h")] = None,
    until: Annotated[str | None, typer.Option(metavar="T", help="arrived before")] = None,
    source: Annotated[str, typer.Option(metavar="NAME", help="only this topic, file or endpoint")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="records shown, newest first")] = 100,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """List dead letters with position and reason, newest first."""
    now = datetime.now(UTC)
    start = parse_time(since, now) if since else EARLIEST
    end = parse_time(until, now) if until else LATEST
    engine = open_for_reading(settings_of(ctx, store, config))
    try:
        letters = dead_letters(engine, since=start, until=end, source=source, limit=limit)
        counts = dead_letter_counts(engine, since=start, until=end, source=source)
    finally:
        engine.close()
    total = sum(one.dead_letters for one in counts)
    if as_json:
        sys.stdout.write(json.dumps({"total": total, "dead_letters": [_document(one) for one in letters]}) + "\n")
        return
    _print(letters, total)


def _document(letter: StoredDeadLetter) -> dict[str, object]:
    return {
        "received_at": rfc3339(letter.received_at),
        "source": letter.source,
        "partition": letter.partition,
        "offset": letter.offset,
        "record": letter.record,
        "format": letter.format,
        "reason": letter.reason,
        "payload": letter.payload.decode("utf-8", "backslashreplace"),
        "payload_bytes": letter.payload_bytes,
    }


def _print(letters: Sequence[StoredDeadLetter], total: int) -> None:
    for letter in letters:
        place = f"{letter.source}[{letter.partition}]@{letter.offset}" + (f"/{letter.record}" if letter.record else "")
        shown = ascii(letter.payload[:_SHOWN_BYTES])[2:-1]
        more = "..." if letter.payload_bytes > _SHOWN_BYTES else ""
        told = printable(f"{rfc3339(letter.received_at)}  {place}  {letter.format}: {letter.reason}")
        sys.stdout.write(f"{told}\n    {shown}{more}\n")
    rest = total - len(letters)
    sys.stdout.write(f"{total} dead letters" + (f", {rest} older ones not shown (--limit)" if rest > 0 else "") + "\n")
