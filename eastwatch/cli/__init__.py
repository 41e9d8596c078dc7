"""The command `eastwatch`: one module per command, wired together here.

Exit codes: 0 done, 1 a check failed, 2 bad input (one line on stderr: what, where, what was expected).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from eastwatch.cli import deadletters, ingest, inventory, migrate
from eastwatch.cli.context import ConfigOption, Globals, StoreOption
from eastwatch.cli.errors import exit_code_of

app = typer.Typer(
    name="eastwatch",
    help="Watch the east-west traffic of service meshes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _globals(ctx: typer.Context, store: StoreOption = None, config: ConfigOption = None) -> None:  # pyright: ignore[reportUnusedFunction]
    ctx.obj = Globals(store, config)


app.command("ingest")(ingest.ingest)
app.command("migrate")(migrate.migrate)
app.add_typer(inventory.app, name="inventory")
app.add_typer(deadletters.app, name="deadletters")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors are told on stderr in one line."""
    try:
        result = app(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        code = exit_code_of(error)
        if code is None:
            raise
        return code
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the console script."""
    code = run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has gone; the interpreter would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
