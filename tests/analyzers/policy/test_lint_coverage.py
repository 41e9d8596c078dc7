"""What policies leave out of a store: workloads that none governs, and namespaces without mutual TLS."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from analyzers.policy.lint import coverage as covered
from analyzers.policy.lint.coverage import Coverage
from analyzers.policy.lint.model import Check, Remark
from analyzers.policy.lint.run import Lint, lint
from analyzers.policy.render.lint_table import print_lint
from collector.inventory import load
from storage.engine import Engine
from tests.analyzers.policy.lint_cases import Object, read
from tests.analyzers.policy.test_lint_istio import APP, SERVICE, STRICT, WEB, deny, mesh, peers, policy
from tests.analyzers.policy.test_lint_others import allow, intentions, network, server, target
from tests.analyzers.records import at, call, insert_calls

NAMES = ("orders", "cart")


def pods(namespace: str = "shop") -> Sequence[Object]:
    """A pod and a service of each name."""
    return [
        {
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            **(
                {
                    "spec": {"serviceAccountName": name, "containers": []},
                    "status": {"podIP": f"10.0.{len(namespace)}.{number}", "startTime": "2026-01-01T00:00:00Z"},
                }
                if kind == "Pod"
                else {"spec": {"selector": {"app": name}, "ports": [{"port": 8080}]}}
            ),
        }
        for number, name in enumerate(NAMES, 1)
        for kind in ("Pod", "Service")
    ]


def arrived(seconds: float, name: str, tls: str, **fields: Any) -> Mapping[str, Any]:
    """A call, as the callee's proxy tells it."""
    return call(
        seconds,
        source_namespace="shop",
        source_workload="web",
        destination_namespace="shop",
        destination_workload=name,
        destination_service=name,
        reporter="destination",
        tls=tls,
        **fields,
    )


@pytest.fixture
def store(engine: Engine) -> Engine:
    content = json.dumps({"kind": "List", "items": [*pods(), *pods("bank")]}).encode()
    load(engine, {"pods.json": content}, loaded_at=datetime(2026, 1, 1, tzinfo=UTC))
    calls = [arrived(0, "orders", "mtls"), arrived(1, "orders", "plaintext"), arrived(2, "cart", "mtls")]
    # The caller's own line of the same kind of call, which does not count beside the callee's.
    calls += [{**arrived(3, "cart", "plaintext"), "reporter": "source"}]
    # Of a workload that the inventory does not know; only its callers speak of it.
    calls += [{**arrived(4, "legacy", "unknown"), "reporter": "source"}]
    # A gateway's line: the request arrived at the gateway.
    calls += [
        {**arrived(5, "orders", "tls"), "reporter": "gateway"}
        | {"source_namespace": "edge", "source_workload": "gate", "source_service": "gate"}
    ]
    insert_calls(engine, calls)
    return engine


def found(engine: Engine, *objects: Object, until: float | None = None) -> tuple[Coverage, Lint]:
    """What the store says beside the documents."""
    policies, contents = read(*objects)
    said = lint(policies, engine, contents, until=None if until is None else at(until))
    assert said.coverage
    return said.coverage, said


def ungoverned(engine: Engine, *objects: Object) -> dict[str, str]:
    """Workloads that no document governs, with whether that is known."""
    told, _ = found(engine, *objects)
    documents = [one.to_document() for one in told.ungoverned]
    return {f"{one['namespace']}/{one['workload']}": one["governed"] for one in documents}


EVERY = {"bank/cart", "bank/orders", "edge/gate", "shop/cart", "shop/legacy", "shop/orders"}


def test_workloads_without_any_policy_are_told_with_their_calls(store: Engine) -> None:
    told, said = found(store, policy(WEB, selector=APP))
    assert [(one.namespace, one.workload, one.governed, one.calls) for one in told.ungoverned] == [
        ("edge", "gate", False, 1),
        ("shop", "cart", False, 1),
        ("bank", "cart", False, 0),
        ("bank", "orders", False, 0),
        ("shop", "legacy", None, 1),
    ]
    assert told.workloads == len(EVERY)
    remarks = of(covered.NO_POLICY, said.remarks)
    first = remarks[0]
    assert (first.kind, first.namespace, first.name, first.file, first.line) == ("Workload", "edge", "gate", "", 0)
    assert {f"{one.namespace}/{one.name}" for one in remarks} == EVERY - {"shop/orders", "shop/legacy"}


def of(check: Check, remarks: Sequence[Remark]) -> Sequence[Remark]:
    return [one for one in remarks if one.check == check.id]


