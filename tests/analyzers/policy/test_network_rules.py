"""NetworkPolicy's rules one by one, with outcomes written by hand from the description: of engine and reference."""

from __future__ import annotations

from typing import Any

import pytest

from analyzers.policy.documents import read_documents
from analyzers.policy.formula import Field
from analyzers.policy.kubernetes.compile import program
from analyzers.policy.kubernetes.model import NetworkPolicy
from analyzers.policy.kubernetes.read import read_network_policy
from analyzers.policy.kubernetes.reference import decide
from analyzers.policy.sql import verdict
from analyzers.policy.workloads import Cluster, Workload
from storage.engine import Engine
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import computed

ORDERS = Workload("shop", "orders", labels=({"app": "orders"},), ports={"http": (8080,), "debug": (6060, 6061)})
WEB = Workload("shop", "web", labels=({"app": "web", "tier": "front"},))
CART = Workload("shop", "cart", labels=({"app": "cart"}, {"app": "cart", "canary": "yes"}))
TELLER = Workload("bank", "teller", labels=({"app": "web"},))
GHOST = Workload("shop", "ghost")
PROBE = Workload("lab", "probe", labels=({"app": "web"},))
CLUSTER = Cluster(
    {(one.namespace, one.name): one for one in (ORDERS, WEB, CART, TELLER, GHOST, PROBE)},
    # What the inventory says of `shop` lacks its name; of `lab` it says nothing.
    {"shop": {"team": "a"}, "bank": {"team": "b", "kubernetes.io/metadata.name": "bank"}},
)
CALL: dict[str, Any] = {
    "transport": "http",
    "attributes": {},
    "source_namespace": "shop",
    "source_workload": "web",
    "source_ip": "10.1.2.3",
    "destination_ip": "10.9.9.9",
    "destination_port": 8080,
}
Said = tuple[str, str | None]
ALLOW, DENY, UNKNOWN = ("allow", None), ("deny", None), ("unknown", None)
ISOLATED = ("deny", "shop/p0[]")


def by(caller: Workload | str, **fields: Any) -> dict[str, Any]:
    """A call of a workload, or of a namespace of which no more is known; empty = of whom nothing is known."""
    if isinstance(caller, Workload):
        return {**CALL, "source_namespace": caller.namespace, "source_workload": caller.name, **fields}
    return {**CALL, "source_namespace": caller or None, "source_workload": None, **fields}


def policies(*specs: str) -> list[NetworkPolicy]:
    """Policies `p0`, `p1`, .. from their specs in YAML; of `shop`, or of the namespace before a bar."""
    found: list[NetworkPolicy] = []
    for number, text in enumerate(specs):
        namespace, bar, spec = text.partition("|")
        written = f"metadata: {{name: p{number}}}\nspec: {spec if bar else text}\n"
        (document,) = read_documents("p.yaml", written.encode())
        found.append(read_network_policy(document, namespace if bar else "shop"))
    return found


def judged(
    engine: Engine,
    given: list[NetworkPolicy],
    call: dict[str, Any],
    destination: Workload = ORDERS,
    cluster: Cluster = CLUSTER,
) -> Said:
    """What both say of `call`: the verdict, and policy and rule."""
    expected = decide(given, destination, cluster, call)
    insert_calls(engine, [call])
    (found,) = computed(engine, program(given, destination, cluster, call["transport"])).values()
    engine.execute("TRUNCATE TABLE calls")
    assert found == expected
    return expected.verdict, f"{expected.policy}[{expected.rule}]" if expected.policy else None


TEAM_B = "namespaceSelector: {matchLabels: {team: b}}"
FROM_WEB = "{ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}"
TO_ORDERS = "{policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: orders}}}]}]}"
PASSED = ("allow", "shop/p0[ingress[0]]")
SENT = ("allow", "shop/p0[egress[0]]")


