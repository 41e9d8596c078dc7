"""Suggested policies of Linkerd, Consul and SMI: read back, and tried on the calls they were learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import yaml

from analyzers.policy.suggest.learn import MAKERS, as_yaml
from analyzers.policy.suggest.report import Suggestion, suggest
from storage.engine import Engine
from tests.analyzers.policy.suggest_store import at, connection, line, refused, stocked, usual

TRUST = "11111111-2222-3333-4444-555555555555.consul"
IDENTITIES = {
    "linkerd": "{}.shop.serviceaccount.identity.linkerd.cluster.local",
    "consul": f"spiffe://{TRUST}/ns/default/dc/dc1/svc/{{}}",
    "smi": "{}.shop.cluster.local",
}
MESHES = {"linkerd": "linkerd", "consul": "consul", "smi": "osm"}
ENGINES = sorted(MESHES)


def of_mesh(of: str, lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same calls as a proxy of another mesh tells of them."""
    return [
        {**one, "mesh": MESHES[of]}
        | (
            {"source_principal": IDENTITIES[of].format(one["source_principal"].rpartition("/")[2])}
            if one["source_principal"]
            else {}
        )
        for one in lines
    ]


def kinds(suggestion: Suggestion, kind: str) -> list[Any]:
    return [one for one in yaml.safe_load_all(suggestion.yaml()) if one["kind"] == kind]


@pytest.mark.parametrize("of", ENGINES)
def test_no_call_that_was_learnt_breaks_and_later_ones_are_counted(engine: Engine, of: str) -> None:
    new = [line(90, "web", "orders", "GET", "/reports/daily"), refused(91, "evil", "cart", "GET", "/")]
    stocked(engine, of_mesh(of, [*usual(), *new]))
    suggestion = suggest(engine, of, at(0), at(100))
    assert suggestion.learnt.documents
    assert "evil" not in suggestion.yaml()
    learning, held_out = suggestion.learning, suggestion.held_out
    assert (learning.legitimate, learning.broken, learning.unknown) == (200, 0, 0)
    assert held_out is not None
    assert (held_out.legitimate, held_out.broken, held_out.unknown) == (51, 1, 0)
    assert [(one.source, one.operation) for one in held_out.callers] == [("shop/web", "GET /reports/daily")]
    assert suggestion.yaml() == suggest(engine, of, at(0), at(100)).yaml()


@pytest.mark.parametrize("of", ENGINES)
def test_openness(engine: Engine, of: str) -> None:
    stocked(engine, of_mesh(of, usual()))
    openness = suggest(engine, of, at(0), at(100)).openness
    assert (openness.sources, openness.operations, openness.used, openness.unknown) == (4, 5, 5, 0)
    # As for Istio, the database's own caller might ask it for a page, but for SMI, which lets no request through then.
    assert openness.open == (5 if of == "smi" else 6)


@pytest.mark.parametrize("of", ENGINES)
def test_nobody_is_let_in_on_account_of_callers_without_a_name(engine: Engine, of: str) -> None:
    plain = [line(one, "", "orders", "GET", "/orders/1") for one in range(0, 100, 5)]
    only_plain = [line(one, "", "edge", "GET", "/") for one in range(4)]
    stocked(engine, of_mesh(of, [*usual(), *plain, *only_plain]))
    suggestion = suggest(engine, of, at(0), at(100))
    assert {one.reason for one in suggestion.left_out} == {"plaintext"}
    assert sum(one.calls for one in suggestion.left_out) == 20
    # Linkerd's and Istio's other destinations stay as they are; Consul and SMI refuse what nobody is named for.
    assert suggestion.learning.broken + suggestion.learning.unknown >= 16
    assert not any("edge" in one["metadata"]["name"] for one in yaml.safe_load_all(suggestion.yaml()))


@pytest.mark.parametrize("of", ENGINES)
def test_hostile_names_survive_the_round_trip(engine: Engine, of: str) -> None:
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(['x"; rm', "a\nb: c", "{{evil}}", "*", "\u202egpj", "!!python/name:os", "\x1b[31m"]):
        lines.append(line(number, "web", "orders", "GET", "/orders/1", source_principal=f"spiffe://td/{text}"))
        lines.append(line(number, "web", "orders", text, "/orders/1"))
        lines.append(line(number, "web", text, "GET", "/orders/1"))
        lines.append(line(number, "web", "cart", "GET", "/orders/1", destination_namespace=text))
        lines.append(line(number, "web", "orders", "GET", f"/{text}"))
        lines.append(line(number, "web", "orders", "GET", f"/12345/{text}"))
    lines = [{**one, "mesh": MESHES[of]} for one in lines if "td/" in one["source_principal"]] + of_mesh(
        of, [one for one in lines if "td/" not in one["source_principal"]]
    )
    stocked(engine, [*lines, *of_mesh(of, usual())])
    suggestion = suggest(engine, of, at(0), at(100), holdout=0)
    assert list(yaml.safe_load_all(suggestion.yaml())) == list(suggestion.learnt.documents)
    assert len([text for text in suggestion.yaml().splitlines() if text.startswith("#")]) == 4
    usual_ones = {
        ("shop/orders", "GET /orders/{id}"),
        ("shop/orders", "DELETE /orders/{id}"),
        ("shop/cart", "POST /cart/items"),
    }
    known = {IDENTITIES[of].format(name) for name in ("web", "cron", "orders")}
    for one in suggestion.learning.callers:
        assert one.principal not in known or (one.destination, one.operation) not in usual_ones
    assert suggestion.learning.legitimate == 250 + len(lines)