GOVERNED: Sequence[tuple[Sequence[Object], set[str]]] = (
    ([], set[str]()),
    ([policy(WEB)], {"shop/orders", "shop/cart", "shop/legacy"}),
    ([policy(WEB, namespace="istio-system")], EVERY),
    ([mesh("rootNamespace: root"), policy(WEB, namespace="root")], EVERY),
    ([policy(WEB, action="AUDIT")], set[str]()),
    ([policy(WEB, annotations={"istio.io/dry-run": "true"})], set[str]()),
    ([deny(WEB, namespace="istio-system", selector=APP)], {"shop/orders", "bank/orders"}),
    ([policy(WEB, targetRefs=SERVICE)], {"shop/orders"}),
    ([peers("istio-system", **STRICT)], set[str]()),
    ([server()], {"shop/orders"}),
    ([intentions(allow("web"))], {"shop/orders", "bank/orders"}),
    ([intentions(allow("web"), name="*")], EVERY),
    ([target({"kind": "TCPRoute", "name": "x"})], {"shop/orders"}),
    ([network(ingress=[])], {"shop/orders", "shop/cart", "shop/legacy"}),
    ([network(policyTypes=["Egress"])], set[str]()),
    ([network(podSelector=APP)], {"shop/orders"}),
)


def test_each_engine_governs_what_its_documents_select(store: Engine) -> None:
    for objects, governed in GOVERNED:
        told = ungoverned(store, *objects)
        assert EVERY - told.keys() == governed, objects
        # Without its pods' labels nobody knows of those that only calls name.
        assert {name for name, known in told.items() if known == "unknown"} <= {"shop/legacy", "edge/gate"}


def test_mtls_is_told_by_what_is_required_and_by_how_calls_came(store: Engine) -> None:
    told, said = found(
        store,
        peers("istio-system", name="default", **STRICT),
        peers("shop", mtls={"mode": "PERMISSIVE"}),
        peers("bank", name="q", selector=APP, mtls={"mode": "DISABLE"}),
    )
    assert [one.to_document() for one in told.namespaces] == [
        _tls("bank", "STRICT", "istio-system/default", exceptions=["bank/q"]),
        _tls("edge", "STRICT", "istio-system/default", tls=1),
        _tls("shop", "PERMISSIVE", "shop/p", mtls=2, plaintext=1, unknown=1),
    ]
    (remark,) = of(covered.PLAINTEXT_CALLS, said.remarks)
    assert (remark.kind, remark.name, remark.severity) == ("Namespace", "shop", "warning")
    assert "1 calls" in remark.message
    assert of(covered.NO_MTLS, said.remarks) == []


def _tls(namespace: str, mode: str | None, by: str | None, exceptions: Sequence[str] = (), **calls: int) -> Object:
    none = dict.fromkeys(covered.TLS, 0)
    return {"namespace": namespace, "mode": mode, "by": by, "exceptions": list(exceptions), "calls": none | calls}


def test_a_namespace_whose_calls_all_had_mtls_could_require_it(store: Engine) -> None:
    _, said = found(store, policy(WEB), until=0.5)
    assert [one.name for one in of(covered.NO_MTLS, said.remarks)] == ["shop"]
    assert of(covered.PLAINTEXT_CALLS, said.remarks) == []


def test_without_documents_of_istio_nothing_is_said_of_its_modes(store: Engine) -> None:
    told, said = found(store, server())
    assert [(one.namespace, one.mode, one.by) for one in told.namespaces] == [
        ("bank", None, None),
        ("edge", None, None),
        ("shop", None, None),
    ]
    assert of(covered.PLAINTEXT_CALLS, said.remarks) == []


def test_a_selector_that_no_pod_bears_is_told(store: Engine) -> None:
    other = {"matchLabels": {"app": "order"}}
    _, said = found(store, policy(WEB, selector=other), policy(WEB, name="q", selector=APP))
    assert [(one.name, one.field) for one in of(covered.SELECTS_NOBODY, said.remarks)] == [("p", "spec.selector")]
    # Of a namespace without pods nothing is known.
    _, said = found(store, policy(WEB, namespace="new", selector=other))
    assert of(covered.SELECTS_NOBODY, said.remarks) == []
    _, said = found(store, policy(WEB, namespace="istio-system", selector=APP))
    assert of(covered.SELECTS_NOBODY, said.remarks) == []


def test_an_empty_store_has_nothing_to_cover(engine: Engine) -> None:
    told, said = found(engine, policy(WEB))
    assert (told.workloads, told.ungoverned, told.namespaces) == (0, [], [])
    assert of(covered.SELECTS_NOBODY, said.remarks) == []


def test_the_table_shows_both(store: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    _, said = found(store, policy(WEB, selector=APP))
    print_lint(said, {})
    out = capsys.readouterr().out
    assert "warning: Workload shop/cart: no policy says who may call it (1 calls recorded)" in out
    assert "1 of 6 workloads are governed by a policy\nof 1 it is not known" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("namespace ", "shop "))]
    assert rows[-1][:7] == ["shop", "PERMISSIVE", "-", "2", "0", "1", "1"]
