"""NetworkPolicies as documents: what is read, and what the API server would refuse; hostile ones."""

from __future__ import annotations

import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.policy.decision import Decision
from analyzers.policy.documents import read_documents
from analyzers.policy.errors import BadPolicy
from analyzers.policy.formula import And, Equals, Field, Or, Ports, Step, Unknown
from analyzers.policy.kubernetes.compile import program
from analyzers.policy.kubernetes.model import Block, NetworkPolicy, Peer, Port, Rule
from analyzers.policy.kubernetes.read import KINDS
from analyzers.policy.selectors import Requirement, Selector
from analyzers.policy.workloads import Cluster, Workload
from storage.engine import Engine
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import computed

READ = KINDS["networking.k8s.io", "NetworkPolicy"]


def read(text: str) -> NetworkPolicy:
    (document,) = read_documents("p.yaml", text.encode())
    return READ(document, "shop")


def spec(text: str) -> NetworkPolicy:
    return read(f"kind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {text}\n")


def test_a_document_is_read_whole() -> None:
    found = read("""
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db.v2, namespace: bank}
spec:
  podSelector: {matchLabels: {role: db}, matchExpressions: [{key: example.com/tier, operator: Exists}]}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - ipBlock: {cidr: 172.17.0.1/16, except: [172.17.1.0/24]}
    - namespaceSelector: {matchLabels: {project: mine}}
      podSelector: {}
    ports:
    - {port: 6379}
    - {protocol: UDP, port: 32000, endPort: 32768}
    - {port: http-admin}
    - {protocol: SCTP}
  egress: []
""")
    mine = Selector((Requirement("project", "In", ("mine",)),))
    assert found == NetworkPolicy(
        namespace="bank",
        name="db.v2",
        pods=Selector((Requirement("role", "In", ("db",)), Requirement("example.com/tier", "Exists"))),
        ingress=(
            Rule(
                (
                    Peer(block=Block(ipaddress.ip_network("172.17.0.0/16"), (ipaddress.ip_network("172.17.1.0/24"),))),
                    Peer(pods=Selector(), namespaces=mine),
                ),
                (Port("TCP", 6379, 6379), Port("UDP", 32000, 32768), Port(name="http-admin"), Port("SCTP")),
            ),
        ),
        egress=(),
    )
    assert found.id == "bank/db.v2"


@pytest.mark.parametrize(
    ("text", "ingress", "egress"),
    [
        ("{podSelector: {}}", (), None),
        ("{egress: []}", (), None),
        ("{egress: [{}]}", (), (Rule(),)),
        ("{policyTypes: [Egress], ingress: [{}]}", None, ()),
        ("{policyTypes: [Egress, Ingress], ingress: [{}], egress: ~}", (Rule(),), ()),
        ("{policyTypes: ~, ingress: [~]}", (Rule(),), None),
        ("{policyTypes: [Ingress, Ingress]}", (), None),
        ("{ingress: [{ports: [~]}]}", (Rule((), (Port(),)),), None),
    ],
)
def test_defaults_are_those_of_the_api(
    text: str, ingress: tuple[Rule, ...] | None, egress: tuple[Rule, ...] | None
) -> None:
    found = spec(text)
    assert (found.namespace, found.pods, found.ingress, found.egress) == ("shop", Selector(), ingress, egress)


def test_a_label_that_is_null_has_an_empty_value() -> None:
    # Go decodes it so; left out, the selector would take every pod.
    found = spec("{podSelector: {matchLabels: {app: }, matchExpressions: [{key: b, operator: In, values: [~, c]}]}}")
    assert found.pods == Selector((Requirement("app", "In", ("",)), Requirement("b", "In", ("", "c"))))
    assert found.pods({"app": "", "b": "c"}) and not found.pods({"app": "web", "b": "c"}) and not found.pods({"b": "c"})
    (peer,) = spec("{ingress: [{from: [{namespaceSelector: {matchLabels: {team: null}}}]}]}").ingress[0].peers  # pyright: ignore[reportOptionalSubscript]
    assert peer.namespaces == Selector((Requirement("team", "In", ("",)),))