def test_linkerds_documents(engine: Engine) -> None:
    lines = [
        *usual(),
        *(
            refused(
                one,
                "evil",
                "orders",
                "GET",
                "/",
            )
            for one in range(3)
        ),
    ]
    stocked(
        engine,
        of_mesh(
            "linkerd",
            [{**one, "destination_port": 9999} if one["path"] == "/" else one for one in lines if "path" in one],
        ),
    )
    suggestion = suggest(engine, "linkerd", at(0), at(100))
    servers = {one["metadata"]["name"]: one["spec"] for one in kinds(suggestion, "Server")}
    assert sorted(servers) == ["seen-cart-8080", "seen-db-9999", "seen-orders-8080", "seen-orders-9999"]
    assert servers["seen-orders-8080"]["podSelector"] == {"matchLabels": {"app": "orders"}}
    routes = {one["metadata"]["name"]: one["spec"]["rules"] for one in kinds(suggestion, "HTTPRoute")}
    assert routes["seen-cart-8080-1"] == [
        {"matches": [{"path": {"type": "Exact", "value": "/cart/items"}, "method": "POST"}]}
    ]
    identities = {
        one["metadata"]["name"]: one["spec"]["identities"] for one in kinds(suggestion, "MeshTLSAuthentication")
    }
    by_route = {
        (match["method"], match["path"]["value"]): identities[name]
        for name, rules in routes.items()
        for rule in rules
        for match in rule["matches"]
    }
    cron, web = (IDENTITIES["linkerd"].format(name) for name in ("cron", "web"))
    assert by_route == {
        ("POST", "/cart/items"): [web],
        ("GET", r"/orders/[^/]+"): [cron, web],
        ("DELETE", r"/orders/[^/]+/"): [cron],
    }


def test_many_operations_are_parted_as_the_api_server_wants_it(engine: Engine) -> None:
    lines = [
        line(one / 10, "web", "orders", "GET", f"/words/{a}{b}")
        for one, (a, b) in enumerate((a, b) for a in "abcdefg" for b in "hijklmn")
    ]
    lines += [
        line(one / 10, "web", "orders", "POST", json_path)
        for one, json_path in enumerate(f"/more/{a}{b}" for a in "abcdefg" for b in "hijk")
    ]
    stocked(engine, of_mesh("linkerd", lines))
    suggestion = suggest(engine, "linkerd", at(0), at(100), holdout=0)
    counts = [len(one["spec"]["rules"][0]["matches"]) for one in kinds(suggestion, "HTTPRoute")]
    assert counts == [64, 13]
    assert suggestion.learning.broken == 0


def test_consuls_intentions(engine: Engine) -> None:
    stocked(engine, of_mesh("consul", [*usual(), connection(1, "cron", "db")]))
    made = {
        one["metadata"]["name"]: one["spec"]
        for one in kinds(suggest(engine, "consul", at(0), at(100)), "ServiceIntentions")
    }
    others = {"name": "*", "action": "deny"}
    rest = {"action": "deny", "http": {"pathPrefix": "/"}}
    assert made["seen-db"] == {
        "destination": {"name": "db"},
        "sources": [{"name": "cron", "action": "allow"}, {"name": "orders", "action": "allow"}, others],
    }
    assert made["seen-cart"]["sources"] == [
        {
            "name": "web",
            "permissions": [{"action": "allow", "http": {"pathExact": "/cart/items", "methods": ["POST"]}}, rest],
        },
        others,
    ]
    assert [one["name"] for one in made["seen-orders"]["sources"]] == ["cron", "web", "*"]


def test_smis_targets(engine: Engine) -> None:
    stocked(engine, of_mesh("smi", usual()))
    suggestion = suggest(engine, "smi", at(0), at(100))
    target = next(one for one in kinds(suggestion, "TrafficTarget") if one["metadata"]["name"] == "seen-cart-1")
    account = {"kind": "ServiceAccount", "namespace": "shop"}
    assert target["spec"] == {
        "destination": account | {"name": "cart"},
        "sources": [account | {"name": "web"}],
        "rules": [
            {"kind": "HTTPRouteGroup", "name": "seen-cart-1", "matches": ["m1"]},
            {"kind": "TCPRoute", "name": "seen-cart-1"},
        ],
    }
    assert kinds(suggestion, "MeshConfig") == []
    assert "enablePermissiveTrafficPolicyMode" in as_yaml(MAKERS["smi"].assumed)


def test_smis_callers_without_a_certificate_in_the_line_are_known_by_their_pods(engine: Engine) -> None:
    stocked(engine, [{**one, "mesh": "osm", "source_principal": "", "tls": "mtls"} for one in usual()])
    suggestion = suggest(engine, "smi", at(0), at(100))
    assert (suggestion.learning.legitimate, suggestion.learning.broken, suggestion.learning.unknown) == (200, 0, 0)
