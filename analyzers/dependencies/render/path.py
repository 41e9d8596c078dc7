"""The path of a request as text: one hop a line, indented as its tree, with what both sides say of it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from analyzers.dependencies.model import rfc3339
from analyzers.dependencies.render.text import UNKNOWN, duration, printable
from analyzers.dependencies.request_path import Hop, RequestPath, Sighting

COLUMNS = ("hop", "call", "caller says", "callee says", "failed", "evidence")
_LONGEST_CALL = 60


def to_path(found: RequestPath) -> str:
    """The path as aligned columns of plain text, a heading line first."""
    if not found.hops:
        return f"nothing is stored of {printable(found.id)}\n"
    rows = [COLUMNS, *(_row(hop, found) for hop in found.hops)]
    sizes = [max(cell_len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    lines = ["  ".join(_padded(cell, size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *_caption(found)]) + "\n"


def _row(hop: Hop, found: RequestPath) -> tuple[str, ...]:
    depth = found.depth(hop)
    indent = "  " * (depth - 1) + "└ " if depth else ""
    method, path = hop.first("method"), hop.first("path") or hop.first("operation")
    call = " ".join(filter(None, (method, path))) or hop.first("protocol") or UNKNOWN
    spans = {one.reporter: one for one in hop.spans}
    callees = hop.callees or [one for name, one in spans.items() if name == "destination"]
    fault = hop.fault
    return (
        f"{indent}{printable(hop.source)} → {printable(hop.destination)}",
        printable(call, _LONGEST_CALL),
        _said([one for one in (hop.caller or spans.get("source"),) if one]),
        _said(callees),
        "" if fault == "none" else (fault or UNKNOWN),
        "+".join(hop.evidence),
    )


def _said(sightings: Sequence[Sighting]) -> str:
    """Status, flags and duration as one side has them; of several attempts the last, and how many there were."""
    if not sightings:
        return UNKNOWN
    one = sightings[-1]
    status = "" if one.status is None else str(one.status or "-")
    grpc = "" if one.grpc_status is None else f"grpc {one.grpc_status}"
    denied = f"denied by {one.denied_by or UNKNOWN}" if one.verdict == "denied" else ""
    took = duration(None if one.duration_us is None else one.duration_us / 1000)
    words = (status, grpc, printable(one.flags, 30), printable(denied, 60), took)
    times = f" ×{len(sightings)}" if len(sightings) > 1 else ""
    return " ".join(filter(None, words)) + times


def _padded(cell: str, size: int) -> str:
    return cell + " " * (size - cell_len(cell))


def _caption(found: RequestPath) -> list[str]:
    hop = found.failed
    lines = [f"{len(found.hops)} hops from {rfc3339(min(one.at for one in found.hops))}"]
    if hop is not None:
        both = " (the two sides blame differently)" if hop.contradiction else ""
        lines.append(f"failed first: {printable(hop.source)} → {printable(hop.destination)}, by the {hop.fault}{both}")
    if found.truncated:
        lines.append("more is stored of this request than is shown")
    return lines
