"""`eastwatch policy check`: what policies say of recorded calls."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import closing
from enum import StrEnum
from typing import Annotated, Any

import typer

from analyzers.policy.check import Check, check
from analyzers.policy.each import Each, each
from analyzers.policy.judging import DID
from analyzers.policy.render.check_table import print_check, print_each
from collector.clock import SystemClock
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of
from eastwatch.cli.errors import tell
from eastwatch.cli.guard import MinCallsOption, guard
from eastwatch.cli.map import SinceOption, UntilOption, window
from eastwatch.cli.policy_files import FILES, NamespaceOption, read_policies
from eastwatch.cli.progress import counted
from eastwatch.policy_options import outdated, settled

OptionalFilesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILES...|-]", help=f"{FILES}; without FILES, those of `policy load` in their time"),
]


class CheckFailOn(StrEnum):
    """Which verdicts make the exit code 1."""

    deny = "deny"
    disagree = "disagree"
    unknown = "unknown"
    any_ = "any"


def check_(
    ctx: typer.Context,
    files: OptionalFilesArgument = None,
    since: SinceOption = None,
    until: UntilOption = None,
    one_by_one: Annotated[
        bool, typer.Option("--each", help="the verdict of every call, not only their counts")
    ] = False,
    fail_on: Annotated[
        list[CheckFailOn] | None,
        typer.Option(
            "--fail-on",
            help="exit with 1 if calls are denied (deny), the proxy did otherwise than the policies say (disagree), "
            "it cannot be told (unknown), or any of these; may be given again",
        ),
    ] = None,
    min_calls: MinCallsOption = 1,
    namespace: NamespaceOption = "default",
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Judge recorded calls by policies: allow, deny or unknown, and which policy and rule decided."""
    settings = settings_of(ctx, store, config)
    policies = settled(read_policies(files, namespace), settings.policies) if files else None
    start, end = window(since, until)
    calls: Each | None = None
    with closing(open_for_reading(settings)) as engine:
        with counted("calls judged") as progress:
            if one_by_one:
                calls = each(engine, policies, start, end, progress)
            found = calls.check if calls else check(engine, policies, start, end, progress)
        behind = outdated(engine, settings.policies, SystemClock().now()) if policies is None else ""
    if behind:
        tell(behind)
    skipped = policies.skipped if policies else {}
    if as_json:
        _write(found.to_document() | {"skipped": dict(skipped)}, calls)
    elif calls:
        print_each(calls)
    else:
        print_check(found, skipped)
    guard(fail_on or (), _failures(found), found.count("allow") + found.count("deny"), min_calls)


def _failures(found: Check) -> Mapping[str, str]:
    otherwise = sum(
        one.calls for one in found.decided if one.verdict != "unknown" and DID.get(one.did, one.verdict) != one.verdict
    )
    counts = {
        CheckFailOn.deny: (found.count("deny"), "calls that are denied"),
        CheckFailOn.disagree: (otherwise, "calls let in or refused otherwise than the policies say"),
        CheckFailOn.unknown: (found.count("unknown"), "calls that are unknown"),
    }
    return {name: f"{text}: {calls:,}" for name, (calls, text) in counts.items() if calls}


def _write(document: Mapping[str, Any], calls: Each | None) -> None:
    """One JSON document; single calls are written as they are read."""
    text = json.dumps(document)
    if calls is None:
        sys.stdout.write(text + "\n")
        return
    sys.stdout.write(f'{text.removesuffix("}")}, "each": [')
    for number, call in enumerate(calls):
        sys.stdout.write(f"{',' if number else ''}\n{json.dumps(call.to_document())}")
    sys.stdout.write("]}\n")
