"""What Envoy did of each call, beside what its own lines, once ingested, and the compiled policies say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analyzers.policy.formula import Program, Transport
from analyzers.policy.istio.compile import program
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh
from analyzers.policy.sql import verdict
from analyzers.policy.workloads import Workload
from collector.clock import SystemClock
from collector.decode.limits import Limits
from collector.ingest.bounds import BoundsBook
from collector.ingest.decoders import DecoderCache
from collector.ingest.run import Ingest
from collector.sources.files import FileSource
from collector.sources.urls import FileUrl, parse_source
from storage.bind import holes
from storage.engine import Engine
from tests.support.istio_rbac import policy_id
from tests.support.rbac_envoy import Answer

_TRANSPORTS: tuple[Transport, ...] = ("http", "tcp")
_SEEN: Mapping[str, bool] = {"allowed": True, "denied": False}


@dataclass(slots=True)
class Judged:
    """All calls of one run."""

    said: Counter[str] = field(default_factory=Counter[str])
    """Calls by transport and what Envoy did: `http allowed`, `tcp denied`, .."""
    named: int = 0
    """Denials for which Envoy named a rule."""
    refused: int = 0
    """Requests that Envoy answered with 400, before any policy."""
    unknown: list[Answer] = field(default_factory=list[Answer])
    """Calls whose verdict the program left open."""
    wrong: list[str] = field(default_factory=list[str])
    """Where both disagree, and how."""


def ingest(engine: Engine, log: Path) -> None:
    """Read an access log as `eastwatch ingest file:LOG?format=envoy_json` does."""
    url = parse_source(f"file:{log}?format=envoy_json")
    assert isinstance(url, FileUrl)
    bounds, clock = BoundsBook(engine), SystemClock()
    source = FileSource(url, bounds, clock, batch_bytes=1 << 20)
    Ingest(engine, [source], DecoderCache(Limits()), bounds=bounds, clock=clock, patient=False).run()


def judge(
    engine: Engine,
    sets: Mapping[str, tuple[Sequence[AuthorizationPolicy], Mesh]],
    workload: Workload,
    answers: Sequence[Answer],
) -> Judged:
    """Hold every answer against its row in `calls` and against the program of its set."""
    by_listener: dict[str, list[Answer]] = {}
    for answer in answers:
        by_listener.setdefault(answer.listener, []).append(answer)
    judged = Judged()
    for name, (policies, mesh) in sets.items():
        for transport in _TRANSPORTS:
            listener = f"{transport}-{name}"
            if listener in by_listener:
                built = program(policies, workload, mesh, transport)
                _judge(engine, built, listener, by_listener[listener], judged)
    return judged


def _judge(engine: Engine, built: Program, listener: str, answers: Sequence[Answer], judged: Judged) -> None:
    sql = verdict(built)
    transport = listener.partition("-")[0]
    key = "request_id" if transport == "http" else "source_port"
    kept = f"{key}, verdict, denied_by"
    read = ", ".join([kept, *(f"{expression} AS {name}" for name, expression in sql.inputs.items())])
    each = sql.over(
        f"{kept}, unknown_1", f"(SELECT {read} FROM calls WHERE attributes['listener'] = {{listener:String}})"
    )
    parameters = {**sql.parameters, "listener": listener}
    found = engine.query(each, {name: parameters[name] for name in holes(each)})
    rows = {str(row[key]): row for row in found.to_pylist()}
    for answer in answers:
        row = rows.get(answer.key)
        if row is None or row["verdict"] == "unknown":
            # A request that the proxy did not take as one; it may not even log it.
            assert answer.request is not None and answer.allowed is None, f"no line of {listener} {answer}"
            judged.refused += 1
            continue
        done = _SEEN[row["verdict"]]
        judged.said[f"{transport} {row['verdict']}"] += 1
        where = f"{listener} {answer.line} {answer.request or ''}: Envoy {row['verdict']} ({row['denied_by'] or '-'})"
        if answer.allowed is not None and answer.allowed is not done:
            judged.wrong.append(f"{where}, its caller saw {answer.allowed}")
        if row["allowed"] is None:
            judged.unknown.append(answer)
            continue
        step = sql.steps[row["decided_by"] - 1] if row["decided_by"] else None
        if bool(row["allowed"]) is not done:
            rule = f"{step.policy}[{step.rule}]" if step else "no rule"
            judged.wrong.append(f"{where}, computed {bool(row['allowed'])} by {rule}")
        elif not done:
            named = policy_id_of(step.policy, step.rule) if step and step.policy else "none"
            judged.named += named != "none"
            # A rule before it that may match as well may be the one that Envoy named.
            if row["denied_by"] != named and not any(number < row["decided_by"] for number in row["unknown_1"]):
                judged.wrong.append(f"{where}, computed as denied by {named}")


def policy_id_of(policy: str, rule: str) -> str:
    """What the proxy calls a rule of the program."""
    namespace, _, name = policy.partition("/")
    return policy_id(AuthorizationPolicy(namespace, name, "DENY", ()), rule)
