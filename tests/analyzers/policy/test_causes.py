"""Why something was let through though policies deny it: what findings take for likely."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from ipaddress import IPv6Address
from typing import Any

import pytest

from analyzers.findings.model import Finding
from analyzers.policy.causes import LATE, SENTENCES, likely
from analyzers.policy.unauthorized import GRACE, disagreements
from collector.inventory import load
from storage.engine import Engine
from tests.analyzers.policy.test_check import NOBODY, ONLY_WEB, authorization, line, peers, pods, policies
from tests.analyzers.policy.test_unauthorized import BATCH, loaded
from tests.analyzers.records import T0, at, call, insert_calls

CALLER = {"reporter": "source", "source_principal": "", "tls": "plaintext", "destination_workload": "orders"}
NO_DELETE = authorization("no-delete", "{action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}")


def bare(engine: Engine, *names: str, **metadata: Any) -> None:
    """Pods without a sidecar into the inventory, each its own workload."""
    items = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}, **metadata},
            "spec": {"serviceAccountName": name, "containers": [{"name": "app"}]},
            "status": {"podIP": f"10.0.1.{number}"},
        }
        for number, name in enumerate(names, 1)
    ]
    load(engine, {"bare.json": json.dumps({"kind": "List", "items": items}).encode()}, loaded_at=T0)


def connection(seconds: float, **fields: Any) -> dict[str, Any]:
    """A ztunnel's line of a connection from `web` to `orders`."""
    given = line(seconds, protocol="tcp", mesh="istio", termination_details="", method="", path="", operation="")
    return call(seconds, **{key: text for key, text in given.items() if key not in ("ts", "logged")} | fields)


def _ip(number: int) -> bytes:
    return IPv6Address(f"::ffff:10.0.0.{number}").packed


def caused(found: Finding) -> tuple[str, str | None, float, str]:
    return found.kind, found.subject.source, found.score, found.details["cause"]


def test_a_callee_without_a_sidecar_is_held_to_its_policies(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB, peers("STRICT")))
    pods(engine, "web", "batch")
    bare(engine, "orders")
    insert_calls(
        engine,
        [
            line(10, **CALLER, source_workload="web"),
            line(20, **CALLER, source_workload="batch", source_service="batch"),
            # Of whom nobody knows the account, nobody is sure.
            line(30, **CALLER, source_workload="other", source_service="other"),
        ],
    )
    (one,) = disagreements(engine)
    assert caused(one) == ("unauthorized", "shop/batch", 1.0, "no_sidecar")
    assert "no sidecar" in one.details["likely"] and one.evidence.request_ids == ("r20",)


def test_a_caller_that_only_its_address_names_is_known_by_the_inventory(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB))
    pods(engine, "web", "batch")  # 10.0.0.1 and 10.0.0.2
    bare(engine, "orders")
    insert_calls(engine, [line(number, **CALLER, source_ip=_ip(number)) for number in (1, 2)])
    (one,) = disagreements(engine)
    assert one.evidence.request_ids == ("r2",) and one.details["cause"] == "no_sidecar"


def test_a_callee_without_a_sidecar_is_let_off_where_ztunnels_judge(engine: Engine) -> None:
    loaded(engine, policies(NOBODY))
    bare(engine, "orders", annotations={"ambient.istio.io/redirection": "enabled"})
    insert_calls(engine, [line(10, **CALLER)])
    assert disagreements(engine) == []


def test_a_callee_that_nobody_hears_is_told_as_such(engine: Engine) -> None:
    loaded(engine, policies(NOBODY))
    pods(engine, "orders")
    insert_calls(engine, [line(10, **CALLER)])
    (one,) = disagreements(engine)
    assert one.details["cause"] == "unheard"


