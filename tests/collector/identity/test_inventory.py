"""Kubernetes lists to inventory and aliases: what is linked to what, when, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.errors import BadSource
from collector.identity.addresses import AddressBook
from collector.inventory import load, parse_inventory
from storage import sql
from storage.engine import Engine
from tests.collector.identity.rows import AT

NOW = datetime(2026, 3, 2, 18, tzinfo=UTC)
Object = dict[str, Any]


def pod(name: str, ip: str, labels: dict[str, str] | None = None, namespace: str = "shop", **changed: Any) -> Object:
    metadata: Object = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "labels": labels or {}}
    metadata |= changed.pop("metadata", {})
    spec: Object = {"containers": [{"name": "app"}], "serviceAccountName": name.split("-")[0]} | changed.pop("spec", {})
    status: Object = {"phase": "Running", "podIP": ip, "startTime": "2026-03-02T10:00:00Z"} | changed.pop("status", {})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def owned(kind: str, name: str) -> Object:
    return {"ownerReferences": [{"kind": "Noise", "name": "x"}, {"kind": kind, "name": name, "controller": True}]}


def service(name: str, ip: str, selector: dict[str, str] | None = None, namespace: str = "shop") -> Object:
    return {
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": ip, "selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
    }


def listed(*objects: Object) -> bytes:
    return json.dumps({"kind": "List", "items": list(objects)}).encode()


def aliases(*objects: Object) -> dict[tuple[str, str], dict[str, Any]]:
    rows = parse_inventory(listed(*objects), loaded_at=NOW)[1].to_pylist()
    return {(row["kind"], row["name"]): row for row in rows}


def names(row: dict[str, Any]) -> list[str]:
    return [row[part] for part in ("namespace", "service", "workload", "service_account", "version")]


def test_a_pod_its_service_its_workload_and_its_account() -> None:
    found = aliases(
        pod(
            "b-v2-7c4f5d6c9b-x2x4z",
            "10.0.0.2",
            {"app": "b", "version": "v2"},
            metadata=owned("ReplicaSet", "b-v2-7c4f5d6c9b"),
            spec={"serviceAccountName": "b-account"},
        ),
        service("b", "10.96.0.9", {"app": "b"}),
    )
    assert names(found["pod_ip", "10.0.0.2"]) == ["shop", "b", "b-v2", "b-account", "v2"]
    assert found["pod_ip", "10.0.0.2"]["pod"] == "b-v2-7c4f5d6c9b-x2x4z"
    assert found["pod_ip", "10.0.0.2"]["name_namespace"] == ""
    assert names(found["workload", "b-v2"])[:2] == ["shop", "b"]
    assert names(found["service_account", "b-account"])[:3] == ["shop", "b", "b-v2"]
    assert names(found["service_ip", "10.96.0.9"])[:2] == ["shop", "b"]
    assert found["service", "b"]["name_namespace"] == "shop"
    assert found["pod", "b-v2-7c4f5d6c9b-x2x4z"]["service"] == "b"


@pytest.mark.parametrize(
    ("owner", "labels", "workload"),
    [
        (owned("ReplicaSet", "b-7c4f5d6c9b"), {}, "b"),
        (owned("ReplicaSet", "b-canary"), {}, "b-canary"),
        (owned("ReplicaSet", "b-5b6c7d8f9"), {"pod-template-hash": "5b6c7d8f9"}, "b"),
        (owned("StatefulSet", "db"), {}, "db"),
        (owned("DaemonSet", "agent"), {}, "agent"),
        (owned("Job", "report-28371200"), {}, "report"),
        (owned("Job", "once"), {}, "once"),
        (owned("Node", "node-1"), {}, "the-pod"),
        ({}, {}, "the-pod"),
    ],
)
def test_workloads_by_owner(owner: Object, labels: dict[str, str], workload: str) -> None:
    assert aliases(pod("the-pod", "10.0.0.1", labels, metadata=owner))["pod_ip", "10.0.0.1"]["workload"] == workload


def test_owners_of_owners_outrank_their_names() -> None:
    replica_set = {"kind": "ReplicaSet", "metadata": {"name": "odd", "namespace": "shop"} | owned("Deployment", "real")}
    found = aliases(replica_set, pod("p", "10.0.0.1", metadata=owned("ReplicaSet", "odd")))
    assert found["pod_ip", "10.0.0.1"]["workload"] == "real"


def test_validity_is_the_pods_own() -> None:
    created = {"creationTimestamp": "2026-03-02T09:59:00Z"}
    done = {
        "phase": "Succeeded",
        "containerStatuses": [
            {"state": {"terminated": {"finishedAt": "2026-03-02T11:00:00Z"}}},
            {"state": {"terminated": {"finishedAt": "2026-03-02T11:30:00.123456789+00:00"}}},
        ],
    }
    found = aliases(
        pod("a", "10.0.0.1", metadata=created),
        pod("b", "10.0.0.2", metadata=created, status={"startTime": None}),
        pod("c", "10.0.0.3", status={"startTime": None}),
        pod("d", "10.0.0.4", status=done),
        pod("e", "10.0.0.5", status={"phase": "Failed"}),
        pod("f", "10.0.0.6", metadata={"deletionTimestamp": "2026-03-02T12:00:00+01:00"}),
    )

    def validity(ip: str) -> tuple[datetime, datetime]:
        return found["pod_ip", ip]["valid_from"], found["pod_ip", ip]["valid_to"]

    ever, never = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
    start = datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert validity("10.0.0.1") == (start, never)
    assert validity("10.0.0.2") == (start - timedelta(minutes=1), never)
    assert validity("10.0.0.3") == (ever, never)
    assert validity("10.0.0.4") == (start, datetime(2026, 3, 2, 11, 30, 0, 123456, tzinfo=UTC))
    assert validity("10.0.0.5") == (start, NOW)
    assert validity("10.0.0.6") == (start, datetime(2026, 3, 2, 11, tzinfo=UTC))


def test_one_of_several_services() -> None:
    web = pod("web-0", "10.0.0.1", {"app": "web", "tier": "x"}, metadata=owned("StatefulSet", "web"))
    tier, like, headless = (
        service(name, ip, {"tier": "x"}) for name, ip in (("tier", "10.96.0.1"), ("web", "10.96.0.2"), ("aaa", "None"))
    )
    assert aliases(web, tier, like, headless)["pod_ip", "10.0.0.1"]["service"] == "web"
    assert aliases(web, tier, headless)["pod_ip", "10.0.0.1"]["service"] == "tier"
    assert aliases(web, headless)["pod_ip", "10.0.0.1"]["service"] == "aaa"
    assert aliases(web)["pod_ip", "10.0.0.1"]["service"] == "web"  # its canonical label
    assert ("service_ip", "None") not in aliases(headless)
    elsewhere = service("tier", "10.96.0.1", {"tier": "x"}, namespace="other")
    assert aliases(web, elsewhere)["pod_ip", "10.0.0.1"]["service"] == "web"
    without = service("tier", "10.96.0.1", None)
    assert aliases(web, without)["pod_ip", "10.0.0.1"]["service"] == "web"


def test_a_canonical_name_leads_to_the_service() -> None:
    found = aliases(
        pod("reviews-v1-0", "10.0.0.1", {"app": "reviews"}, metadata=owned("StatefulSet", "reviews-v1")),
        service("reviews-svc", "10.96.0.1", {"app": "reviews"}),
    )
    assert found["workload", "reviews"]["service"] == "reviews-svc"
    assert found["workload", "reviews-v1"]["service"] == "reviews-svc"


def test_an_account_of_several_services_names_none() -> None:
    shared = {"serviceAccountName": "default"}
    found = aliases(pod("a", "10.0.0.1", {"app": "a"}, spec=shared), pod("b", "10.0.0.2", {"app": "b"}, spec=shared))
    assert ("service_account", "default") not in found


def test_hosts_gateways_and_waypoints() -> None:
    waypoint = {"gateway.networking.k8s.io/gateway-name": "w", "gateway.istio.io/managed": "istio.io-mesh-controller"}
    found = aliases(
        pod("node", "192.168.0.1", spec={"hostNetwork": True}),
        pod("gate", "10.0.0.9", {"istio": "ingressgateway", "app": "gate"}),
        pod("way", "10.0.0.8", waypoint),
        service("gate", "10.96.0.1", {"app": "gate"})
        | {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"hostname": "x"}]}}},
    )
    assert ("pod_ip", "192.168.0.1") not in found
    assert ("pod_ip", "10.0.0.8") not in found
    assert found["pod_ip", "10.0.0.9"]["is_gateway"] == 1
    assert found["service", "gate"]["is_gateway"] == 1
    assert found["service_ip", "203.0.113.1"]["service"] == "gate"


def test_endpoints_stand_in_for_pods_and_for_addresses_outside() -> None:
    piece: Object = {
        "kind": "EndpointSlice",
        "addressType": "IPv6",
        "metadata": {"name": "b-abc", "namespace": "shop", "labels": {"kubernetes.io/service-name": "b"}},
        "endpoints": [
            {"addresses": ["2001:DB8::1"], "targetRef": {"kind": "Pod", "name": "b-7c4f5d6c9b-x2x4z"}},
            {"addresses": ["203.0.113.5"]},
        ],
    }
    old: Object = {
        "kind": "Endpoints",
        "metadata": {"name": "c", "namespace": "shop"},
        "subsets": [{"addresses": [{"ip": "10.0.0.7", "targetRef": {"kind": "Pod", "name": "c-0"}}]}],
    }
    found = aliases(piece, old)
    assert names(found["pod_ip", "2001:db8::1"])[:3] == ["shop", "b", "b"]
    assert names(found["service_ip", "203.0.113.5"])[:2] == ["shop", "b"]
    assert found["pod_ip", "10.0.0.7"]["service"] == "c"
    # A listed pod that only endpoints tie to a service.
    tied = aliases(old, pod("c-0", "10.0.0.7"))
    assert tied["pod_ip", "10.0.0.7"]["service"] == "c"


def test_two_address_families() -> None:
    both = pod("a", "10.0.0.1", status={"podIPs": [{"ip": "10.0.0.1"}, {"ip": "2001:db8::2"}]})
    assert {name for kind, name in aliases(both) if kind == "pod_ip"} == {"10.0.0.1", "2001:db8::2"}


def test_rows_of_the_inventory() -> None:
    rows = parse_inventory(
        listed(
            pod(
                "a",
                "10.0.0.1",
                {"app": "a"},
                metadata={
                    "annotations": {
                        "sidecar.istio.io/status": "{}",
                        "kubectl.kubernetes.io/last-applied-configuration": "x",
                        "n": "y" * 5000,
                    }
                },
            ),
            service("a", "10.96.0.1", {"app": "a"}),
            {"kind": "AuthorizationPolicy", "metadata": {"name": "ignored"}},
        ),
        cluster="east",
        loaded_at=NOW,
    )[0].to_pylist()
    by_kind = {row["kind"]: row for row in rows}
    assert set(by_kind) == {"Pod", "Service"}
    assert by_kind["Pod"]["has_sidecar"] == 1
    assert by_kind["Pod"]["cluster"] == "east"
    assert {key: len(value) for key, value in by_kind["Pod"]["annotations"]} == {
        "sidecar.istio.io/status": 2,
        "n": 1024,
    }
    assert by_kind["Service"]["ports"] == ["http/80/TCP/web"]


def test_yaml_and_json_and_both_kinds_of_list_are_the_same() -> None:
    objects = [pod("a", "10.0.0.1", {"version": "1"}), service("a", "10.96.0.1", {"version": "1"})]
    as_json = parse_inventory(listed(*objects), loaded_at=NOW)
    as_yaml = parse_inventory(yaml.safe_dump_all(objects), loaded_at=NOW)
    typed = [{"kind": "PodList", "items": [{k: v for k, v in objects[0].items() if k != "kind"}]}, objects[1]]
    as_typed = parse_inventory("\n".join(json.dumps(o) for o in typed), loaded_at=NOW)
    bom = parse_inventory(b"\xef\xbb\xbf" + listed(*objects), loaded_at=NOW)
    for other in (as_yaml, as_typed, bom):
        assert [batch.to_pylist() for batch in other] == [batch.to_pylist() for batch in as_json]
    unquoted = "kind: Pod\nmetadata: {name: a, labels: {version: 1, on: yes}}\n"
    assert parse_inventory(unquoted, loaded_at=NOW)[0].num_rows == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "inventory: empty, expected"),
        (b"{", "inventory: line 1, column 2"),
        (b'{"kind": "List",\n "kind": "Pod"}', "key 'kind' stands twice"),
        (b"kind: Pod\nkind: Pod\n", "inventory: line 2: key 'kind' stands twice"),
        (b"a: &x [1]\nb: *x\n", "line 2: an anchor is used"),
        (b"[1]", "document 1[0] is int '1'"),
        (b"just text", "document 1 is str 'just text'"),
        (b"{}", "has no kind"),
        (b'{"kind": "Pod"}', "(Pod) has no metadata.name"),
        (b'{"kind": "List", "items": [{"kind": "Pod", "metadata": {}}]}', "items[0] (Pod) has no metadata.name"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"- " * 100_000, "nested too deeply"),
        (
            b'{"kind": "Pod", "metadata": {"name": "x", "labels": [1]}}',
            "Pod /x: metadata.labels is '[1]', expected an object",
        ),
        (
            b'{"kind": "Pod", "metadata": {"name": "x"}, "status": {"podIP": "foo"}}',
            "status.podIPs is 'foo', expected an IP",
        ),
        (b'{"kind": "Pod", "metadata": {"name": "x"}, "status": {"startTime": "soon"}}', "status.startTime is 'soon'"),
        (b'{"kind": "Pod", "metadata": {"name": "x"}, "spec": 7}', "is '7', expected an object"),
        (b"!!python/object/apply:os.system [id]", "line 1: a value of type 'os.system'"),
        (b"kind: Pod\n\tmetadata: {}", "line 2"),
    ],
)
def test_what_is_refused_says_where_and_what_was_expected(content: bytes, says: str) -> None:
    with pytest.raises(BadSource) as refused:
        parse_inventory(content, loaded_at=NOW)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["Pod", "Service", "10.0.0.1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "kind",
                    "metadata",
                    "name",
                    "items",
                    "spec",
                    "status",
                    "podIP",
                    "podIPs",
                    "ip",
                    "endpoints",
                    "addresses",
                    "targetRef",
                    "labels",
                    "ownerReferences",
                    "containers",
                    "ports",
                    "selector",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        JSON.map(lambda value: json.dumps(value).encode()),
        JSON.map(
            lambda value: json.dumps(
                {"kind": "Pod", "metadata": {"name": "x"}, "spec": value, "status": value}
            ).encode()
        ),
        JSON.map(lambda v: json.dumps({"kind": "EndpointSlice", "metadata": {"name": "x"}, "endpoints": [v]}).encode()),
        st.binary(max_size=40),
        st.text("{}[]:- \n&*!|>'\"ab#%", max_size=40).map(str.encode),
    )
)
def test_anything_is_read_or_refused_in_one_line(content: bytes) -> None:
    try:
        parse_inventory(content, loaded_at=NOW)
    except BadSource as refused:
        assert "\n" not in str(refused)


def read_book(engine: Engine) -> AddressBook:
    return AddressBook.from_aliases(engine.query(sql.load("collector/address_aliases").text, {"limit": 1000}))


def test_files_and_loads_are_linked_with_each_other(engine: Engine) -> None:
    web = pod("web-0", "10.0.0.1", {"app": "x"}, metadata=owned("StatefulSet", "web"))
    assert load(engine, {"pods.json": listed(web)}, loaded_at=AT) == (1, 5)
    assert {owner.service for owner in read_book(engine).owners} == {"x"}
    load(
        engine,
        {"services.json": listed(service("front", "10.96.0.1", {"app": "x"}))},
        loaded_at=AT + timedelta(hours=1),
    )
    assert {owner.service for owner in read_book(engine).owners} == {"front"}
    load(engine, {"pods.json": listed(web)}, loaded_at=AT + timedelta(hours=2))
    assert {owner.service for owner in read_book(engine).owners} == {"front"}
    other = {"a.json": listed(web), "b.json": listed(service("back", "10.96.0.2", {"app": "x"}))}
    load(engine, other, cluster="east", loaded_at=AT)
    assert {(owner.cluster, owner.service) for owner in read_book(engine).owners} == {
        ("", "front"),
        ("east", "back"),
    }


def test_a_load_twice_is_a_load_once(engine: Engine) -> None:
    content = {"all.json": listed(pod("a", "10.0.0.1"), service("a", "10.96.0.1"))}
    first = load(engine, content, loaded_at=AT)
    version = read_book(engine).version
    assert load(engine, content, loaded_at=AT) == first
    assert read_book(engine).version == version
    counts = engine.query("SELECT (SELECT count() FROM inventory FINAL) AS i, (SELECT count() FROM aliases FINAL) AS a")
    assert counts.to_pylist() == [{"i": first.objects, "a": first.aliases}]


def test_a_refused_file_stores_nothing(engine: Engine) -> None:
    with pytest.raises(BadSource, match=r"bad\.yaml"):
        load(engine, {"good.json": listed(pod("a", "10.0.0.1")), "bad.yaml": b"["}, loaded_at=AT)
    assert engine.query("SELECT count() AS n FROM inventory").to_pylist() == [{"n": 0}]
