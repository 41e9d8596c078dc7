"""What `policy lint` found: a line for each remark, the worst first, and what policies leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from analyzers.columns import aligned, many, write
from analyzers.dependencies.render.text import printable
from analyzers.policy.lint.coverage import TLS, Coverage
from analyzers.policy.lint.model import SEVERITIES, Remark
from analyzers.policy.lint.run import Lint
from analyzers.policy.render.check_table import skipped_lines

MOST_EXCEPTIONS = 3
_COUNTED = {"error": ("error", "errors"), "warning": ("warning", "warnings"), "note": ("note", "notes")}


def print_lint(found: Lint, skipped: Mapping[str, int], console: Console | None = None) -> None:
    """Remarks in the form of compilers, `file:line: severity: message [check]`; then coverage, and the counts."""
    lines = [_line(one) for one in found.remarks]
    if found.coverage:
        lines += _coverage(found.coverage)
    counts = ", ".join(f"{(n := found.count(one)):,} {_COUNTED[one][n != 1]}" for one in SEVERITIES)
    whole = many(found.documents, "document")
    lines += ["", f"{whole}: {counts}"] if lines else [f"{whole}: {counts}"]
    lines += skipped_lines(skipped)
    write(lines, console)


def _line(one: Remark) -> str:
    place = f"{printable(one.file)}:{one.line}: " if one.file else ""
    name = "/".join(printable(part, 60) for part in (one.namespace, one.name) if part)
    about = " ".join(filter(None, (printable(one.kind, 40), name, printable(one.field, 120) if one.field else "")))
    return f"{place}{one.severity}: {about}: {printable(one.message, 600)} [{one.check}]"


def _coverage(found: Coverage) -> Sequence[str]:
    governed = found.workloads - len(found.ungoverned)
    unknown = [one for one in found.ungoverned if one.governed is None]
    lines = ["", f"{governed:,} of {found.workloads:,} workloads are governed by a policy"]
    if unknown:
        lines.append(f"of {len(unknown):,} it is not known, for want of an inventory of their pods")
    rows = [
        (
            printable(one.namespace, 60),
            one.mode or "-",
            printable(one.by or "-"),
            *(f"{one.calls.get(tls, 0):,}" for tls in TLS),
            ", ".join(printable(each, 60) for each in one.exceptions[:MOST_EXCEPTIONS])
            + (f" and {more:,} more" if (more := len(one.exceptions) - MOST_EXCEPTIONS) > 0 else ""),
        )
        for one in found.namespaces
    ]
    heading = ("namespace", "mTLS required", "by", *(f"calls {tls}" for tls in TLS), "but for")
    table = aligned(heading, rows, numbers=tuple(f"calls {tls}" for tls in TLS))
    return [*lines, "", *table] if rows else lines