@pytest.mark.parametrize(
    ("specs", "call", "expected"),
    [
        # Nobody is isolated unless a policy of the pod's own namespace selects it.
        ([], CALL, ALLOW),
        (["{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}"], CALL, ALLOW),
        (["bank|{podSelector: {}, policyTypes: [Ingress]}"], CALL, ALLOW),
        # policyTypes: Ingress unless said otherwise, Egress too where there are egress rules.
        (["{podSelector: {}}"], by(TELLER), ISOLATED),
        (["{}"], by(TELLER), ISOLATED),
        (["{policyTypes: []}"], by(TELLER), ISOLATED),
        (["{policyTypes: [Egress]}"], by(TELLER), ALLOW),
        (["{policyTypes: [Egress]}"], CALL, ISOLATED),
        (["{egress: []}", "{ingress: [{}]}"], CALL, ("allow", "shop/p1[ingress[0]]")),
        (["{ingress: [{}], egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]}"], CALL, ISOLATED),
        # Rules of a direction that is off say nothing.
        (["{policyTypes: [Egress], ingress: [{}], egress: []}"], CALL, ISOLATED),
        (["{policyTypes: [Ingress], egress: [{}]}"], by(TELLER), ISOLATED),
        # Empty forms.
        (["{policyTypes: [Ingress], ingress: []}"], CALL, ISOLATED),
        (["{ingress: [{}]}"], CALL, PASSED),
        (["{ingress: [{from: [], ports: []}]}"], CALL, PASSED),
        (["{ingress: [null]}"], CALL, PASSED),
        (["{policyTypes: [Egress], egress: [{}]}"], CALL, SENT),
        # Rules of all policies that isolate are united; one of several isolates names nobody.
        (["{}", FROM_WEB], CALL, ("allow", "shop/p1[ingress[0]]")),
        (["{}", FROM_WEB], by(CART), DENY),
        (["{}", "{podSelector: {matchLabels: {app: web}}, ingress: [{}]}"], CALL, ISOLATED),
        (["{ingress: [{ports: [{port: 9}]}, {ports: [{port: 8080}]}]}"], CALL, ("allow", "shop/p0[ingress[1]]")),
        # A podSelector alone means pods of the policy's own namespace.
        ([FROM_WEB], CALL, PASSED),
        ([FROM_WEB], by(CART), ISOLATED),
        ([FROM_WEB], by(TELLER), ISOLATED),
        (["{ingress: [{from: [{podSelector: {}}]}]}"], by(CART), PASSED),
        (["{ingress: [{from: [{podSelector: {}}]}]}"], by(TELLER), ISOLATED),
        # A namespaceSelector alone means all their pods; together in one entry both must hold, in two entries one.
        (["{ingress: [{from: [{namespaceSelector: {}}]}]}"], by(TELLER), PASSED),
        (["{ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}"], by(TELLER), PASSED),
        (["{ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}"], CALL, ISOLATED),
        (
            [f"{{ingress: [{{from: [{{{TEAM_B}, podSelector: {{matchLabels: {{app: x}}}}}}]}}]}}"],
            by(TELLER),
            ISOLATED,
        ),
        (
            [f"{{ingress: [{{from: [{{{TEAM_B}, podSelector: {{matchLabels: {{app: web}}}}}}]}}]}}"],
            CALL,
            ISOLATED,
        ),
        (
            [f"{{ingress: [{{from: [{{{TEAM_B}}}, {{podSelector: {{matchLabels: {{app: web}}}}}}]}}]}}"],
            CALL,
            PASSED,
        ),
        # Every namespace has its own name as a label, whatever the inventory says.
        (
            ["{ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]}]}"],
            CALL,
            PASSED,
        ),
        (
            ["{ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: lab}}}]}]}"],
            by(PROBE),
            PASSED,
        ),
        (
            ["{ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: lab}}}]}]}"],
            CALL,
            ISOLATED,
        ),
        (["{ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}"], by(PROBE), UNKNOWN),
        # Blocks are of addresses, pods or not, without their exceptions.
        (["{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}"], by(""), PASSED),
        (["{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]}"], CALL, ISOLATED),
        (["{ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}"], CALL, ISOLATED),
        (["{ingress: [{from: [{ipBlock: {cidr: 10.1.2.99/24}}]}]}"], CALL, PASSED),
        (["{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}"], {**CALL, "source_ip": None}, UNKNOWN),
        # Ports are the pod's; their protocol is TCP unless said otherwise, and no recorded call is UDP.
        (["{ingress: [{ports: [{port: 8080}]}]}"], CALL, PASSED),
        (["{ingress: [{ports: [{port: 80}]}]}"], CALL, ISOLATED),
        (["{ingress: [{ports: [{port: 8000, endPort: 8080}]}]}"], CALL, PASSED),
        (["{ingress: [{ports: [{port: 8081, endPort: 9000}]}]}"], CALL, ISOLATED),
        (["{ingress: [{ports: [{port: 8080, protocol: UDP}]}]}"], CALL, ISOLATED),
        (["{ingress: [{ports: [{protocol: SCTP}]}]}"], CALL, ISOLATED),
        (["{ingress: [{ports: [{protocol: TCP}]}]}"], {**CALL, "destination_port": None}, PASSED),
        (["{ingress: [{ports: [{port: 8080}]}]}"], {**CALL, "destination_port": None}, UNKNOWN),
        (["{ingress: [{ports: [{port: http}]}]}"], CALL, PASSED),
        (["{ingress: [{ports: [{port: http}]}]}"], {**CALL, "destination_port": 80}, ISOLATED),
        (["{ingress: [{ports: [{port: metrics}]}]}"], CALL, ISOLATED),
        # Pods that give the name to different ports: which of them was called is not known.
        (["{ingress: [{ports: [{port: debug}]}]}"], {**CALL, "destination_port": 6060}, UNKNOWN),
        (["{ingress: [{ports: [{port: debug}]}]}"], CALL, ISOLATED),
        # From and ports must both match.
        (["{ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}"], CALL, ISOLATED),
        # Both ends decide.
        (["{policyTypes: [Egress]}", "{ingress: [{}]}"], CALL, ISOLATED),
        ([TO_ORDERS, "{policyTypes: [Ingress]}"], CALL, ("deny", "shop/p1[]")),
        (["{ingress: [{}]}", TO_ORDERS], CALL, PASSED),
        ([TO_ORDERS], CALL, SENT),
        ([TO_ORDERS, "{policyTypes: [Egress]}"], CALL, SENT),
        (["{policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]}"], CALL, ISOLATED),
        (
            [
                "{policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]}",
                "{policyTypes: [Egress]}",
            ],
            CALL,
            DENY,
        ),
        (["bank|" + TO_ORDERS], by(TELLER), ("deny", "bank/p0[]")),
        (
            ["bank|{policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {team: a}}}]}]}"],
            by(TELLER),
            ("allow", "bank/p0[egress[0]]"),
        ),
        (["bank|" + TO_ORDERS], CALL, ALLOW),
        (["{podSelector: {matchLabels: {tier: front}}, policyTypes: [Egress]}"], CALL, ISOLATED),
        (["{podSelector: {matchLabels: {tier: front}}, policyTypes: [Egress]}"], by(TELLER), ALLOW),
        (["{policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.9.0.0/16}}]}]}"], CALL, SENT),
        (["{policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.1.0.0/16}}]}]}"], CALL, ISOLATED),
        (["{policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"], CALL, SENT),
        (["{policyTypes: [Egress], egress: [{ports: [{port: 80}]}]}"], CALL, ISOLATED),
    ],
)
def test_a_rule(engine: Engine, specs: list[str], call: dict[str, Any], expected: Said) -> None:
    assert judged(engine, policies(*specs), call) == expected


