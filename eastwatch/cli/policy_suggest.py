"""`eastwatch policy suggest`: policies that let pass what was seen to be in order, and how good they are."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from analyzers.policy.render.suggest_table import print_suggestion
from analyzers.policy.suggest.report import HOLDOUT, MAX_HOLDOUT, suggest
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of
from eastwatch.cli.map import SinceOption, UntilOption, window
from eastwatch.cli.progress import counted
from eastwatch.policy_options import mesh_settings


class SuggestEngine(StrEnum):
    """Whose policies are suggested."""

    istio = "istio"
    kubernetes = "kubernetes"
    linkerd = "linkerd"
    consul = "consul"
    smi = "smi"


def suggest_(
    ctx: typer.Context,
    engine_name: Annotated[
        SuggestEngine, typer.Option("--engine", help="whose policies (kubernetes: NetworkPolicy)")
    ] = SuggestEngine.istio,
    since: SinceOption = None,
    until: UntilOption = None,
    namespaces: Annotated[
        list[str] | None,
        typer.Option("--namespace", metavar="N", help="only for destinations in this namespace; may be repeated"),
    ] = None,
    holdout: Annotated[
        float,
        typer.Option(
            "--holdout", min=0, max=MAX_HOLDOUT, help="share of the window, at its end, to try the policies on"
        ),
    ] = HOLDOUT,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="write the policies there, the report on stdout [stdout]"),
    ] = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Suggest least-privilege policies, learnt from calls that were let in and that no finding is about."""
    if as_json and output is not None:
        raise typer.BadParameter("--json and --output ask for two documents, expected one of them")
    settings = settings_of(ctx, store, config)
    start, end = window(since, until)
    engine = open_for_reading(settings)
    try:
        with counted("calls judged") as progress:
            found = suggest(
                engine,
                engine_name.value,
                start,
                end,
                namespaces=frozenset(namespaces or ()),
                holdout=holdout,
                progress=progress,
                settings=mesh_settings(settings.policies),
            )
    finally:
        engine.close()
    if as_json:
        sys.stdout.write(json.dumps(found.to_document()) + "\n")
    elif output is None:
        sys.stdout.write(found.yaml())
        print_suggestion(found, Console(stderr=True))
    else:
        try:
            output.write_text(found.yaml(), encoding="utf-8")
        except OSError as error:
            raise typer.BadParameter(f"{output}: {error.strerror}, expected a file to write") from None
        print_suggestion(found)
