"""Each command's own help text, as the terminal shows it at a fixed width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer

from eastwatch.cli import build

WIDTH = 110


def helps() -> dict[str, str]:
    """Command (`eastwatch`, `eastwatch map`, `eastwatch inventory load`, ...) -> its help text."""
    command: Any = typer.main.get_command(build())
    return dict(_walk(command, "eastwatch", None))


def _walk(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    width = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    own = name.rpartition(" ")[2]
    context = command.make_context(own, [], parent=parent, resilient_parsing=True, **width)
    yield name, command.get_help(context)
    for sub in getattr(command, "commands", {}):
        yield from _walk(command.commands[sub], f"{name} {sub}", context)


def command_blocks() -> Mapping[str, Callable[[], str]]:
    """`help COMMAND` for every command."""
    return {f"help {name}": _maker(text) for name, text in helps().items()}


def _maker(text: str) -> Callable[[], str]:
    return lambda: f"```text\n{text.rstrip()}\n```"
