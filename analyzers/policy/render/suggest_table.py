"""How good suggested policies are, as people read it: what they would break first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from analyzers.columns import aligned, write
from analyzers.dependencies.render.text import UNKNOWN, printable
from analyzers.policy.suggest.learn import MAKERS
from analyzers.policy.suggest.openness import Openness
from analyzers.policy.suggest.report import Broken, Suggestion, Trial
from analyzers.policy.suggest.targets import SAID

MOST = 20
"""Lines of each list."""
_HEADING = ("calls", "source", "principal", "destination", "operation")


def print_suggestion(found: Suggestion, console: Console | None = None) -> None:
    """What was learnt from what, what would break, how much stays open, and what could not be learnt."""
    learning, held_out, title = found.learning, found.held_out, MAKERS[found.learnt.engine].title
    if elsewhere := learning.elsewhere + (held_out.elsewhere if held_out else 0):
        write([f"{elsewhere:,} calls arrived where these policies do not count, and are left out"], console)
    if not learning.calls:
        write([f"nothing to learn from: no call from {_span(learning)} arrived where {title} decides"], console)
        return
    lines = [
        f"{len(found.learnt.documents):,} documents of {title} for {found.learnt.targets:,} destinations",
        f"learnt from {_span(learning)}: {learning.legitimate:,} of {learning.calls:,} calls in order, "
        f"{learning.broken:,} of them would break all the same, {learning.unknown:,} cannot be told",
        *_callers(learning.callers),
    ]
    if held_out is None:
        lines.append("nothing held out to try them on")
    else:
        lines.append(
            f"held out {_span(held_out)}: {held_out.broken:,} of {held_out.legitimate:,} later calls in order would "
            f"break, {held_out.unknown:,} cannot be told"
        )
        lines += _callers(held_out.callers)
    lines += _open(found.openness)
    if found.learnt.closed:
        closed = ", ".join(printable(name) for name in found.learnt.closed[:MOST])
        lines.append(f"closed, as nothing there was in order: {closed}{_more(len(found.learnt.closed))}")
    rows = [
        (
            f"{one.calls:,}",
            printable(one.source),
            printable(one.principal or UNKNOWN),
            printable(one.destination),
            SAID[one.reason],
        )
        for one in found.left_out[:MOST]
    ]
    if rows:
        lines.append("calls let in of which nothing was learnt:")
        lines += _table((*_HEADING[:-1], "why"), rows)
        lines += [f"  {more}"] if (more := _more(len(found.left_out)).lstrip(", ")) else []
    write(lines, console)


def _span(trial: Trial) -> str:
    return f"{trial.since:%Y-%m-%d %H:%M:%S} to {trial.until:%Y-%m-%d %H:%M:%S}"


def _callers(callers: Sequence[Broken]) -> Sequence[str]:
    rows = [
        (
            f"{one.calls:,}",
            printable(one.source),
            printable(one.principal or UNKNOWN),
            printable(one.destination),
            printable(one.operation or UNKNOWN, 60),
        )
        for one in callers[:MOST]
    ]
    more = _more(len(callers)).lstrip(", ")
    return [*_table(_HEADING, rows), *([f"  {more}"] if more else [])]


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Sequence[str]:
    """The rows of a table without its heading, set in."""
    return [f"  {line}" for line in aligned(heading, rows, numbers=("calls",))[1:]]


def _more(count: int) -> str:
    return f", and {count - MOST:,} more" if count > MOST else ""


def _open(found: Openness) -> Sequence[str]:
    whole = f"{found.triples:,} combinations of {found.sources:,} callers and {found.operations:,} operations"
    if found.open is None:
        return [f"{whole}: too many to try how many stay open, {found.used:,} were in use"]
    shares = (f"{part:,} ({part / found.triples:.1%})" if found.triples else "0" for part in (found.open, found.used))
    opened, used = shares
    unknown = f", {found.unknown:,} cannot be told" if found.unknown else ""
    return [f"of {whole}, {opened} stay open, {used} were in use{unknown}"]
