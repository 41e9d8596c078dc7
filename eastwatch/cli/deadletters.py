"""`eastwatch deadletters`: what could not be read, where it stood, and why; and to read it again."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from collector.clock import SystemClock
from collector.deadletters import EARLIEST, LATEST, StoredDeadLetter, dead_letter_counts, dead_letters
from collector.decode.registry import FORMATS
from collector.ingest.decoders import DecoderCache
from collector.ingest.store import Patience
from collector.replay import Replay, Replayed
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of
from eastwatch.cli.errors import tell
from eastwatch.cli.ingest import signals
from eastwatch.cli.terminal import printable
from eastwatch.cli.times import parse_time, rfc3339
from eastwatch.follow_up import follow_up
from eastwatch.settings import Settings
from storage.engine import Engine

_SHOWN_BYTES = 100
_SHOWN_REASONS = 20
SinceOption = Annotated[str | None, typer.Option(metavar="T", help="arrived at or after, RFC 3339 or -2h")]
UntilOption = Annotated[str | None, typer.Option(metavar="T", help="arrived before")]
NameOption = Annotated[str, typer.Option(metavar="NAME", help="only this topic, file or endpoint")]

app = typer.Typer(help="Records that could not be decoded.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Records that could not be decoded."""


@app.command("list")
def list_(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    source: NameOption = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="records shown, newest first")] = 100,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """List dead letters with position and reason, newest first."""
    start, end = _window(since, until)
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


def _window(since: str | None, until: str | None) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    return parse_time(since, now) if since else EARLIEST, parse_time(until, now) if until else LATEST


@app.command()
def replay(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    source: NameOption = "",
    limit: Annotated[
        int | None, typer.Option(min=1, max=100_000_000, help="letters tried, newest batches first", show_default="all")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar="F", help="read them as this format [the one recorded with each]")
    ] = "",
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Read dead letters again: what decodes now is stored, once; what does not stays."""
    start, end = _window(since, until)
    if format_ and format_ not in FORMATS:
        raise typer.BadParameter(f"--format {format_}: expected one of {', '.join(FORMATS)}")
    settings = settings_of(ctx, store, config)
    engine = open_for_reading(settings)
    try:
        ended = threading.Event()
        replayer = _replayer(engine, settings, format_, ended)
        with signals(ended.set):
            found = replayer.run(since=start, until=end, source=source, limit=limit, stop=ended.is_set)
        if found.rows:
            # Edges of what came late are derived as those of anything else.
            follow_up(engine, now=datetime.now(UTC))
    finally:
        engine.close()
    if as_json:
        sys.stdout.write(json.dumps(_outcome(found)) + "\n")
    else:
        _tell_outcome(found)


def _replayer(engine: Engine, settings: Settings, format: str, ended: threading.Event) -> Replay:
    clock = SystemClock()
    patience = Patience(clock, ended, tell, settings.ingest.engine_patience_s)
    keep = settings.ingest.dead_letter_bytes
    return Replay(engine, DecoderCache(settings.decode), clock, patience, format=format, dead_letter_bytes=keep)


def _outcome(found: Replayed) -> dict[str, object]:
    return {
        "tried": found.tried,
        "replayed": found.replayed,
        "failed": found.failed,
        "refused": found.refused,
        "resumed": found.resumed,
        "new_dead_letters": found.new_letters,
        "rows": dict(found.rows),
        "stayed": [asdict(one) for one in found.stayed],
    }


def _tell_outcome(found: Replayed) -> None:
    for one in found.stayed[:_SHOWN_REASONS]:
        place = f"{one.source}[{one.partition}]@{one.offset}" + (f"/{one.record}" if one.record else "")
        sys.stdout.write(printable(f"stays  {place}  {one.reason}") + "\n")
    unnamed = found.failed + found.refused - len(found.stayed[:_SHOWN_REASONS])
    if unnamed > 0:
        sys.stdout.write(f"stays  {unnamed:,} more\n")
    rows = ", ".join(f"{number:,} {table}" for table, number in sorted(found.rows.items())) or "nothing"
    sys.stdout.write(
        f"{found.tried:,} dead letters tried: {found.replayed:,} replayed, {found.failed:,} still undecodable, "
        f"{found.refused:,} refused; stored {rows}\n"
    )
    if found.resumed:
        sys.stdout.write(f"and {found.resumed:,} letters of a replay that was broken off: each counts once\n")
    if found.new_letters:
        sys.stdout.write(f"{found.new_letters:,} parts of them could not be read: they are dead letters of their own\n")


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
