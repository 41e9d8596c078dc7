"""The command `eastwatch`: one module per command, wired together here.

Exit codes: 0 done, 1 a check failed, 2 bad input (one line on stderr: what, where, what was expected), 130
interrupted before the work was done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module

import typer

from eastwatch.cli.context import ConfigOption, Globals, StoreOption
from eastwatch.cli.errors import exit_code_of

COMMANDS: Mapping[str, str] = {
    "demo": "eastwatch.cli.demo:demo",
    "ingest": "eastwatch.cli.ingest:ingest",
    "up": "eastwatch.cli.up:up",
    "inventory": "eastwatch.cli.inventory:app",
    "map": "eastwatch.cli.map:map_",
    "policy": "eastwatch.cli.policy:app",
    "analyze": "eastwatch.cli.analyze:analyze",
    "findings": "eastwatch.cli.findings:app",
    "regressions": "eastwatch.cli.regressions:app",
    "incidents": "eastwatch.cli.incidents:app",
    "compare": "eastwatch.cli.compare:compare",
    "trace": "eastwatch.cli.trace:trace",
    "migrate": "eastwatch.cli.migrate:migrate",
    "retention": "eastwatch.cli.retention:retention",
    "deadletters": "eastwatch.cli.deadletters:app",
}
"""Command name -> MODULE:NAME of its function, or of its `typer.Typer` where it has subcommands."""


def build(names: Collection[str] = tuple(COMMANDS)) -> typer.Typer:
    """The command line with the commands in `names`."""
    app = typer.Typer(
        name="eastwatch",
        help="Watch the east-west traffic of service meshes.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_globals)
    for name in names:
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _globals(ctx: typer.Context, store: StoreOption = None, config: ConfigOption = None) -> None:
    ctx.obj = Globals(store, config)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors are told on stderr in one line."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # Only the command that is named is imported: starting takes a third of the time.
    named = next((word for word in arguments if word in COMMANDS), None)
    try:
        result = build([named] if named else tuple(COMMANDS))(
            args=arguments, prog_name="eastwatch", standalone_mode=False
        )
    except SystemExit as left:
        # How click leaves when whoever read the output has gone.
        if isinstance(left.__context__, BrokenPipeError):
            return exit_code_of(left.__context__) or 0
        raise
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