def test_no_spec_isolates_every_pod() -> None:
    assert read("metadata: {name: p}") == NetworkPolicy("shop", "p", Selector(), (), None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "{podSelector: {}, pods: {}}",
            "spec.pods: unknown field, expected podSelector, policyTypes, ingress or egress",
        ),
        ("{policyTypes: [ingress]}", "spec.policyTypes[0]: 'ingress', expected Ingress or Egress"),
        ("{policyTypes: [Ingress, Egress, Egress]}", "spec.policyTypes: 3 types, expected at most 2"),
        ("{policyTypes: Ingress}", "spec.policyTypes: 'Ingress', expected a list"),
        ("{ingress: {}}", "spec.ingress: an object, expected a list"),
        ("{ingress: [{to: []}]}", "spec.ingress[0].to: unknown field, expected from or ports"),
        ("{egress: [{from: []}]}", "spec.egress[0].from: unknown field, expected to or ports"),
        ("{policyTypes: [Ingress], egress: [{to: [{}]}]}", "spec.egress[0].to[0]: an empty item"),
        ("{ingress: [{from: [~]}]}", "spec.ingress[0].from[0]: an empty item, expected podSelector"),
        ("{ingress: [{from: [{namespaceSelector: }]}]}", "spec.ingress[0].from[0]: an empty item"),
        ("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}", "ipBlock beside a selector"),
        ("{ingress: [{from: [{ipBlock: {}}]}]}", "spec.ingress[0].from[0].ipBlock: no cidr"),
        ("{ingress: [{from: [{ipBlock: {cidr: ''}}]}]}", "ipBlock.cidr: '', expected a network such as"),
        ("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.1}}]}]}", "'10.0.0.1', expected a network"),
        ("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}", "expected a network"),
        ("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/255.0.0.0}}]}]}", "expected a network"),
        ("{ingress: [{from: [{ipBlock: {cidr: 010.0.0.0/8}}]}]}", "expected a network"),
        ("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/08}}]}]}", "expected a network"),
        ("{ingress: [{from: [{ipBlock: {cidr: 'fe80::1%eth0/64'}}]}]}", "expected a network"),
        ("{ingress: [{from: [{ipBlock: {cidr: '::ffff:10.0.0.0/104'}}]}]}", "IPv4 in the form of IPv6"),
        ("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}", "expected a part of 10.0.0.0/8"),
        ("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}}]}]}", "expected a part of 10.0.0.0/8"),
        (
            "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: ['::/128']}}]}]}",
            "except[0]: '::/128', expected a part",
        ),
        (
            "{ingress: [{ports: [{port: '80'}]}]}",
            "spec.ingress[0].ports[0].port: '80', expected a number of 1 to 65535",
        ),
        ("{ingress: [{ports: [{port: 0}]}]}", "port: 0, expected a whole number of 1 to 65535"),
        ("{ingress: [{ports: [{port: 65536}]}]}", "port: 65536, expected a whole number"),
        ("{ingress: [{ports: [{port: 0o17}]}]}", "port: 0o17, expected a whole number"),
        ("{ingress: [{ports: [{port: 08}]}]}", "port: 08, expected a whole number"),
        ("{ingress: [{ports: [{port: 8.5}]}]}", "port: 8.5, expected a whole number"),
        ("{ingress: [{ports: [{port: HTTP}]}]}", "'HTTP', expected"),
        ("{ingress: [{ports: [{port: a--b}]}]}", "'a--b', expected"),
        ("{ingress: [{ports: [{port: sixteen-letters-}]}]}", "expected a number"),
        ("{ingress: [{ports: [{port: '1-2'}]}]}", "one of them a letter"),
        ("{ingress: [{ports: [{endPort: 80}]}]}", "ports[0].endPort: endPort without port"),
        ("{ingress: [{ports: [{port: http, endPort: 80}]}]}", "endPort beside a port's name"),
        ("{ingress: [{ports: [{port: 80, endPort: 79}]}]}", "endPort: 79, expected 80 or more"),
        ("{ingress: [{ports: [{port: 80, endPort: http}]}]}", "endPort: 'http', expected a whole number"),
        ("{ingress: [{ports: [{port: 80, protocol: tcp}]}]}", "protocol: 'tcp', expected TCP, UDP or SCTP"),
        ("{ingress: [{ports: [{port: 80, protocol: ''}]}]}", "protocol: '', expected TCP, UDP or SCTP"),
        ("{podSelector: {matchLabels: {app: 1}}}", "spec.podSelector.matchLabels.app: 1, expected text"),
        ("{podSelector: {matchLabels: {'a b': c}}}", "expected the name of a label"),
        ("{podSelector: {matchExpressions: [{key: a, operator: Is, values: [b]}]}}", "'Is', expected In, NotIn"),
        ("{podSelector: {matchExpressions: [{key: a, operator: In}]}}", "In without values"),
        ("{podSelector: []}", "spec.podSelector: a list, expected an object"),
        ("[]", "spec: a list, expected an object"),
    ],
)
def test_what_the_api_server_refuses_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadPolicy) as refused:
        spec(text)
    message = str(refused.value)
    assert message.startswith("p.yaml: line 3: ") and why in message and "\n" not in message


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ("{}", "no name, expected one"),
        ("{name: P}", "metadata.name: 'P', expected at most 253 lower-case"),
        ("{name: a..b}", "metadata.name: 'a..b', expected"),
        (f"{{name: {'a' * 254}}}", "expected at most 253"),
        ("{name: 5}", "metadata.name: 5, expected text"),
        ("{name: p, namespace: 'a/b'}", "metadata.namespace: 'a/b', expected at most 63"),
    ],
)
def test_names_are_those_of_the_api(metadata: str, why: str) -> None:
    with pytest.raises(BadPolicy) as refused:
        read(f"metadata: {metadata}\nspec: {{}}\n")
    assert str(refused.value).startswith("p.yaml: line 1: ") and why in str(refused.value)