CANARY = "{podSelector: {matchLabels: {canary: 'yes'}}, policyTypes: [Egress]}"
NOBODY = Workload("shop", service="orders")


@pytest.mark.parametrize(
    ("specs", "call", "destination", "expected"),
    [
        # A caller of whom nothing is known may be any pod, or none.
        ([FROM_WEB], by(""), ORDERS, UNKNOWN),
        (["{ingress: [{}]}"], by(""), ORDERS, PASSED),
        (["{policyTypes: [Egress]}"], by(""), ORDERS, UNKNOWN),
        (["{policyTypes: [Egress], egress: [{}]}"], by(""), ORDERS, ALLOW),
        (["{ingress: [{from: [{namespaceSelector: {}}]}]}"], by(""), ORDERS, UNKNOWN),
        # Of one the namespace alone is known.
        (["{ingress: [{from: [{podSelector: {}}]}]}"], by("shop"), ORDERS, PASSED),
        ([FROM_WEB], by("shop"), ORDERS, UNKNOWN),
        ([FROM_WEB], by("bank"), ORDERS, ISOLATED),
        (["{ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}"], by("bank"), ORDERS, PASSED),
        (["{policyTypes: [Egress]}"], by("shop"), ORDERS, ISOLATED),
        ([CANARY], by("shop"), ORDERS, UNKNOWN),
        ([CANARY], by("bank"), ORDERS, ALLOW),
        # Pods of the caller that are not known, or differ.
        ([FROM_WEB], by(GHOST), ORDERS, UNKNOWN),
        ([FROM_WEB], by(CART), ORDERS, ISOLATED),
        (["{ingress: [{from: [{podSelector: {matchLabels: {canary: 'yes'}}}]}]}"], by(CART), ORDERS, UNKNOWN),
        ([CANARY], by(CART), ORDERS, UNKNOWN),
        ([FROM_WEB], {**CALL, "source_workload": "new"}, ORDERS, UNKNOWN),
        # Pods of the destination that are not known, or differ.
        ([FROM_WEB], CALL, NOBODY, PASSED),
        (["{podSelector: {matchLabels: {app: orders}}}"], CALL, NOBODY, UNKNOWN),
        # Isolated or not: it is let in either way.
        (["{podSelector: {matchLabels: {app: orders}}, ingress: [{}]}"], CALL, NOBODY, ALLOW),
        (["{podSelector: {matchLabels: {app: orders}}, ingress: [{}]}", "{}"], CALL, NOBODY, UNKNOWN),
        (["{podSelector: {matchLabels: {app: orders}}}", "{}"], CALL, NOBODY, DENY),
        (["{ingress: [{ports: [{port: http}]}]}"], CALL, NOBODY, UNKNOWN),
        ([TO_ORDERS], CALL, NOBODY, UNKNOWN),
        (["{podSelector: {matchLabels: {canary: 'yes'}}}"], by(TELLER), CART, UNKNOWN),
    ],
)
def test_what_is_not_known(
    engine: Engine, specs: list[str], call: dict[str, Any], destination: Workload, expected: Said
) -> None:
    assert judged(engine, policies(*specs), call, destination) == expected


