"""Suggested policies: they let pass what was in order, refuse everybody else, and say what they would break."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import yaml

from analyzers.policy.check import check
from analyzers.policy.errors import BadPolicy
from analyzers.policy.policy_set import read_set
from analyzers.policy.suggest.report import Suggestion, suggest
from analyzers.policy.whatif import whatif
from storage.engine import Engine
from tests.analyzers.policy.suggest_store import (
    IPS,
    at,
    connection,
    found,
    ingested,
    line,
    pods,
    refused,
    spiffe,
    stocked,
    usual,
)

BARE = "cluster.local/ns/shop/sa/"


def documents(suggestion: Suggestion) -> dict[str, Any]:
    """By name, as they are read from the YAML."""
    return {one["metadata"]["name"]: one for one in yaml.safe_load_all(suggestion.yaml()) if one}


def grants(document: dict[str, Any]) -> set[tuple[str, str, str, str]]:
    """Caller, port, method and path of an AuthorizationPolicy, one by one."""
    said: set[tuple[str, str, str, str]] = set()
    for rule in document["spec"].get("rules", []):
        for caller in (text for one in rule["from"] for text in one["source"]["principals"]):
            for one in (item["operation"] for item in rule["to"]):
                for port in one.get("ports", ["*"]):
                    for method in one.get("methods", [""]):
                        said.update((caller.removeprefix(BARE), port, method, path) for path in one.get("paths", [""]))
    return said


def reasons(suggestion: Suggestion) -> dict[tuple[str, str], int]:
    told: Counter[tuple[str, str]] = Counter()
    for one in suggestion.left_out:
        told[one.reason, one.destination] += one.calls
    return told


def test_what_was_in_order_is_allowed_and_nothing_else(engine: Engine) -> None:
    stocked(engine, usual())
    suggestion = suggest(engine, "istio", at(0), at(100))
    made = documents(suggestion)
    assert {name: grants(one) for name, one in made.items()} == {
        "seen-cart": {("web", "8080", "POST", "/cart/items")},
        "seen-db": {("orders", "3306", "", "")},
        "seen-orders": {
            ("web", "8080", "GET", "/orders/{*}"),
            ("cron", "8080", "GET", "/orders/{*}"),
            ("cron", "8080", "DELETE", "/orders/{*}/"),
        },
    }
    assert made["seen-orders"]["spec"]["selector"] == {"matchLabels": {"app": "orders"}}
    assert "evil" not in suggestion.yaml()


@pytest.mark.parametrize("of", ["istio", "kubernetes"])
def test_the_engine_takes_it_and_no_call_in_order_breaks(engine: Engine, of: str) -> None:
    stocked(engine, usual())
    suggestion = suggest(engine, of, at(0), at(100))
    policies = read_set({"suggested.yaml": suggestion.yaml().encode()})
    assert len(policies.documents) == 3
    assert not policies.skipped
    told = whatif(engine, policies, at(0), at(100))
    assert not [change for change in told.changes if change.breaks or change.opens]
    assert check(engine, policies, at(0), at(100)).count("allow") == 250
    learning, held_out = suggestion.learning, suggestion.held_out
    assert held_out is not None
    assert (learning.since, learning.until, held_out.until) == (at(0), at(80), at(100))
    assert (learning.legitimate, learning.broken, learning.unknown) == (200, 0, 0)
    assert (held_out.legitimate, held_out.broken, held_out.unknown) == (50, 0, 0)


def test_later_calls_of_a_new_kind_are_counted_as_broken(engine: Engine) -> None:
    new = [line(85 + one, "web", "orders", "GET", "/reports/daily") for one in range(3)]
    new += [line(90, "evil", "cart", "POST", "/cart/items"), refused(91, "evil", "cart", "GET", "/")]
    stocked(engine, [*usual(), *new])
    held_out = suggest(engine, "istio", at(0), at(100)).held_out
    assert held_out is not None
    assert (held_out.legitimate, held_out.broken) == (54, 4)
    assert [(one.source, one.principal, one.destination, one.operation, one.calls) for one in held_out.callers] == [
        ("shop/web", spiffe("web"), "shop/orders", "GET /reports/daily", 3),
        ("shop/evil", spiffe("evil"), "shop/cart", "POST /cart/items", 1),
    ]


def test_calls_that_the_engine_does_not_judge_are_not_counted(engine: Engine) -> None:
    of_others = [line(second, "web", "orders", "GET", "/orders/1", mesh="linkerd") for second in (10, 20, 90)]
    in_bank = [line(second, "web", "ledger", "GET", "/", destination_namespace="bank") for second in (11, 91)]
    stocked(engine, [*usual(), *of_others, *in_bank])
    for of, namespaces, learnt, later in (
        ("istio", (), (201, 2), (51, 1)),
        ("istio", ("shop",), (200, 3), (50, 2)),
        ("kubernetes", (), (203, 0), (52, 0)),
        ("linkerd", (), (2, 203), (1, 51)),
        ("consul", (), (0, 205), (0, 52)),
    ):
        found = suggest(engine, of, at(0), at(100), namespaces=namespaces)
        assert found.held_out is not None
        for trial, (legitimate, elsewhere) in ((found.learning, learnt), (found.held_out, later)):
            assert (trial.legitimate, trial.elsewhere) == (legitimate, elsewhere), of


def test_with_nothing_held_out_all_is_learnt(engine: Engine) -> None:
    stocked(engine, [*usual(), line(95, "web", "orders", "GET", "/reports/daily")])
    suggestion = suggest(engine, "istio", at(0), at(100), holdout=0)
    assert suggestion.held_out is None
    assert suggestion.learning.broken == 0
    assert ("web", "8080", "GET", "/reports/daily") in grants(documents(suggestion)["seen-orders"])


def test_openness_counts_what_is_let_in_of_what_was_seen(engine: Engine) -> None:
    # 4 callers (web, cron, orders, evil) and 5 operations: evil asked the database for a page, which is the one triple
    # that is open beyond those used, for who may connect there.
    stocked(engine, usual())
    openness = suggest(engine, "istio", at(0), at(100)).openness
    assert (openness.sources, openness.operations, openness.triples) == (4, 5, 20)
    assert (openness.used, openness.open, openness.unknown) == (5, 6, 0)
    # By address everybody who connects to a port may do all that is done there.
    wider = suggest(engine, "kubernetes", at(0), at(100)).openness
    assert (wider.sources, wider.used, wider.open) == (4, 5, 7)


@pytest.mark.parametrize("of", ["istio", "kubernetes"])
def test_an_identity_that_findings_are_about_is_not_learnt(engine: Engine, of: str) -> None:
    stocked(engine, [*usual(), *(line(one, "evil", "orders", "GET", f"/orders/{one}") for one in range(50, 90))])
    assert "evil" in suggest(engine, of, at(0), at(100)).yaml()
    found(engine, spiffe("evil"), "low")
    assert "evil" in suggest(engine, of, at(0), at(100)).yaml()
    found(engine, spiffe("evil"), "medium", destination="shop/orders")
    suggestion = suggest(engine, of, at(0), at(100))
    assert "evil" not in suggestion.yaml()
    assert reasons(suggestion) == {("flagged", "shop/orders"): 30}
    assert (suggestion.learning.legitimate, suggestion.learning.broken) == (200, 0)


def test_a_finding_about_other_calls_of_the_same_caller_does_not_count(engine: Engine) -> None:
    stocked(engine, usual())
    found(engine, spiffe("web"), destination="shop/cart", operation="POST /cart/items")
    suggestion = suggest(engine, "istio", at(0), at(100))
    made = documents(suggestion)
    assert ("web", "8080", "GET", "/orders/{*}") in grants(made["seen-orders"])
    # Nobody else calls the cart: it is closed.
    assert suggestion.learnt.closed == ["shop/seen-cart"]
    assert "rules" not in made["seen-cart"]["spec"]


def test_nobody_is_let_in_on_account_of_callers_without_a_name(engine: Engine) -> None:
    plain = [line(one, "", "orders", "GET", "/orders/1") for one in range(0, 100, 5)]
    only_plain = [line(one, "", "edge", "GET", "/") for one in range(4)]
    stocked(engine, [*usual(), *plain, *only_plain])
    suggestion = suggest(engine, "istio", at(0), at(100))
    made = documents(suggestion)
    assert "seen-edge" not in made
    assert all(
        rule["from"][0]["source"]["principals"] for one in made.values() for rule in one["spec"].get("rules", [])
    )
    assert reasons(suggestion) == {("plaintext", "shop/orders"): 16, ("plaintext", "shop/edge"): 4}
    assert (suggestion.learning.broken, suggestion.held_out and suggestion.held_out.broken) == (16, 4)


def test_what_was_only_refused_stays_closed(engine: Engine) -> None:
    stocked(engine, [*usual(), *(refused(one, "evil", "edge", "GET", "/") for one in range(3))])
    suggestion = suggest(engine, "istio", at(0), at(100))
    assert suggestion.learnt.closed == ["shop/seen-edge"]
    assert not [one for one in whatif_of(engine, suggestion).changes if one.breaks or one.opens]
    network = documents(suggest(engine, "kubernetes", at(0), at(100)))["seen-edge"]["spec"]
    assert network == {"podSelector": {"matchLabels": {"app": "edge"}}, "policyTypes": ["Ingress"], "ingress": []}


def whatif_of(engine: Engine, suggestion: Suggestion) -> Any:
    return whatif(engine, read_set({"suggested.yaml": suggestion.yaml().encode()}), at(0), at(100))


PATHS = [
    "/orders/12/items/34",
    "/a;v=1/b",
    "//twice//",
    "/with space",
    "/quote\"and's",
    "/new\nline: [x]",
    "/ends/*",
    "/{id}",
    "/x{y/1234",
    "/odd/é/1234",
    "/escaped/%41/77777777",
    "/deep/" + "/".join(f"part{one}" for one in "abcdefghijklmnop"),
    "/user%20name/x",
    "/a*b/12345",
    "*",
    "/",
    "/" + "long" * 400,
]


def test_paths_of_strangers_are_written_so_that_they_mean_themselves_or_left_out(engine: Engine) -> None:
    lines = [line(one, "web", "orders", "GET", path) for one, path in enumerate(PATHS)]
    stocked(engine, [*lines, *(line(one, "web", "cart", "GET", "/") for one in range(2))])
    suggestion = suggest(engine, "istio", at(0), at(100), holdout=0)
    told = whatif_of(engine, suggestion)
    broken = [change.operation for change in told.changes if change.breaks]
    # What no policy can say; everything else passes.
    unwritable = ["GET /*", "GET /a*b/{id}", "GET /ends/*", "GET /odd/é/{id}", "GET /x{y/{id}", "GET /{id}"]
    assert sorted(map(str, broken)) == unwritable
    assert suggestion.learning.broken == len(unwritable) == reasons(suggestion)["path", "shop/orders"]
    written = {path for *_, path in grants(documents(suggestion)["seen-orders"])}
    assert "/deep/" + "/".join(f"part{one}" for one in "abcdefghijk") + "/{**}" in written
    assert {"/orders/{*}/items/{*}", "/a;v=1/b", "//twice//", "/new\nline: [x]", "/{*}/x", "/"} <= written


HOSTILE = [
    'x"; rm -rf / #',
    "a\nb: c",
    "{{evil}}",
    "'quoted'",
    "*",
    "\u202egpj",
    "- item",
    "&anchor",
    "!!python/name:os",
    "\x1b[31m",
]


def test_hostile_names_survive_the_round_trip(engine: Engine) -> None:
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(HOSTILE):
        lines.append(line(number, "web", "orders", "GET", "/orders/1", source_principal=f"spiffe://td/ns/n/sa/{text}"))
        lines.append(line(number, "web", "orders", text, "/orders/1"))
        lines.append(line(number, "web", text, "GET", "/orders/1"))
        lines.append(line(number, "web", "cart", "GET", "/orders/1", destination_namespace=text))
        lines.append(line(number, "web", "orders", "GET", f"/{text}"))
    stocked(engine, [*lines, *usual()])
    for of in ("istio", "kubernetes"):
        suggestion = suggest(engine, of, at(0), at(100), holdout=0)
        policies = read_set({"suggested.yaml": suggestion.yaml().encode()})
        assert sorted(one.name for one in policies.documents) == ["seen-cart", "seen-db", "seen-orders"]
        comments = [text for text in suggestion.yaml().splitlines() if text.startswith("#")]
        assert len(comments) == 4
        assert list(yaml.safe_load_all(suggestion.yaml())) == list(suggestion.learnt.documents)
        assert not [one for one in whatif_of(engine, suggestion).changes if one.opens]
    callers = {
        caller for caller, *_ in grants(documents(suggest(engine, "istio", at(0), at(100), holdout=0))["seen-orders"])
    }
    assert {f"td/ns/n/sa/{text}" for text in HOSTILE if text != "*"} <= callers
    assert "td/ns/n/sa/*" not in callers


def test_the_same_store_gives_the_same_policies(engine: Engine) -> None:
    stocked(engine, usual())
    first = [suggest(engine, of, at(0), at(100)) for of in ("istio", "kubernetes")]
    again = [suggest(engine, of, at(0), at(100)) for of in ("istio", "kubernetes")]
    assert [one.yaml() for one in first] == [one.yaml() for one in again]
    assert [one.to_document() for one in first] == [one.to_document() for one in again]


def test_only_the_namespaces_asked_for(engine: Engine) -> None:
    stocked(engine, usual())
    assert suggest(engine, "istio", at(0), at(100), namespaces=["shop"]).learnt.targets == 3
    other = suggest(engine, "istio", at(0), at(100), namespaces=["other"])
    assert (other.learnt.targets, other.learnt.documents, other.learning.broken) == (0, [], 0)
    assert read_empty(other) == []


def read_empty(suggestion: Suggestion) -> Sequence[Any]:
    return [one for one in yaml.safe_load_all(suggestion.yaml()) if one]


def test_labels_that_others_bear_too_name_nobody(engine: Engine) -> None:
    twins = {"app": "shop"}
    stocked(engine, usual(), orders=twins, cart=twins | {"version": "2"}, web={"app": "web", "tier": "x"})
    suggestion = suggest(engine, "istio", at(0), at(100))
    made = documents(suggestion)
    # The cart's labels hold the orders', not the other way round.
    assert made["seen-cart"]["spec"]["selector"]["matchLabels"] == {"app": "shop", "version": "2"}
    assert "seen-orders" not in made
    assert reasons(suggestion) == {("no_labels", "shop/orders"): 120}


def test_without_an_inventory_nothing_is_suggested(engine: Engine) -> None:
    ingested(engine, usual())
    for of in ("istio", "kubernetes"):
        suggestion = suggest(engine, of, at(0), at(100))
        assert suggestion.learnt.documents == []
        assert {reason for reason, _ in reasons(suggestion)} == {"no_labels"}


def test_an_empty_store_gives_nothing(engine: Engine) -> None:
    suggestion = suggest(engine, "istio")
    assert (suggestion.learnt.documents, suggestion.learning.calls) == ([], 0)
    assert suggestion.openness.to_document()["open_share"] is None


def test_an_engine_that_is_not_known(engine: Engine) -> None:
    with pytest.raises(
        BadPolicy, match="no policies of nginx can be suggested, expected istio, kubernetes, linkerd, consul or smi"
    ):
        suggest(engine, "nginx")


def test_gateways_keep_their_policies(engine: Engine) -> None:
    outside = [
        line(one, "", "orders", "GET", "/orders/1", reporter="gateway", source_namespace="shop", source_workload="edge")
        for one in range(6)
    ]
    stocked(engine, [*usual(), *outside])
    suggestion = suggest(engine, "istio", at(0), at(100))
    assert "seen-edge" not in documents(suggestion)
    assert [one.reason for one in suggestion.left_out] == ["gateway"]
    assert suggestion.learning.broken == 0


def test_lines_without_a_port_open_no_connections(engine: Engine) -> None:
    lines = [connection(one, "orders", "db", destination_port=0) for one in range(5)]
    lines += [line(one, "web", "cart", "GET", "/x", destination_port=0) for one in range(5)]
    stocked(engine, lines)
    suggestion = suggest(engine, "istio", at(0), at(100), holdout=0)
    assert {name: grants(one) for name, one in documents(suggestion).items()} == {
        "seen-cart": {("web", "*", "GET", "/x")}
    }
    assert reasons(suggestion) == {("port_not_logged", "shop/db"): 5}


def test_pods_of_the_store_are_the_known_ones() -> None:
    assert set(IPS) == {"web", "cron", "orders", "cart", "db", "evil", "edge"}
    assert pods("web")


def test_a_finding_with_a_principal_is_about_the_same_callers_packets(engine: Engine) -> None:
    packets = [
        {**connection(one, "evil", "orders"), "mesh": "cilium", "source_principal": "", "tls": "unknown"}
        | {"source_namespace": "shop", "source_workload": "evil"}
        for one in range(50)
    ]
    stocked(engine, [*usual(), *packets])
    assert "evil" in suggest(engine, "kubernetes", at(0), at(100)).yaml()
    found(engine, spiffe("evil"), source="shop/evil")
    suggestion = suggest(engine, "kubernetes", at(0), at(100))
    assert "evil" not in suggestion.yaml()
    assert reasons(suggestion) == {("flagged", "shop/orders"): 50}


def test_a_finding_about_nobody_in_particular_is_about_nobody(engine: Engine) -> None:
    stocked(engine, usual())
    found(engine, "", source="unknown")
    found(engine, "")
    assert suggest(engine, "istio", at(0), at(100)).learning.legitimate == 200


def test_callers_that_labels_do_not_tell_apart_are_not_let_in(engine: Engine) -> None:
    stocked(engine, usual(), evil={"app": "web", "tier": "1"})
    suggestion = suggest(engine, "kubernetes", at(0), at(100))
    assert reasons(suggestion) == {("caller_labels", "shop/orders"): 40, ("caller_labels", "shop/cart"): 40}
    # The cart, which nobody else calls, stays as it is.
    assert suggestion.learning.broken == 40
    assert "web" not in str(documents(suggestion)["seen-orders"])


def test_a_service_behind_a_waypoint_is_named_as_such(engine: Engine) -> None:
    stocked(
        engine, [{**one, "reporter": "waypoint"} if one["destination_workload"] == "cart" else one for one in usual()]
    )
    suggestion = suggest(engine, "istio", at(0), at(100))
    cart = documents(suggestion)["seen-cart"]["spec"]
    assert cart["targetRefs"] == [{"group": "", "kind": "Service", "name": "cart"}]
    assert "selector" not in cart
    assert (suggestion.learning.legitimate, suggestion.learning.broken, suggestion.learning.unknown) == (200, 0, 0)
    assert reasons(suggest(engine, "kubernetes", at(0), at(100))) == {("waypoint", "shop/cart"): 40}
