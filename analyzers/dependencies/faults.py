"""Who failed on an edge: what the proxies of both its ends said, put together (docs/counting.md, "Who failed").

A proxy names whom it sees failing: itself (`mesh`), what lies between it and the next one (`network`), its upstream
(`callee`) or its downstream (`caller`). The caller's proxy meets every failure, but of what failed behind the callee's
it knows only that the callee's side did. The callee's proxy knows, since its upstream is the application itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Counts = Mapping[str, int]
SIDES = ("source", "destination", "waypoint")
COLUMNS = tuple(f"{side}_{what}" for side in SIDES for what in ("met", "told"))
"""Columns of a row of the map: faults of a side's lines where they count (what callers met), and of its other lines."""
PARTIES: Mapping[str, str] = {
    "caller": "the caller",
    "caller_proxy": "the caller's proxy",
    "network": "the network",
    "waypoint": "the waypoint",
    "callee_proxy": "the callee's proxy",
    "callee_application": "the callee's application",
    "callee": "the callee's side",
    "unknown": "nobody knows who",
}
"""Whom a failure is put down to, on the way from the caller to the callee, and how people call it. `callee` is the
proxy or the application of the callee: its own proxy does not say which."""

_REPORTING: Mapping[tuple[bool, bool], dict[str, Counts]] = {
    (caller, callee): {side: {} for side, reports in zip(SIDES, (caller, callee), strict=False) if reports}
    for caller in (False, True)
    for callee in (False, True)
}
"""Sides that report, and no failure; by whether the caller's and the callee's do."""
_OWN_PROXY = {"source": "caller_proxy", "waypoint": "waypoint"}
_EXPLAINED_BY = {
    "callee": ("callee_application", "callee_proxy"),
    "unknown": ("callee_application", "callee_proxy"),
    "caller": ("callee_proxy",),
}
"""What the caller's side says, and whose failures on the callee's side can be behind it: a refusal by the callee's
proxy is an answer to the caller, and looks like its own fault."""


@dataclass(frozen=True, slots=True)
class FaultsTold:
    """Faults of an edge by side, of those sides that report.

    Attributes:
        met: of the lines that count.
        by_side: of all its lines.
    """

    met: Mapping[str, Counts]
    by_side: Mapping[str, Counts]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> FaultsTold:
        """From a row of the map: `COLUMNS` with (fault, requests) pairs, and who reports."""
        met: dict[str, Counts] = {}
        by_side: dict[str, Counts] = {}
        if row["evidence"] in ("log", "flow"):
            by_side = _REPORTING[bool(row["source_requests"]), bool(row["destination_rows"])]
        # Nothing failed on most edges, and a map has thousands.
        if any(row[name] for name in COLUMNS):
            met = {side: dict(row[f"{side}_met"]) for side in SIDES if row[f"{side}_met"]}
            told = {side: Counter(met.get(side, {})) + Counter(dict(row[f"{side}_told"])) for side in SIDES}
            by_side = {side: dict(sorted(told[side].items())) for side in SIDES if told[side] or side in by_side}
        return cls(met, by_side)

    def failed_by(self) -> Counts:
        """Failed requests, as callers met them, by whom they are put down to (`PARTIES`).

        Failures that the caller (else the waypoint) met at the callee, or cannot explain, are explained by as many
        failures as the callee's proxy tells of. What that tells beyond them was made good by a retry.
        """
        if not self.met:
            return {}
        met_by_callee = Counter(self.met.get("destination", {}))
        found = _on_the_callees_side(met_by_callee)
        found.update(caller=met_by_callee["caller"], unknown=met_by_callee["unknown"])
        left = _on_the_callees_side(Counter(self.by_side.get("destination", {})) - met_by_callee)
        for side, proxy in _OWN_PROXY.items():
            met = self.met.get(side, {})
            found.update({proxy: met.get("mesh", 0), "network": met.get("network", 0)})
            for fault, parties in _EXPLAINED_BY.items():
                unexplained = met.get(fault, 0)
                for party in parties:
                    explained = min(unexplained, left[party])
                    found[party] += explained
                    left[party] -= explained
                    unexplained -= explained
                found[fault] += unexplained
        return {party: found[party] for party in PARTIES if found[party]}


def _on_the_callees_side(faults: Counts) -> Counter[str]:
    """What the callee's proxy says of its side. That it could not reach its upstream is the application's failure."""
    return Counter(
        callee_application=faults.get("callee", 0) + faults.get("network", 0), callee_proxy=faults.get("mesh", 0)
    )
