"""`eastwatch policy whatif`: what other policies would have done to recorded calls."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from enum import StrEnum
from typing import Annotated

import typer

from analyzers.columns import write
from analyzers.policy.policy_set import PolicySet
from analyzers.policy.render.check_table import skipped_lines
from analyzers.policy.render.whatif_table import print_whatif
from analyzers.policy.store import stored_set, version_at, versions
from analyzers.policy.whatif import WhatIf, whatif
from collector.clock import SystemClock
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of
from eastwatch.cli.errors import tell
from eastwatch.cli.guard import MinCallsOption, guard
from eastwatch.cli.map import SinceOption, UntilOption, window
from eastwatch.cli.policy_files import FilesArgument, NamespaceOption, read_policies
from eastwatch.cli.progress import counted
from eastwatch.policy_options import settled
from storage.engine import Engine


class FailOn(StrEnum):
    """Which changes make the exit code 1."""

    break_ = "break"
    open_ = "open"
    unknown = "unknown"
    any_ = "any"


def whatif_(
    ctx: typer.Context,
    files: FilesArgument,
    since: SinceOption = None,
    until: UntilOption = None,
    add: Annotated[
        bool,
        typer.Option(
            "--add/--replace", help="beside the stored policies that hold now (`policy load`), or in place of them"
        ),
    ] = False,
    fail_on: Annotated[
        list[FailOn] | None,
        typer.Option(
            "--fail-on",
            help="exit with 1 if calls that are let in would be refused (break), refused ones let in (open), "
            "it cannot be told (unknown), or any of these; may be given again",
        ),
    ] = None,
    min_calls: MinCallsOption = 1,
    namespace: NamespaceOption = "default",
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Show which recorded calls would be let in or refused if these policies held."""
    settings = settings_of(ctx, store, config)
    policies = read_policies(files, namespace)
    start, end = window(since, until)
    with closing(open_for_reading(settings)) as engine:
        whole = _beside(engine, policies) if add else policies
        with counted("calls judged") as progress:
            found = whatif(engine, settled(whole, settings.policies), start, end, progress)
    if as_json:
        sys.stdout.write(json.dumps(found.to_document() | {"skipped": dict(policies.skipped)}) + "\n")
    else:
        print_whatif(found)
        write(lines) if (lines := skipped_lines(policies.skipped)) else None
    guard(fail_on or (), _failures(found), found.allow + found.deny, min_calls)


def _beside(engine: Engine, policies: PolicySet) -> PolicySet:
    held = version_at(versions(engine), SystemClock().now())
    if held is None:
        tell("no stored policies hold now, so these are judged alone: `eastwatch policy load FILES` stores some")
        return policies
    return stored_set(engine, held).with_documents(policies)


def _failures(found: WhatIf) -> Mapping[str, str]:
    told = {
        FailOn.break_: "calls let in that would be refused",
        FailOn.open_: "calls refused that would be let in",
        FailOn.unknown: "calls of which it cannot be told",
        "": "calls that would be refused, of which nobody knows what was done",
    }
    counts = Counter[str]()
    for change in found.changes:
        kinds = {FailOn.break_: change.breaks, FailOn.open_: change.opens, FailOn.unknown: change.then == "unknown"}
        counts[next((name for name, holds in kinds.items() if holds), "")] += change.calls
    return {name: f"{text}: {counts[name]:,}" for name, text in told.items() if counts[name]}