@pytest.mark.parametrize(
    ("specs", "call", "destination", "expected"),
    [
        ([FROM_WEB], {**CALL, "source_workload": "new"}, ORDERS, {Field.SOURCE_LABELS}),
        ([FROM_WEB], by(GHOST), ORDERS, {Field.SOURCE_LABELS}),
        (["bank|{podSelector: {}, policyTypes: [Egress]}"], by(""), ORDERS, {Field.SOURCE_NAMESPACE}),
        ([f"{{ingress: [{{from: [{{{TEAM_B}}}]}}]}}"], by("dmz"), ORDERS, {Field.SOURCE_LABELS}),
        (["{podSelector: {matchLabels: {app: orders}}}"], CALL, NOBODY, {Field.LABELS}),
        (["{ingress: [{ports: [{port: http}]}]}"], CALL, NOBODY, {Field.LABELS}),
    ],
)
def test_whose_labels_are_missing(
    engine: Engine, specs: list[str], call: dict[str, Any], destination: Workload, expected: set[Field]
) -> None:
    insert_calls(engine, [call])
    told = verdict(program(policies(*specs), destination, CLUSTER, "http"))
    (row,) = engine.query(told.each("request_id", "calls"), told.parameters).to_pylist()
    assert row["allowed"] is None and {told.fields[at - 1] for at in row["missing"]} == expected


def test_without_an_inventory_names_of_namespaces_still_tell(engine: Engine) -> None:
    rule = "{ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: bank}}}]}]}"
    for caller, expected in ((TELLER, PASSED), (WEB, ISOLATED)):
        assert judged(engine, policies(rule), by(caller), ORDERS, Cluster()) == expected


def test_requests_and_connections_are_judged_alike() -> None:
    given = policies(FROM_WEB, TO_ORDERS)
    assert program(given, ORDERS, CLUSTER, "http") == program(given, ORDERS, CLUSTER, "tcp")


def test_an_unnamed_denial_of_a_caller_that_two_policies_isolate(engine: Engine) -> None:
    given = policies("{policyTypes: [Egress]}", "{podSelector: {matchLabels: {tier: front}}, policyTypes: [Egress]}")
    assert judged(engine, given, by(WEB)) == DENY
    assert judged(engine, given, by(CART)) == ISOLATED
    assert judged(engine, given, by(GHOST)) == DENY  # the second one may isolate it too
