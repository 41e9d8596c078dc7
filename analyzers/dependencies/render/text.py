"""Words and numbers as every drawing of the map writes them; names come from telemetry and are made harmless here.

Escaping for a format (XML, DOT, Mermaid) is the format's own job, done on top of `printable`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from analyzers.dependencies.faults import PARTIES
from analyzers.dependencies.model import Edge

UNKNOWN = "?"
"""How a value that is not known is written for people."""

# Cc: control characters, ESC among them. Cf: invisible ones, those that turn the writing direction among them.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_NONCHARACTERS = {"\ufffe", "\uffff"}


def printable(text: str, limit: int = 120) -> str:
    """`text` with everything invisible spelt out (`\\x1b`, `\\u202e`), cut to `limit` characters with an ellipsis.

    The result has no line breaks, no control characters and nothing that XML 1.0 forbids.
    """
    cut = text[: limit + 1]
    shown = "".join(_shown(char) for char in cut)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _shown(char: str) -> str:
    if char == "\u00a0":
        return " "
    if unicodedata.category(char) not in _HIDDEN and char not in _NONCHARACTERS:
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def compact(count: float) -> str:
    """A count in four characters or so: 950, 1.2k, 34k, 5.6M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size * 0.9995:
            scaled = count / size
            return f"{scaled:.1f}{unit}" if scaled < 9.95 else f"{scaled:.0f}{unit}"
    return f"{count:.0f}"


def duration(milliseconds: float | None) -> str:
    """A duration with its unit: 850 µs, 4.2 ms, 120 ms, 3.1 s."""
    if milliseconds is None:
        return UNKNOWN
    if milliseconds < 0.9995:
        return f"{milliseconds * 1000:.0f} µs" if milliseconds else "0 ms"
    if milliseconds < 9.95:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 9_999.5:
        return f"{milliseconds:.0f} ms" if milliseconds < 999.5 else f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds / 1000:.0f} s"


def share(value: float | None) -> str:
    """A share as a percentage. Only exactly 0 and 1 are written as 0% and 100%."""
    if value is None:
        return UNKNOWN
    percent = value * 100
    if 0 < percent < 0.05:
        return "<0.1%"
    if 99.95 <= percent < 100:
        return ">99.9%"
    return f"{percent:.0f}%" if percent in (0, 100) or 9.95 <= percent < 99 else f"{percent:.1f}%"


def statuses(edge: Edge, most: int = 4) -> str:
    """The commonest HTTP and gRPC statuses of an edge with their counts, e.g. `200×913 503×4 grpc 14×2 +1`."""
    counted = [*_counted(edge.statuses, ""), *_counted(_failed(edge.grpc_statuses), "grpc ")]
    counted.sort(key=lambda item: (-item[1], item[0]))
    shown = [f"{printable(name, 20)}×{count}" for name, count in counted[:most]]
    if len(counted) > most:
        shown.append(f"+{len(counted) - most}")
    return " ".join(shown)


def _counted(counts: Mapping[str, int], prefix: str) -> list[tuple[str, int]]:
    return [(f"{prefix}{name}", count) for name, count in counts.items()]


def _failed(grpc: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in grpc.items() if name != "0"}


def notes(edge: Edge) -> list[str]:
    """What is odd about an edge, in a few words each."""
    found: list[str] = []
    if edge.attempts is not None and edge.attempts > edge.requests:
        found.append(f"{edge.attempts - edge.requests} retried")
    if edge.denied:
        found.append(f"{edge.denied} denied")
    if edge.bypass:
        found.append("bypasses the mesh")
    if edge.disagreements:
        found.append(f"evidence disagrees ({len(edge.disagreements)})")
    return found


def tooltip(edge: Edge) -> list[str]:
    """Everything worth knowing of an edge, one fact a line."""
    lines = [
        f"{printable(edge.source)} → {printable(edge.destination)}",
        f"{printable(edge.protocol or UNKNOWN, 20)}, {edge.direction.replace('_', '-')}",
        f"requests {edge.requests}, errors {edge.errors} ({share(edge.error_rate)})",
        f"p50 {duration(edge.p50_ms)}, p95 {duration(edge.p95_ms)}, p99 {duration(edge.p99_ms)}",
        f"mTLS {share(edge.mtls_share)}",
    ]
    if shown := statuses(edge, most=8):
        lines.append(f"status {shown}")
    if edge.failed_by:
        lines.append("failed: " + ", ".join(f"{PARTIES[party]} {count}" for party, count in edge.failed_by.items()))
    lines += notes(edge)
    lines.append(f"evidence: {', '.join(edge.evidence)}")
    return lines
