"""`eastwatch inventory load`: what the platform says of its pods and services, into the alias table."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from collector.errors import BadSource
from collector.inventory import load
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_writing, settings_of
from eastwatch.cli.errors import tell
from eastwatch.cli.ingest import signals
from eastwatch.follow_up import follow_up
from storage.engine import Engine

WATCH_S = 2.0

app = typer.Typer(help="What runs where, by the platform's own account.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """What runs where, by the platform's own account."""


@app.command("load")
def load_(
    ctx: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES...|-",
            help="kubectl get pods,services,endpointslices -A -o json|yaml, or lists of Consul's HTTP API "
            "(/v1/catalog/service/NAME, /v1/health/service/NAME), or what `consul catalog` prints; - is standard input",
        ),
    ],
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="load a file again whenever it changes, until SIGTERM; what it no longer lists ends then"
        ),
    ] = False,
    cluster: Annotated[str, typer.Option(metavar="NAME", help="name of the Kubernetes cluster")] = "",
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Load inventory files; names of calls that are stored already are resolved with them too."""
    settings = settings_of(ctx, store, config)
    documents = {name: _read(name) for name in files}
    engine = open_for_writing(settings)
    try:
        counts = _load(engine, documents, cluster)
        if as_json:
            sys.stdout.write(json.dumps(counts) + "\n")
        else:
            sys.stdout.write(f"loaded {counts['objects']:,} objects, {counts['aliases']:,} aliases\n")
        sys.stdout.flush()
        if watch:
            watch_files(engine, {name: text for name, text in documents.items() if name != "-"}, cluster)
    finally:
        engine.close()


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise BadSource(f"{name}: {error.strerror}, expected a readable inventory file") from None


def _load(
    engine: Engine, documents: Mapping[str, bytes], cluster: str, before: Mapping[str, bytes] | None = None
) -> dict[str, int]:
    now = datetime.now(UTC)
    loaded = load(engine, documents, cluster=cluster, loaded_at=now, before=before)
    # Calls that were known only by an address may have names now.
    follow_up(engine, now=now)
    return {"objects": loaded.objects, "aliases": loaded.aliases}


def watch_files(
    engine: Engine,
    documents: Mapping[str, bytes],
    cluster: str,
    *,
    stop: threading.Event | None = None,
    interval_s: float = WATCH_S,
) -> None:
    """Load files again when they change, until `stop` is set or SIGTERM or SIGINT comes.

    Args:
        engine: a migrated store.
        documents: what was loaded of each file so far.
        cluster: as for `load`.
        stop: ends the watch.
        interval_s: seconds between looks at the files.
    """
    stop = stop or threading.Event()
    held = dict(documents)
    seen: dict[str, tuple[int, int, int] | None] = dict.fromkeys(held)
    with signals(stop.set):
        while not stop.wait(interval_s):
            stamps = {name: stamp for name in held if (stamp := _stamp(name)) not in (None, seen[name])}
            seen |= stamps
            try:
                # A file may have changed between its first reading and the first look: its content decides.
                fresh = {name: text for name in stamps if (text := _read(name)) != held[name]}
                if not fresh:
                    continue
                counts = _load(engine, fresh, cluster, {name: held[name] for name in fresh})
            except BadSource as error:
                # A file that is half written now is whole at a later look: it has another stamp then.
                tell(str(error))
                continue
            held |= fresh
            tell(f"loaded {counts['objects']:,} objects, {counts['aliases']:,} aliases from {', '.join(fresh)}")


def _stamp(name: str) -> tuple[int, int, int] | None:
    try:
        stat = Path(name).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
