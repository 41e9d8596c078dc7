"""`eastwatch policy lint`: what is wrong, or wider than it looks, in policies as they are written."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from analyzers.policy.lint.run import lint
from analyzers.policy.policy_set import read_set
from analyzers.policy.render.lint_table import print_lint
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of
from eastwatch.cli.errors import EXIT_CHECK_FAILED
from eastwatch.cli.map import SinceOption, UntilOption, window
from eastwatch.cli.policy_files import FilesArgument, NamespaceOption, read_contents
from eastwatch.policy_options import settled


class LintFailOn(StrEnum):
    """The mildest remark that makes the exit code 1."""

    error = "error"
    warning = "warning"
    note = "note"


def lint_(
    ctx: typer.Context,
    files: FilesArgument,
    coverage: Annotated[
        bool,
        typer.Option(
            "--coverage",
            help="also what the policies leave out: workloads of the store that none governs, mTLS by namespace",
        ),
    ] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    ambient: Annotated[
        bool | None,
        typer.Option(
            "--ambient/--no-ambient",
            help="whether ztunnels judge by Istio's policies as well [where a policy is for a waypoint]",
            show_default=False,
        ),
    ] = None,
    fail_on: Annotated[
        LintFailOn, typer.Option("--fail-on", help="exit with 1 on remarks of this severity, or of a worse one")
    ] = LintFailOn.error,
    namespace: NamespaceOption = "default",
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Find policies that never match, match too much or are void, and workloads without any."""
    settings = settings_of(ctx, store, config)
    contents = read_contents(files)
    policies = settled(read_set(contents, namespace), settings.policies)
    start, end = window(since, until)
    engine = open_for_reading(settings) if coverage else None
    try:
        found = lint(policies, engine, contents, ambient, start, end)
    finally:
        if engine is not None:
            engine.close()
    if as_json:
        sys.stdout.write(json.dumps(found.to_document() | {"skipped": dict(policies.skipped)}) + "\n")
    else:
        print_lint(found, policies.skipped)
    if found.has(fail_on.value):
        raise typer.Exit(EXIT_CHECK_FAILED)
