"""The command line's one table of errors: which exceptions are told in one line, and with which exit code."""

from __future__ import annotations

import re
import sys

import typer
from typer import TyperException

from analyzers.policy.errors import PolicyError
from collector.errors import CollectorError
from eastwatch.cli.terminal import printable
from eastwatch.settings import SettingsError
from storage.errors import StorageError

EXIT_CHECK_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
"""Told to stop before the work was done; also when the end then took too long (`eastwatch.cli.ingest.signals`)."""

TOLD: tuple[type[Exception], ...] = (StorageError, CollectorError, SettingsError, PolicyError)
"""Errors whose text says what, where and what was expected."""


def tell(message: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"eastwatch: {printable(' '.join(message.split()))}\n")


def exit_code_of(error: BaseException) -> int | None:
    """Tell `error` in one line and return the exit code; None for one that is a defect of eastwatch itself."""
    match error:
        case typer.Exit():
            return error.exit_code
        case typer.Abort() | KeyboardInterrupt():
            tell("interrupted")
            return EXIT_INTERRUPTED
        case TyperException():
            tell(re.sub(r"\s+", " ", error.format_message()) or "bad command line, see eastwatch --help")
            return EXIT_BAD_INPUT
        case BrokenPipeError():
            return 0
        case _ if isinstance(error, TOLD):
            tell(str(error))
            return EXIT_BAD_INPUT
        case _:
            return None
