"""How much of what could be called stays open: every caller that was seen is tried on everything that was called.

One recorded call of each operation stands for it; the suggested policies judge it once for each caller, as if that one
had made it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from analyzers.policy.groups import Group, Window, arrived
from analyzers.policy.judging import Interval, prepare
from analyzers.policy.nodes import ENDS, Nodes
from analyzers.policy.places import COLUMNS
from analyzers.policy.policy_set import PolicySet
from analyzers.policy.sql import Parameters, verdict
from analyzers.policy.suggest.learn import MAKERS, meant
from analyzers.policy.suggest.observed import Observed, Seen, shown_operation
from storage.engine import Engine
from storage.tables import LOGGED_BIT

WORKLOAD = "workload:"
"""Before callers that are known as `namespace/workload` only."""
MAX_TRIPLES = 2_000_000
"""Callers times operations; more are not tried."""
_REPORTER = COLUMNS.index("reporter")
_KEYS = "destination_namespace, destination_workload, destination_service, operation, destination_port"


@dataclass(frozen=True, slots=True)
class Openness:
    """Triples of a caller, a destination and an operation, each of which was seen, though perhaps not together.

    Attributes:
        sources: callers by their identity (or workload); those without one are one caller.
        operations: of destinations.
        used: triples whose calls were in order.
        open: triples that the policies let pass, None = there are too many to try.
        unknown: triples of which that cannot be told.
    """

    sources: int
    operations: int
    used: int
    open: int | None
    unknown: int | None

    @property
    def triples(self) -> int:
        """All of them."""
        return self.sources * self.operations

    def to_document(self) -> dict[str, Any]:
        """The numbers as JSON-ready values; shares are of all triples."""
        return {
            "sources": self.sources,
            "operations": self.operations,
            "triples": self.triples,
            "used": self.used,
            "used_share": self._share(self.used),
            "open": self.open,
            "open_share": self._share(self.open),
            "unknown": self.unknown,
        }

    def _share(self, part: int | None) -> float | None:
        return round(part / self.triples, 6) if self.triples and part is not None else None


def openness(
    engine: Engine, policies: PolicySet, of: str, observed: Observed, namespaces: Collection[str] = ()
) -> Openness:
    """How open destinations are under the policies of engine `of`; gateways are left out, as they keep theirs.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    callers, is_meant = MAKERS[of].callers, meant(of, namespaces)

    def caller(seen: Seen) -> str:
        workload = f"{WORKLOAD}{seen.caller}" if seen.caller else ""
        return workload if callers == "workload" else seen.principal or (workload if callers == "either" else "")

    seen = [one for one in observed.seen if not one.gateway and is_meant(one.place)]
    sources = sorted({caller(one) for one in seen})
    operations = {(one.destination, one.shown_operation) for one in seen}
    used = len({(caller(one), one.destination, one.shown_operation) for one in seen if one.legitimate})
    if len(sources) * len(operations) > MAX_TRIPLES:
        return Openness(len(sources), len(operations), used, None, None)
    nodes = Nodes(engine)
    passed: set[tuple[str, str, int]] = set()
    unsure: set[tuple[str, str, int]] = set()
    judging = prepare(engine, [Interval(policies, observed.since, observed.until)], ungoverned=True)
    for window, group in judging.groups:
        places = [found for found in group.places if found.columns[_REPORTER] != "gateway" and is_meant(found.place)]
        if not places:
            continue
        for row in _tried(window, Group(group.programs, tuple(places)), sources):
            destination = nodes.ends(row)[1]
            operation = shown_operation(bool(row["tcp"]), row["operation"], row["destination_port"])
            passed.update((destination, operation, place) for place in row["passed"])
            unsure.update((destination, operation, place) for place in row["unsure"])
    return Openness(len(sources), len(operations), used, len(passed), len(unsure - passed))


def _tried(window: Window, group: Group, sources: Sequence[str]) -> Sequence[dict[str, Any]]:
    """One call of each operation with the callers that would be let in, as places in `sources`, from 1."""
    holes = Parameters()
    told = verdict(*group.programs, parameters=holes)
    where = arrived(window, group, holes)
    tried = holes.hole("Array(String)", tuple(sources))
    earliest = f"SELECT {_KEYS}, min((verdict != 'allowed', ts)) FROM calls WHERE {where} GROUP BY {_KEYS}"
    one_each = (
        f"SELECT * FROM calls WHERE {where} AND ({_KEYS}, (verdict != 'allowed', ts)) IN ({earliest}) "
        f"ORDER BY request_id, path, source_principal LIMIT 1 BY {_KEYS}"
    )
    mark = holes.hole("String", WORKLOAD)
    named, owner = f"startsWith(tried_source, {mark})", f"substring(tried_source, {len(WORKLOAD) + 1})"
    as_caller = (
        f"if({named}, '', tried_source) AS source_principal, if(tried_source = '', 'plaintext', 'mtls') AS tls, "
        f"bitOr(logged, toUInt64({1 << LOGGED_BIT['source_principal'] | 1 << LOGGED_BIT['tls']})) AS logged, "
        f"if({named}, splitByChar('/', {owner})[1], '') AS source_namespace, "
        f"if({named}, splitByChar('/', {owner})[2], '') AS source_workload"
    )
    columns = f"{', '.join(ENDS)}, operation, destination_port, protocol, tried_place"
    source = (
        f"(SELECT * REPLACE ({as_caller}) FROM (SELECT *, tried_source, tried_place FROM ({one_each}) "
        f"ARRAY JOIN {tried} AS tried_source, arrayEnumerate({tried}) AS tried_place))"
    )
    sql = (
        f"SELECT {', '.join(ENDS)}, operation, destination_port, toUInt8(protocol IN ('tcp', 'tls')) AS tcp, "
        "groupArrayIf(tried_place, ifNull(allowed, 0) = 1) AS passed, "
        "groupArrayIf(tried_place, isNull(allowed)) AS unsure "
        f"FROM ({told.each(columns, source)}) GROUP BY {', '.join(ENDS)}, operation, destination_port, tcp"
    )
    return window.engine.query(sql, told.parameters).to_pylist()
