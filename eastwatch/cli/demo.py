"""`eastwatch demo`: two hours of a simulated mesh through the real pipeline, and what came of it."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from analyzers.dependencies.diff import map_diff
from analyzers.dependencies.model import rfc3339
from analyzers.dependencies.render.table import print_table
from collector.clock import SystemClock
from eastwatch.cli.context import ConfigOption, Globals, JsonOption, settings_of
from eastwatch.cli.ingest import signals
from eastwatch.cli.progress import shown
from eastwatch.demo import LiveSource, Story, analyzed, compare, incidents, load_inventory, make_loop, run
from eastwatch.demo_changes import ChangesFound, compare_changes
from eastwatch.settings import Settings
from eastwatch.world import START, Message, World
from eastwatch.world.shop_changes import SHOP_CHANGES
from storage.connect import open_store
from storage.engine import Engine
from storage.migrate import migrate

TOLD = timedelta(hours=2)
"""How much of the mesh's past every demo begins with."""
LIVE_FOR = timedelta(days=7)
SHOWN = 10
"""Most differences that are listed for people."""


def demo(
    ctx: typer.Context,
    once: Annotated[
        bool, typer.Option("--once", help="stop after two simulated hours and compare with the truth")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="decides everything that happens in the mesh")] = 1,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, metavar="P", help="port of the web page (there is none yet: not used)", hidden=True
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="keep the store here (new or empty); else it is temporary"),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Simulate a mesh, send its logs, traces and metrics through the pipeline, and show the map."""
    del port
    if as_json and not once:
        raise typer.BadParameter("--json prints one document at the end: expected --once beside it")
    if (ctx.find_object(Globals) or Globals()).store:
        raise typer.BadParameter("the demo makes a store of its own: expected --data DIR instead of --store")
    if data is not None and data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise typer.BadParameter(f"--data {data}: expected a new or empty directory")
    with ExitStack() as stack:
        directory = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eastwatch-demo-"))) / "store"
        settings = settings_of(ctx, f"chdb:{directory}", config)
        engine = open_store(settings.store)
        stack.callback(engine.close)
        migrate(engine)
        if once:
            world = World(seed, duration=TOLD, incidents=incidents(START), changes=SHOP_CHANGES)
            _once(engine, world, settings, as_json=as_json, kept=data)
        else:
            _live(engine, seed, settings, directory)


def _once(engine: Engine, world: World, settings: Settings, *, as_json: bool, kept: Path | None) -> None:
    with _progress(world.start_us, world.end_us) as passed:
        story = run(engine, world, passed(world.messages()), settings, SystemClock())
    truth = world.truth()
    findings = analyzed(engine, SystemClock().now())
    verdict = compare(story.map, truth, findings)
    changes = _changes(engine, world, truth)
    if as_json:
        document = {"map": story.map.to_document(), "truth": {**verdict, "changes": changes.to_document()}}
        sys.stdout.write(json.dumps(document) + "\n")
        return
    _tell(world, story)
    print_table(story.map)
    _judge(verdict, truth)
    judge_changes(changes)
    hint = "with --data DIR the store is kept for other commands"
    if kept:
        hint = f"eastwatch map --store chdb:{kept}, and findings, regressions, incidents likewise"
    sys.stdout.write(f"\n{hint}\n")


def _changes(engine: Engine, world: World, truth: Mapping[str, Any]) -> ChangesFound:
    """What a comparison of the world's time before its changes with as much time after them tells."""
    half_us = min(world.changes_us - world.start_us, world.end_us - world.changes_us)
    if half_us <= 0:
        return ChangesFound((), (), ())
    since, at, until = (
        datetime.fromtimestamp(us / 1e6, UTC)
        for us in (world.changes_us - half_us, world.changes_us, world.changes_us + half_us)
    )
    return compare_changes(map_diff(engine, (since, at), (at, until)), truth["changes"])


