"""`eastwatch inventory load`: what the platform says about its pods and services, into the alias table."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from collector.errors import BadSource
from collector.inventory import load
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_writing, settings_of
from eastwatch.cli.errors import tell
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
            help="kubectl get pods,services,endpointslices -A -o json|yaml; - is standard input",
        ),
    ],
    watch: Annotated[bool, typer.Option("--watch", help="load a file again whenever it changes")] = False,
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
            _watch(engine, [name for name in files if name != "-"], cluster)
    finally:
        engine.close()


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise BadSource(f"{name}: {error.strerror}, expected a readable inventory file") from None


def _load(engine: Engine, documents: Mapping[str, bytes], cluster: str) -> dict[str, int]:
    now = datetime.now(UTC)
    loaded = load(engine, documents, cluster=cluster, loaded_at=now)
    # Calls that were known only by an address may have names now.
    follow_up(engine, now=now)
    return {"objects": loaded.objects, "aliases": loaded.aliases}


def _watch(engine: Engine, names: Sequence[str], cluster: str) -> None:
    seen = {name: _stamp(name) for name in names}
    while True:
        time.sleep(WATCH_S)
        changed = [name for name in names if _stamp(name) not in (None, seen[name])]
        if not changed:
            continue
        seen.update({name: _stamp(name) for name in changed})
        try:
            counts = _load(engine, {name: _read(name) for name in changed}, cluster)
        except BadSource as error:
            # A file that is half written now is whole at the next look.
            tell(str(error))
            continue
        tell(f"loaded {counts['objects']:,} objects, {counts['aliases']:,} aliases from {', '.join(changed)}")


def _stamp(name: str) -> tuple[int, int] | None:
    try:
        stat = Path(name).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