def test_without_metadata_there_is_no_policy() -> None:
    with pytest.raises(BadPolicy, match="no metadata"):
        read("spec: {}")


HOSTILE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["", "*", "10.0.0.0/8", "TCP", "a", "\0", "'", "x" * 99]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("podSelector", "policyTypes", "ingress", "egress", "from", "to", "ports", "port", "endPort"),
                    *("protocol", "ipBlock", "cidr", "except", "namespaceSelector", "matchLabels", "matchExpressions"),
                    *("key", "operator", "values", "app"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(body=HOSTILE)
def test_whatever_stands_there_is_read_or_refused(body: object) -> None:
    try:
        found = spec(json.dumps(body))
    except BadPolicy as refused:
        assert "\n" not in str(refused)
    else:
        assert isinstance(found, NetworkPolicy)


def test_ten_thousand_rules_are_compiled() -> None:
    peer, port = "{{from: [{{podSelector: {{matchLabels: {{app: a{0}}}}}}}]", "ports: [{{port: {0}}}]}}"
    rules = ", ".join(f"{peer}, {port}".format(number) for number in range(1, 10_001))
    policy = spec(f"{{ingress: [{rules}]}}")
    web = Workload("shop", "web", labels=({"app": "a9999"},))
    built = program([policy], Workload("shop", "orders"), Cluster({("shop", "web"): web}), "tcp")
    # The denial, and a step for each rule.
    assert len(built.steps) == 10_001
    assert built.steps[9_999] == Step(
        True,
        And(
            (
                Equals(Field.SOURCE_NAMESPACE, ("shop",)),
                # Callers that the inventory does not know may bear the label too.
                Or((Equals(Field.SOURCE_WORKLOAD, ("shop/web",)), Unknown(Field.SOURCE_LABELS))),
                Ports(Field.DESTINATION_PORT, ((9_999, 9_999),)),
            )
        ),
        "shop/p",
        "ingress[9998]",
    )


def test_a_hundred_rules_with_odd_names_are_judged(engine: Engine) -> None:
    odd = "w'e\"b\\{p0:String}\n"
    rules = ", ".join(f"{{from: [{{podSelector: {{matchLabels: {{app: a{n}}}}}}}]}}" for n in range(100))
    policy = spec(f"{{ingress: [{rules}]}}")
    cluster = Cluster({("shop", odd): Workload("shop", odd, labels=({"app": "a98"},))})
    call = {"transport": "tcp", "attributes": {}, "source_namespace": "shop", "source_workload": odd}
    insert_calls(engine, [call])
    built = program([policy], Workload("shop", "orders"), cluster, "tcp")
    assert computed(engine, built)[0] == Decision("allow", "shop/p", "ingress[98]")