def _live(engine: Engine, seed: int, settings: Settings, directory: Path) -> None:
    """Two hours up to now at once, then as time goes by, until Ctrl-C."""
    clock = SystemClock()
    now = clock.now().replace(second=0, microsecond=0)
    start = now - TOLD
    world = World(seed, start, LIVE_FOR, incidents=incidents(start), changes=SHOP_CHANGES)
    messages = world.messages()
    now_us = int(now.timestamp()) * 1_000_000
    future: list[Message] = []

    def past() -> Iterator[Message]:
        for message in messages:
            if message.ts_us > now_us:
                future.append(message)
                return
            yield message

    with _progress(world.start_us, now_us) as passed:
        story = run(engine, world, passed(past()), settings, clock, now)
    _tell(world, story)
    print_table(story.map)
    sys.stdout.write(f"\nLive from here on; Ctrl-C ends it. Beside it: eastwatch map --store chdb:{directory}\n")
    sys.stdout.flush()
    loop = make_loop(
        engine,
        LiveSource(chain(future, messages), clock),
        settings,
        clock,
        before_deriving=lambda: load_inventory(engine, world, clock, clock.now()),
    )
    with signals(loop.stop), shown(loop.counters):
        loop.run()


def _tell(world: World, story: Story) -> None:
    """What was simulated, and how fast it went in."""
    counts, rows = story.counts, story.counts.rows
    services = len(world.cluster.topology.services)
    lines = (
        f"A shop of {services} services, seed {world.seed}: two hours of it from "
        f"{rfc3339(datetime.fromtimestamp(world.start_us / 1e6, UTC))}.",
        f"{counts.messages:,} messages, {counts.bytes / 1e6:,.0f} MB: {rows.get('calls', 0):,} access-log lines, "
        f"{rows.get('spans', 0):,} spans, {rows.get('metric_points', 0):,} metric points; "
        f"{counts.dead_lettered:,} dead letters.",
        f"Simulated, ingested and derived in {story.seconds:.1f} s: {counts.accepted / story.seconds:,.0f} records/s.",
    )
    sys.stdout.write("\n".join(lines) + "\n\n")


def _judge(verdict: Mapping[str, Any], truth: Mapping[str, Any]) -> None:
    """The comparison, for people."""
    real = len(truth["edges"])
    requests = sum(edge["requests"] for edge in truth["edges"])
    found = real - len(verdict["missing"])
    lines = [
        "",
        "Held against what really happened:",
        f"  edges     {found} of {real} found, {len(verdict['unexpected'])} that do not exist",
        f"  requests  {requests:,} made, counted with an error of {verdict['request_error']:.4%}",
    ]
    lines += [f"  missing     {source} -> {destination}" for source, destination in verdict["missing"][:SHOWN]]
    lines += [f"  not real    {source} -> {destination}" for source, destination in verdict["unexpected"][:SHOWN]]
    differences = verdict["differences"]
    lines += [
        f"  {each['source']} -> {each['destination']}: {each['what']} {each['map']}, really {each['truth']}"
        for each in differences[:SHOWN]
    ]
    if len(differences) > SHOWN:
        lines.append(f"  and {len(differences) - SHOWN} differences more (--json has them all)")
    if not differences:
        lines.append("  every edge's requests, attempts, errors, refusals, statuses and mTLS share are right")
    told = [one for one in verdict["incidents"] if one["found"]]
    if verdict["incidents"]:
        lines.append(f"  incidents {len(told)} of {len(verdict['incidents'])} found")
    lines += [f"  found     {one['injected']}: `eastwatch findings show {one['found']}`" for one in told]
    lines += [f"  missed    {one['injected']}" for one in verdict["incidents"] if not one["found"]]
    lines += [f"  not real  regression {one}" for one in verdict["unexpected_regressions"]]
    sys.stdout.write("\n".join(lines) + "\n")


def judge_changes(changes: ChangesFound) -> None:
    """What was found of the changes between the two hours, for people."""
    real = len(changes.found) + len(changes.missed)
    if not real and not changes.unexpected:
        return
    lines = [f"  changes   {len(changes.found)} of {real} between both hours found, {len(changes.unexpected)} not real"]
    for word, signs in (("found", changes.found), ("missed", changes.missed), ("not real", changes.unexpected)):
        lines += [
            f"  {word:9} {sign.kind}: {sign.source} -> {sign.destination} {sign.operation}".rstrip()
            for sign in signs[:SHOWN]
        ]
    sys.stdout.write("\n".join(lines) + "\n")


@contextmanager
def _progress(start_us: int, end_us: int) -> Generator[Callable[[Iterator[Message]], Iterator[Message]]]:
    """A bar over simulated time while messages pass; nothing when stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda messages: messages
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("two hours of a mesh", total=end_us - start_us)

        def passed(messages: Iterator[Message]) -> Iterator[Message]:
            for message in messages:
                bar.update(task, completed=message.ts_us - start_us)
                yield message

        yield passed
