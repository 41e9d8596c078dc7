"""`eastwatch regressions`: edges that became slower or fail more often, since when, and whose doing it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from analyzers.latency.read_picture import read_picture
from analyzers.latency.regression import Regression, stages_document
from analyzers.latency.render.plot_svg import to_plot_svg
from analyzers.latency.render.series_table import print_series
from analyzers.latency.render.table import print_explained, print_regression, print_regressions
from analyzers.latency.series.detect import detect
from analyzers.latency.series.read_csv import BadSeries, read_series
from analyzers.latency.store import most_tested, regressions
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of
from eastwatch.cli.errors import tell
from eastwatch.cli.map import SinceOption, UntilOption, window
from storage.engine import Engine

ExplainOption = Annotated[
    str | None, typer.Option("--explain", metavar="ID", help="how a regression was found, stage by stage")
]
CsvOption = Annotated[
    str | None,
    typer.Option("--csv", metavar="FILE", help="look at a series of your own instead: timestamp,value; - = stdin"),
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="as `eastwatch regressions` lists it")]

app = typer.Typer(
    help="Edges that became slower or fail more often, since when, and whose doing it is.", rich_markup_mode=None
)


@app.callback(invoke_without_command=True)
def regressions_(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    explain: ExplainOption = None,
    csv: CsvOption = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """List regressions that were found, the latest first; `eastwatch analyze` looks."""
    if ctx.invoked_subcommand is not None:
        return
    if csv is not None:
        if explain is not None or since or until:
            raise typer.BadParameter("--csv looks at a file: expected it without --explain, --since and --until")
        _series(csv, as_json)
    elif explain is not None:
        _explain(ctx, explain, as_json, store, config)
    else:
        _list(ctx, since, until, as_json, store, config)


@app.command("list")
def list_(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """List regressions whose episode lies in a window, the latest first."""
    _list(ctx, since, until, as_json, store, config)


@app.command("show")
def show(
    ctx: typer.Context,
    id_: IdArgument,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Show all of one regression: levels, interval, causes, requests to look at."""
    engine = open_for_reading(settings_of(ctx, store, config))
    try:
        one = _one(engine, id_)
    finally:
        engine.close()
    if as_json:
        _write(document([one], one.tested))
    else:
        print_regression(one)


@app.command("plot")
def plot(
    ctx: typer.Context,
    id_: IdArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="write the drawing there [stdout]")
    ] = None,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Draw one regression as SVG: minute by minute, and the distributions before and after."""
    engine = open_for_reading(settings_of(ctx, store, config))
    try:
        drawn = to_plot_svg(read_picture(engine, _one(engine, id_)))
    finally:
        engine.close()
    if output is None:
        sys.stdout.write(drawn)
        return
    try:
        output.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"--output {output}: {error.strerror or error}") from None


def _list(
    ctx: typer.Context, since: str | None, until: str | None, as_json: bool, store: str | None, config: Path | None
) -> None:
    start, end = window(since, until)
    engine = open_for_reading(settings_of(ctx, store, config))
    try:
        found = regressions(engine, start, end)
        tested, _ = most_tested(engine, start, end)
    finally:
        engine.close()
    if as_json:
        _write(document(found, tested))
    else:
        note = (
            None if tested else "nobody looked in this window, or no edge had enough calls: `eastwatch analyze` looks"
        )
        print_regressions(found, tested, note)


def _explain(ctx: typer.Context, id_: str, as_json: bool, store: str | None, config: Path | None) -> None:
    engine = open_for_reading(settings_of(ctx, store, config))
    try:
        one = _one(engine, id_)
        tested, survivors = most_tested(engine, one.since, one.told_at + timedelta(minutes=30))
    finally:
        engine.close()
    if as_json:
        explained = {"tested": tested, "survivors": dict(survivors), "stages": stages_document(one.stages)}
        _write({**document([one], one.tested), "explained": explained})
    else:
        print_explained(one, tested, survivors)


def _series(file: str, as_json: bool) -> None:
    """Change points and anomalies of a CSV."""
    try:
        if file == "-":
            found = detect(read_series(sys.stdin, "stdin"))
        else:
            with Path(file).open(encoding="utf-8", errors="replace", newline="") as lines:
                found = detect(read_series(lines, file))
    except OSError as error:
        raise typer.BadParameter(f"--csv {file}: {error.strerror or error}, expected a file that can be read") from None
    except BadSeries as error:
        raise typer.BadParameter(f"--csv {error}") from None
    if as_json:
        for note in found.notes:
            tell(note)
        _write(found.to_document())
    else:
        print_series(found)


def document(found: Sequence[Regression], tested: int) -> dict[str, Any]:
    """The command's JSON document."""
    return {
        "regressions": [one.to_document() for one in found if one.verdict == "regression"],
        "anomalies": [one.to_anomaly() for one in found if one.verdict == "anomaly"],
        "tested": tested,
    }


def _one(engine: Engine, id_: str) -> Regression:
    found = regressions(engine, ids=[id_])
    if not found:
        raise typer.BadParameter(f"{id_!r}: no such regression, expected an id that `eastwatch regressions` lists")
    return found[0]


def _write(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
