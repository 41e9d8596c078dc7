"""`--fail-on` and `--min-calls`: when commands that judge recorded calls end with 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from eastwatch.cli.errors import EXIT_CHECK_FAILED, tell

MinCallsOption = Annotated[
    int,
    typer.Option(
        "--min-calls",
        metavar="N",
        min=0,
        help="with --fail-on, exit with 1 as well if fewer calls than these are allowed or denied: what was never seen "
        "guards nothing",
    ),
]


def guard(fail_on: Sequence[str], failures: Mapping[str, str], decided: int, min_calls: int) -> None:
    """End with exit code 1 where a command has found what it was told to fail on, and say what on stderr.

    Args:
        fail_on: names of failures, or `any`.
        failures: those that were found: what to tell, by name.
        decided: calls whose verdict is known.

    Raises:
        typer.Exit: one was found, or there is too little to find any in.
    """
    if not fail_on:
        return
    told = [text for name, text in failures.items() if name in fail_on or "any" in fail_on]
    if decided < min_calls:
        told.append(f"calls that these policies decide: {decided:,}, expected at least {min_calls:,} (--min-calls)")
    for text in told:
        tell(f"failed: {text}")
    if told:
        raise typer.Exit(EXIT_CHECK_FAILED)
