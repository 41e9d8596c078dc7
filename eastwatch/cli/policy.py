"""`eastwatch policy`: who may call whom, by the mesh's own policies, and what they mean for recorded calls."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from analyzers.columns import write
from analyzers.dependencies.model import rfc3339
from analyzers.policy.check import check, each
from analyzers.policy.render.check_table import print_check, print_each, skipped_lines
from analyzers.policy.render.whatif_table import print_whatif
from analyzers.policy.store import load_set, stored_set, version_at, versions
from analyzers.policy.whatif import Change, whatif
from collector.clock import SystemClock
from eastwatch.cli.context import (
    ConfigOption,
    JsonOption,
    StoreOption,
    open_for_reading,
    open_for_writing,
    settings_of,
)
from eastwatch.cli.denials import denials_
from eastwatch.cli.errors import EXIT_CHECK_FAILED, tell
from eastwatch.cli.map import SinceOption, UntilOption, window
from eastwatch.cli.policy_files import FILES, FilesArgument, NamespaceOption, read_policies
from eastwatch.cli.policy_lint import lint_
from eastwatch.cli.policy_suggest import suggest_
from eastwatch.cli.progress import counted
from eastwatch.cli.times import parse_time
from eastwatch.policy_options import outdated, settled

app = typer.Typer(
    help="Who may call whom: verdicts of policies on recorded calls.", no_args_is_help=True, rich_markup_mode=None
)

OptionalFilesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILES...|-]", help=f"{FILES}; without FILES, those of `policy load` in their time"),
]


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Who may call whom: verdicts of policies on recorded calls."""


@app.command("load")
def load_(
    ctx: typer.Context,
    files: FilesArgument,
    valid_from: Annotated[
        str | None,
        typer.Option("--valid-from", metavar="TIME", help="from when on they hold: RFC 3339, or relative [now]"),
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="beside what holds then, whose documents of the same name they replace")
    ] = False,
    namespace: NamespaceOption = "default",
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Store policies as the set that holds from now on, or from another time; `findings` judges calls by them."""
    settings = settings_of(ctx, store, config)
    policies = read_policies(files, namespace)
    now = SystemClock().now()
    start = now if valid_from is None else parse_time(valid_from, now)
    engine = open_for_writing(settings)
    try:
        held = version_at(versions(engine), start) if add else None
        whole = stored_set(engine, held).with_documents(policies) if held else policies
        loaded = load_set(engine, settled(whole, settings.policies), start, now)
    finally:
        engine.close()
    if as_json:
        document = {
            "set": loaded.set_id,
            "valid_from": rfc3339(loaded.valid_from),
            "documents": loaded.documents,
            "changed": loaded.changed,
            "skipped": dict(policies.skipped),
        }
        sys.stdout.write(json.dumps(document) + "\n")
        return
    state = "hold from" if loaded.changed else "unchanged, hold since"
    lines = [f"{loaded.documents:,} documents, {state} {loaded.valid_from:%Y-%m-%d %H:%M:%S}"]
    write([*lines, *skipped_lines(policies.skipped)])


@app.command("check")
def check_(
    ctx: typer.Context,
    files: OptionalFilesArgument = None,
    since: SinceOption = None,
    until: UntilOption = None,
    one_by_one: Annotated[
        bool, typer.Option("--each", help="the verdict of every call, not only their counts")
    ] = False,
    namespace: NamespaceOption = "default",
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Judge recorded calls by policies: allow, deny or unknown, and which policy and rule decided."""
    settings = settings_of(ctx, store, config)
    policies = settled(read_policies(files, namespace), settings.policies) if files else None
    start, end = window(since, until)
    engine = open_for_reading(settings)
    try:
        with counted("calls judged") as progress:
            found = check(engine, policies, start, end, progress)
            calls = each(engine, policies, start, end) if one_by_one else None
        behind = outdated(engine, settings.policies, SystemClock().now()) if policies is None else ""
    finally:
        engine.close()
    if behind:
        tell(behind)
    skipped = policies.skipped if policies else {}
    if not as_json:
        print_each(calls) if calls is not None else print_check(found, skipped)
        return
    document = found.to_document() | {"skipped": dict(skipped)}
    if calls is not None:
        document["each"] = [call.to_document() for call in calls]
    sys.stdout.write(json.dumps(document) + "\n")


class FailOn(StrEnum):
    """Which changes make the exit code 1."""

    break_ = "break"
    open_ = "open"
    unknown = "unknown"
    any_ = "any"


@app.command("whatif")
def whatif_(
    ctx: typer.Context,
    files: FilesArgument,
    since: SinceOption = None,
    until: UntilOption = None,
    add: Annotated[
        bool,
        typer.Option(
            "--add/--replace",
            help="beside the policies that `policy load` stored last, or in place of them",
        ),
    ] = False,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(
            "--fail-on",
            help="exit with 1 if calls that are let in would be refused (break), refused ones let in (open), "
            "if it cannot be told (unknown), or any of these",
        ),
    ] = None,
    namespace: NamespaceOption = "default",
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Show which recorded calls would be let in or refused if these policies held."""
    settings = settings_of(ctx, store, config)
    policies = read_policies(files, namespace)
    start, end = window(since, until)
    engine = open_for_reading(settings)
    try:
        held = versions(engine) if add else []
        whole = stored_set(engine, held[-1]).with_documents(policies) if held else policies
        with counted("calls judged") as progress:
            found = whatif(engine, settled(whole, settings.policies), start, end, progress)
    finally:
        engine.close()
    if as_json:
        sys.stdout.write(json.dumps(found.to_document() | {"skipped": dict(policies.skipped)}) + "\n")
    else:
        print_whatif(found)
        write(lines) if (lines := skipped_lines(policies.skipped)) else None
    if fail_on is not None and any(_fails(change, fail_on) for change in found.changes):
        raise typer.Exit(EXIT_CHECK_FAILED)


def _fails(change: Change, on: FailOn) -> bool:
    return {
        FailOn.break_: change.breaks,
        FailOn.open_: change.opens,
        FailOn.unknown: change.then == "unknown",
        FailOn.any_: True,
    }[on]


app.command("denials")(denials_)
app.command("lint")(lint_)
app.command("suggest")(suggest_)
