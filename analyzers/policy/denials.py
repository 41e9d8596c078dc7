"""The ledger of denials: who was refused, by which policy and rule, for what, how often, and since when.

calls ──► denial_ends.sql ──► nodes of the map ──┐
calls ───────────────────────────────────────────┴──► denials.sql ──► Denial

What a refusal looks like in each mesh, the decoders know (`calls.verdict`, `calls.denied_by`); what `denied_by` names,
`analyzers/policy/refusers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from analyzers.dependencies.model import rfc3339
from analyzers.dependencies.names import split_node
from analyzers.policy.denial_ends import denial_ends
from analyzers.policy.refusers import Kind, provider, refuser
from storage.engine import Engine
from storage.sql import load

ROW_LIMIT = 100_000
"""Most entries that are read: those with the most calls."""
SAMPLES = 5
"""Request ids that an entry tells."""

EARLIEST, LATEST = datetime(1971, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""Between these everything is that is stored."""


@dataclass(frozen=True, slots=True)
class Denial:
    """The refusals of one caller at one callee, by one policy and rule, for one operation.

    Attributes:
        source, destination: nodes of the map.
        principal: of the caller; None where it had none, or no line says it.
        kind: what refused (see `refusers`).
        policy_namespace, policy, rule: None where the line does not name them, or none matched (`reason` no_allow).
        reason: `no_allow` (policies allow some calls, and not this one), `policy_changed` (an open connection was cut),
            a JWT's own reason (`Jwt_is_missing`), `error` (the authorizer could not be asked), or the network's word.
        provider: the external authorizer that refused, where it is named.
        operation: None where the evidence tells none (a connection).
        dry_run: the policy is on trial; the calls were let pass.
        calls: requests, connections, flows.
        hours, minutes: how many distinct ones have a refusal.
        first_seen, last_seen: begin of the first and the last call.
        request_ids: a few, the earliest first.
    """

    source: str
    destination: str
    principal: str | None
    kind: Kind
    policy_namespace: str | None
    policy: str | None
    rule: str | None
    reason: str | None
    provider: str | None
    operation: str | None
    dry_run: bool
    calls: int
    hours: int
    minutes: int
    first_seen: datetime
    last_seen: datetime
    request_ids: Sequence[str]

    def to_document(self) -> dict[str, Any]:
        """The entry as JSON-ready values."""
        document = {name: getattr(self, name) for name in self.__slots__}
        document.update(
            first_seen=rfc3339(self.first_seen), last_seen=rfc3339(self.last_seen), request_ids=list(self.request_ids)
        )
        return document


def denials(
    engine: Engine,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    namespace: str | None = None,
    service: str | None = None,
    dry_run: bool = False,
) -> Sequence[Denial]:
    """The refusals of the calls that began in [since, until), those with the most calls first.

    A call that both sides' proxies logged counts once: in each hour the callee's side (or a gateway, a waypoint) speaks
    for a pair of nodes, the caller's side only where nobody else does.

    Args:
        namespace: keep those with an end in this namespace.
        service: keep those with an end at this service (its name, or `namespace/name`).
        dry_run: also what policies on trial would have refused, as far as lines say it. Every call of the window is
            looked at for that, so it takes as long as reading them.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    start, end = since or EARLIEST, until or LATEST
    ends = denial_ends(engine, start, end, dry_run=dry_run, namespace=namespace, service=service)
    if not ends.nodes:
        return []
    rows = engine.query(
        load("policy/denials").text,
        {"since": start, "until": end, "dry_run": int(dry_run), "samples": SAMPLES, "row_limit": ROW_LIMIT},
        external={"ends": ends.table},
    ).to_pylist()
    return [_denial(row, ends.nodes) for row in rows]


def _denial(row: Mapping[str, Any], nodes: Sequence[str]) -> Denial:
    kind, denied_by = row["kind"], row["denied_by"]
    destination = nodes[int(row["destination"])]
    policy_namespace, policy, rule = refuser(kind, denied_by)
    if kind == "linkerd" and policy and policy.startswith("server/"):
        policy_namespace = split_node(destination)[0]  # a Server selects pods of its own namespace
    return Denial(
        source=nodes[int(row["source"])],
        destination=destination,
        principal=row["principal"] or None,
        kind=kind,
        policy_namespace=policy_namespace,
        policy=policy,
        rule=rule,
        reason=row["reason"] or None,
        provider=provider(denied_by) if kind == "ext_authz" else None,
        operation=row["operation"] or None,
        dry_run=bool(row["dry_run"]),
        calls=int(row["calls"]),
        hours=int(row["hours"]),
        minutes=int(row["minutes"]),
        first_seen=row["first_ts"],
        last_seen=row["last_ts"],
        request_ids=list(row["request_ids"]),
    )