def test_a_rule_about_requests_without_a_waypoint(engine: Engine) -> None:
    loaded(engine, policies(NO_DELETE))
    heard = [connection(10), line(10, **CALLER, mesh="istio", method="GET")]
    deleted = line(20, **CALLER, mesh="istio", method="DELETE", operation="DELETE /orders")
    insert_calls(engine, [*heard, connection(20), deleted])
    (one,) = disagreements(engine)
    assert caused(one) == ("unauthorized", "shop/web", 1.0, "no_waypoint")
    assert (one.subject.operation, one.details["policies"]) == ("DELETE /orders", "shop/no-delete[0]")


def test_a_waypoint_judges_requests_itself(engine: Engine) -> None:
    loaded(engine, policies(NO_DELETE))
    deleted = {"mesh": "istio", "method": "DELETE", "operation": "DELETE /orders"}
    waypoint = line(20, **deleted, reporter="waypoint", verdict="denied")
    insert_calls(engine, [connection(10), line(20, **CALLER, **deleted), waypoint])
    assert [one for one in disagreements(engine) if one.kind == "unauthorized"] == []


@pytest.mark.parametrize(
    ("methods", "cause"), [("", "not_pushed"), (", to: [{operation: {methods: [GET]}}]", "no_waypoint")]
)
def test_connections_that_a_ztunnel_let_in(engine: Engine, methods: str, cause: str) -> None:
    only = f"{{rules: [{{from: [{{source: {{principals: [cluster.local/ns/shop/sa/web]}}}}]{methods}}}]}}"
    loaded(engine, policies(authorization("only-web", only)))
    insert_calls(engine, [connection(10, **BATCH)])
    (one,) = disagreements(engine)
    assert caused(one) == ("unauthorized", "shop/batch", 1.0, cause)


def test_where_strict_is_not_in_force_mutual_tls_is_permissive(engine: Engine) -> None:
    loaded(engine, policies(peers("STRICT")))
    insert_calls(engine, [line(10, source_principal="", tls="plaintext")])
    (one,) = disagreements(engine)
    assert (one.kind, one.details["cause"]) == ("plaintext_where_strict", "permissive")
    assert "PERMISSIVE" in one.details["likely"]


def test_an_episode_around_a_change_is_laid_to_it(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB), 0)
    late = GRACE.total_seconds() + LATE.total_seconds()
    insert_calls(engine, [line(GRACE.total_seconds() + 10, **BATCH)])
    (one,) = disagreements(engine)
    assert one.details["cause"] == "recent_change" and "2026-01-01 10:00:00" in one.details["likely"]
    # What goes on for longer is not the fault of the change.
    insert_calls(engine, [line(late, **BATCH)])
    (one,) = disagreements(engine)
    assert one.details["cause"] == "not_pushed"


def test_what_the_network_let_through_no_proxy_is_blamed_for(engine: Engine) -> None:
    isolated = (
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: closed, namespace: shop}, "
        "spec: {podSelector: {}, ingress: []}}"
    )
    loaded(engine, policies(isolated))
    pods(engine, "orders", "web")
    insert_calls(engine, [line(10, source_workload="web")])
    (one,) = disagreements(engine)
    assert (one.details["cause"], one.details["policies"]) == ("network", "shop/closed")


def test_some_proxies_or_none(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB))
    insert_calls(engine, [line(10, **BATCH), line(20, **BATCH, verdict="denied")])
    (one,) = disagreements(engine)
    assert one.details["cause"] == "some_proxies"


def test_every_cause_has_a_sentence() -> None:
    span = (T0, at(60))
    told = {
        likely("refused", Counter(), span, set(), enforced=False),
        likely("let_through", Counter({"": 1}), span, {T0 - timedelta(minutes=1)}, enforced=False),
        likely("let_through", Counter({"waypoint": 1}), span, set(), enforced=False),
        likely("let_through", Counter({"waypoint": 1, "no_sidecar": 2}), span, {T0}, enforced=False),
    }
    assert {cause for cause, _ in told} == {"other_filter", "recent_change", "waypoint", "no_sidecar"}
    assert all("{" not in sentence for _, sentence in told) and all(SENTENCES.values())
