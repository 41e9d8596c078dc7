"""Documents and calls the whole way through `check`, `each` and `whatif`: they say what the plain evaluators say.

What stands between: places and their labels from the inventory, groups, cases, and the sums of their verdicts.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from analyzers.policy.check import check
from analyzers.policy.decision import Decision
from analyzers.policy.each import each
from analyzers.policy.fields import name_of
from analyzers.policy.istio.authentication_reference import decide
from analyzers.policy.judging import DID
from analyzers.policy.policy_set import Document, PolicySet
from analyzers.policy.whatif import whatif
from analyzers.policy.workloads import Workload
from storage.engine import Engine
from tests.analyzers.policy import istio_samples
from tests.analyzers.policy.calls import row
from tests.analyzers.policy.test_check import pods
from tests.analyzers.policy.test_istio_authentication import call, documents
from tests.analyzers.records import at, insert_calls

SETS, CALLS = 30, 300
NAMES = ("orders", "cart", "stock")
WORKLOADS = {name: Workload("shop", labels=({"app": name},)) for name in NAMES}
SOURCES = ("web", "batch")
DRAWN: Mapping[str, Sequence[Any]] = {**istio_samples.CALL_VALUES, "tls": ("mtls", "plaintext")}
EMPTY = (None, "", "::", "unknown", "invalid:x_y")
"""What says nothing of a field, or not enough."""
NEVER = frozenset({"ext_authz", "request.auth.claims[group]"})
"""What no line can tell."""
Recorded = tuple[dict[str, Any], dict[str, Any]]
"""A call as the plain evaluators take it, and its row."""


def recorded(draw: random.Random, number: int) -> Recorded:
    drawn = call(draw)
    ends = {
        "ts": at(number),
        "reporter": "destination",
        "log_type": "request",
        "mesh": "istio",
        "source_namespace": "shop",
        "source_service": draw.choice(SOURCES),
        "destination_namespace": "shop",
        "destination_service": draw.choice(NAMES),
        "verdict": draw.choice(("allowed", "allowed", "denied", "unknown")),
        "operation": draw.choice(("GET /a", "POST /b")),
        "weight": draw.choice((1, 1, 4)),
    }
    ends["destination_workload"] = ends["destination_service"]
    return drawn, {**row(number, drawn), **ends}


def policy_set(models: Sequence[Any]) -> PolicySet:
    """Models as the documents of a file; their texts are not asked for."""
    return PolicySet(
        tuple(
            Document("istio", type(one).__name__, getattr(one, "namespace", ""), f"d{at}", "p.yaml", at, one, "")
            for at, one in enumerate(models)
        )
    )


def expected_of(models: Sequence[Any], calls: Sequence[Recorded]) -> list[Decision]:
    return [decide(models, WORKLOADS[stored["destination_service"]], drawn) for drawn, stored in calls]


def test_everything_says_what_the_reference_says(engine: Engine) -> None:
    draw = random.Random(22)
    pods(engine, *NAMES)
    calls = [recorded(draw, number) for number in range(CALLS)]
    insert_calls(engine, [stored for _, stored in calls])
    said: Counter[str] = Counter()
    for _ in range(SETS):
        models = documents(draw)
        expected = expected_of(models, calls)
        told = each(engine, policy_set(models))
        judged = {one.request_id: one for one in told}
        assert len(judged) == CALLS == len(told)
        counts, changes = Counter[Any](), Counter[Any]()
        for (drawn, stored), wanted in zip(calls, expected, strict=True):
            one = judged[stored["request_id"]]
            assert (one.verdict, one.policy, one.rule) == (wanted.verdict, wanted.policy, wanted.rule), (models, drawn)
            assert (one.source, one.destination) == (f"shop/{stored['source_service']}", node(stored))
            if wanted.verdict == "unknown":
                assert_lacks(models, drawn, stored, one.missing)
                said["tellable"] += NEVER.isdisjoint(one.missing)
            else:
                assert not one.missing
            reason = (wanted.verdict, wanted.policy, wanted.rule, tuple(one.missing))
            counts[*reason, stored["verdict"]] += stored["weight"]
            now = DID.get(stored["verdict"], "unknown")
            if now != wanted.verdict and (now != "unknown" or wanted.verdict == "deny"):
                changes[one.source, one.destination, stored["operation"], now, *reason] += stored["weight"]
            said[wanted.verdict] += 1
        assert counts == counted(check(engine, policy_set(models))) == counted(told.check), models
        found = Counter[Any]()
        for change in whatif(engine, policy_set(models)).changes:
            ends = change.source, change.destination, change.operation, change.now
            found[*ends, change.then, change.policy, change.rule, tuple(change.missing)] += change.calls
        assert found == changes, models
    assert min(said[one] for one in ("allow", "deny", "unknown", "tellable")) >= SETS * CALLS / 10, said


def node(stored: Mapping[str, Any]) -> str:
    return f"shop/{stored['destination_service']}"


def counted(found: Any) -> Counter[Any]:
    return Counter(
        {
            (one.verdict, one.policy, one.rule, tuple(name_of(field) for field in one.missing), one.did): one.calls
            for one in found.decided
        }
    )


def assert_lacks(
    models: Sequence[Any], drawn: Mapping[str, Any], stored: Mapping[str, Any], missing: Sequence[str]
) -> None:
    """What is missing was not logged, and a line that logs all of it decides."""
    assert missing
    draw = random.Random(len(missing))
    whole = {**drawn, "attributes": dict(drawn["attributes"])}
    for name in missing:
        if name in DRAWN:
            assert drawn.get(name) in EMPTY, (name, drawn)
            whole[name] = draw.choice([value for value in DRAWN[name] if value not in EMPTY])
        elif name not in NEVER:
            whole["attributes"][name] = draw.choice(istio_samples.ATTRIBUTES.get(name, ("on",)))
    if "tls" in missing and not whole.get("source_principal"):
        whole["tls"] = "plaintext"
    if NEVER.isdisjoint(missing):
        verdict = decide(models, WORKLOADS[stored["destination_service"]], whole).verdict
        assert verdict != "unknown", (models, drawn, missing)
