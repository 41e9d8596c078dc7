"""Hubble's and Calico's flow lines: real samples as rows, what counts once, who stands at each end, what is refused.

Lines with `shop` in them are made after Cilium's flow.proto.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from collector.decode.registry import decoder
from tests.collector.decode.flow_samples import CALICO, CALICO_ALLOW, CALICO_DENY, DENIED, HUBBLE, LOST
from tests.collector.identity.rows import logged_fields, plain

WEB = {"namespace": "shop", "pod_name": "web-64cbf459c4-q4tr9"}
API = {"namespace": "shop", "pod_name": "api-6b5b787dc9-ds4j4"}
SYN = {"TCP": {"source_port": 40000, "destination_port": 8080, "flags": {"SYN": True}}}
WORLD = {"identity": 2, "labels": ["reserved:world"]}


def flow(**fields: Any) -> str:
    base = {"time": "2026-03-02T10:00:00Z", "verdict": "FORWARDED", "l4": SYN, "source": WEB, "destination": API}
    base |= {"IP": {"source": "10.0.0.1", "destination": "10.0.0.2"}, "traffic_direction": "EGRESS"}
    return json.dumps({"flow": base | fields})


def summary(**fields: Any) -> str:
    return json.dumps(json.loads(CALICO_ALLOW) | fields)


def rows_of(form: str, *lines: str) -> list[dict[str, Any]]:
    """Rows in the lines' order; all of them must be rows, and `auto` must read the same."""
    found: list[list[dict[str, Any]]] = []
    for name in (form, "auto"):
        decoded = decoder(name).decode(pa.array([line.encode() for line in lines], pa.large_binary()))
        assert not decoded.dead, decoded.dead
        rows = plain(decoded.tables["calls"].append_column("_order", decoded.tables["calls"]["_message"]))
        found.append(sorted(rows, key=lambda row: row.get("_order", 0)))
    assert found[0] == found[1]
    return found[0]


def one(form: str, line: str) -> dict[str, Any]:
    (row,) = rows_of(form, line)
    return row


def dead_of(form: str, line: str) -> str:
    decoded = decoder(form).decode(pa.array([line.encode()], pa.large_binary()))
    assert not any(batch.num_rows for batch in decoded.tables.values())
    (letter,) = decoded.dead
    return letter.reason


def has(row: dict[str, Any], **fields: Any) -> None:
    assert {name: row.get(name) for name in fields} == fields


def counted(*lines: str) -> list[bool]:
    return [row["log_type"] != "packet" for row in rows_of("hubble_json", *lines)]


def test_the_real_flows_of_hubble() -> None:
    denied, bad_source, reply, bare = rows_of("hubble_json", *HUBBLE)
    has(denied, mesh="cilium", log_type="connection_end", protocol="tcp", verdict="denied", fault="mesh")
    has(denied, source_namespace="default", source_workload="xwing", source_pod="xwing", source_ip="10.244.1.60")
    has(denied, destination_namespace="default", destination_workload="deathstar", destination_port=80)
    has(denied, reporter="unknown", raw=DENIED.encode(), denied_by=None)
    assert "denied_by" not in logged_fields(denied["logged"])
    has(bad_source, protocol="icmp", verdict="unknown", fault="network", destination_ip="ff02::2")
    assert dict(bad_source["attributes"])["hubble.drop_reason_desc"] == "INVALID_SOURCE_IP"
    # The callee answers: the caller is the flow's destination, and no new connection is told of.
    has(reply, log_type="packet", source_workload="kapinger-bad", destination_workload="kapinger-good", raw=None)
    has(reply, source_port=60778, destination_port=8080, source_cluster="longtestnetworkflowcni", attributes=None)
    has(bare, source_service="reserved:host", destination_workload="coredns", reporter="destination")
    assert not logged_fields(bare["logged"]) & {"log_type", "operation", "fault", "status"}


def test_the_real_summaries_of_calico() -> None:
    allow, deny, outside = rows_of("calico_json", *CALICO)
    has(allow, mesh="calico", weight=47, reporter="destination", verdict="allowed", log_type="connection_end")
    has(allow, source_namespace="policy-demo", source_workload="access", destination_workload="nginx")
    # Reported by the callee: what comes in is the request.
    has(allow, bytes_received=18236, bytes_sent=52519, destination_port=80, source_ip=None)
    has(deny, verdict="denied", fault="mesh", denied_by="hipstershop/app-hipstershop.checkoutservice")
    has(deny, source_workload="multitool", destination_workload="checkoutservice", destination_ip="10.48.127.224")
    has(outside, source_ip="35.32.82.134", direction="ingress", source_service=None, destination_workload="basic")


def test_a_connection_counts_once_on_each_side() -> None:
    ack, syn_ack = (
        {"TCP": {"source_port": 1, "destination_port": 2, "flags": f}}
        for f in ({"ACK": True}, {"SYN": True, "ACK": True})
    )
    trace = {"type": 4, "sub_type": 3}
    assert counted(
        flow(event_type=trace, trace_observation_point="TO_STACK"),
        flow(event_type=trace, trace_observation_point="TO_ENDPOINT", traffic_direction="INGRESS"),
        flow(event_type={"type": 5}),  # the verdict on the packet whose line stands above
        flow(event_type={"type": 9}, Type="SOCK"),
        flow(trace_observation_point="TO_PROXY"),
        flow(l4=ack),
        flow(l4=syn_ack, is_reply=True),
        flow(is_reply=True),
        flow(verdict="DROPPED", l4={"TCP": {"destination_port": 80}}),
        flow(l4={"TCP": {"destination_port": 80}}),
    ) == [True, True, False, False, False, False, False, False, True, False]


def test_a_packet_counts_once_at_all_points_of_its_way() -> None:
    """Points of one node within half a second; later it is sent again, and another node or side tells for itself."""

    def seen(point: str, at: str, source_port: int = 40000, node: str = "prod/node-1", **fields: Any) -> str:
        l4 = {"TCP": {"source_port": source_port, "destination_port": 8080, "flags": {"SYN": True}}}
        time = f"2026-03-02T10:00:{at}Z"
        return flow(trace_observation_point=point, time=time, l4=l4, node_name=node, **fields)

    lines = [
        seen("TO_STACK", "00.000100"),
        seen("TO_NETWORK", "00.000200"),
        seen("TO_OVERLAY", "00.000300"),
        seen("TO_NETWORK", "00.000200", 40001),
        seen("TO_ENDPOINT", "00.000400", node="prod/node-2", traffic_direction="INGRESS"),
        seen("TO_HOST", "00.000350", node="prod/node-2", traffic_direction="INGRESS"),
        seen("TO_STACK", "01.000100"),
        seen("TO_STACK", "01.000300"),
        seen("TO_NETWORK", "00.000200", node="prod/node-3"),
    ]
    expected = [True, False, False, True, False, True, True, True, True]
    assert counted(*lines) == expected
    assert counted(*reversed(lines)) == expected[::-1]


def test_what_opens_nothing_but_is_new() -> None:
    udp = {"UDP": {"source_port": 4000, "destination_port": 53}}
    assert counted(
        flow(l4=udp, trace_reason="NEW"),
        flow(l4=udp, trace_reason="ESTABLISHED"),
        flow(l4=udp, trace_reason="REPLY", is_reply=True),
        flow(l4=udp),
    ) == [True, False, False, True]


def seven(kind: str, **fields: Any) -> str:
    http = {"code": 503, "method": "GET", "url": "http://api.shop:8080/v1/orders/17?x=1", "protocol": "HTTP/1.1"}
    headers = [{"key": "X-Request-Id", "value": "r-1"}, {"key": "Authorization", "value": "HUBBLE_REDACTED"}]
    headers.append({"key": "Traceparent", "value": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
    l7 = {"type": kind, "latency_ns": "1234567", "http": http | {"headers": headers} | fields.pop("http", {})}
    ends = {"source": API, "destination": WEB, "is_reply": True} if kind == "RESPONSE" else {"is_reply": False}
    return flow(Type="L7", l7=l7, l4={"TCP": {"destination_port": 8080}}, **(ends | fields))


def test_a_call_that_the_proxy_reads_counts_at_its_answer() -> None:
    assert counted(seven("REQUEST"), seven("RESPONSE"), seven("REQUEST", verdict="DROPPED")) == [False, True, True]
    answer = one("hubble_json", seven("RESPONSE"))
    has(answer, log_type="request", protocol="http", status=503, duration_us=1235, fault="callee", reporter="source")
    has(answer, source_workload="web", destination_workload="api", authority="api.shop:8080", method="GET")
    has(answer, path="/v1/orders/17?x=1", operation="GET /v1/orders/{id}", request_id="r-1")
    has(answer, trace_id="0af7651916cd43dd8448eb211c80319c", span_id="b7ad6b7169203331")
    assert {"status", "duration_us", "path", "request_id"} <= logged_fields(answer["logged"])
    refused = one("hubble_json", seven("REQUEST", verdict="DROPPED", http={"code": 0}))
    has(refused, verdict="denied", fault="mesh", log_type="request")
    grpc = seven(
        "RESPONSE", http={"protocol": "HTTP/2", "headers": [{"key": "content-type", "value": "application/grpc"}]}
    )
    has(one("hubble_json", grpc), protocol="grpc")
    has(one("hubble_json", flow(l7={"type": "RESPONSE", "dns": {"query": "a.b."}}, is_reply=True)), protocol="dns")


def test_who_is_outside() -> None:
    named = flow(destination=WORLD, destination_names=["Api.Bank.Example."])
    has(one("hubble_json", named), destination_service="api.bank.example", direction="egress")
    bare = one("hubble_json", flow(destination=WORLD))
    has(bare, destination_service=None, direction="egress", destination_ip="10.0.0.2", _by_address=True)
    client = one("hubble_json", flow(source=WORLD, source_names=["ann.example"], traffic_direction="INGRESS"))
    has(client, source_service=None, direction="ingress", source_ip="10.0.0.1")
    labels = ["reserved:kube-apiserver", "reserved:remote-node"]
    has(one("hubble_json", flow(destination={"labels": labels})), destination_service="reserved:kube-apiserver")
    name = one("calico_json", summary(dest_type="net", dest_name_aggr="pub", dest_namespace="-", reporter="src"))
    has(name, destination_service="pub", destination_namespace=None, direction="egress", bytes_sent=18236)
    outside = summary(dest_type="net", dest_domains=["a.example"], dest_name_aggr="pub", dest_namespace="-")
    has(one("calico_json", outside), destination_service="a.example", direction="egress")
    network = one("calico_json", summary(dest_type="ns", dest_name="banks", dest_namespace="-", dest_ip="198.51.100.7"))
    has(network, destination_service="banks", direction="egress")


def test_a_kubernetes_service_is_named_where_the_flow_names_it() -> None:
    asked = one("hubble_json", flow(destination_service={"name": "orders", "namespace": "shop"}))
    has(asked, destination_service="orders", destination_workload="api", destination_namespace="shop")
    elsewhere = one("hubble_json", flow(destination_service={"name": "orders", "namespace": "other"}))
    has(elsewhere, destination_service=None, destination_namespace="shop")
    nobody = one("hubble_json", flow(destination={}, destination_service={"name": "orders", "namespace": "shop"}))
    has(nobody, destination_service="orders", destination_namespace="shop")
    asked = one("calico_json", summary(dest_service_name="nginx-svc", dest_service_namespace="policy-demo"))
    has(asked, destination_service="nginx-svc", destination_workload="nginx")


def test_a_policy_is_named() -> None:
    by = [{"name": "db", "namespace": "shop", "kind": "CiliumNetworkPolicy"}, {"name": "all"}]
    refused = one("hubble_json", flow(verdict="DROPPED", drop_reason_desc="POLICY_DENY", ingress_denied_by=by))
    has(refused, verdict="denied", denied_by="shop/db,all")
    assert "denied_by" in logged_fields(refused["logged"])
    for rule, named in (
        ("|0", " rule 0"),
        ("|12", " rule 12"),
        ("|-1", ""),
        ("", ""),
        ("|x", ""),
        ("|" + "9" * 99, ""),
    ):
        policies = {"all_policies": ["0|a|shop/a.pass|pass|1", f"1|default|shop/default.db|deny{rule}"]}
        has(one("calico_json", summary(action="deny", policies=policies)), denied_by=f"shop/default.db{named}")
    has(one("hubble_json", flow(verdict="DROPPED", drop_reason=133)), verdict="denied")
    audited = one("hubble_json", flow(verdict="AUDIT"))
    has(audited, verdict="allowed")
    assert dict(audited["attributes"])["hubble.verdict"] == "AUDIT"


def test_connections_that_go_on_weigh_nothing() -> None:
    (row,) = (
        decoder("calico_json")
        .decode(pa.array([summary(num_flows_started=0).encode()], pa.large_binary()))
        .tables["calls"]
        .to_pylist()
    )
    assert (row["weight"], row["bytes_sent"]) == (0, 52519)
    (row,) = (
        decoder("calico_json")
        .decode(pa.array([summary(num_flows_started=None, num_flows=3).encode()], pa.large_binary()))
        .tables["calls"]
        .to_pylist()
    )
    assert row["weight"] == 3


@pytest.mark.parametrize(
    ("form", "line", "reason"),
    [
        ("hubble_json", LOST, "Hubble lost flows here, and this line tells of none"),
        ("hubble_json", '{"flow":"x"}', "flow.time is missing, expected a time within 1971..2100"),
        ("hubble_json", flow(time="never"), "flow.time is 'never', expected a time"),
        ("hubble_json", flow(verdict=None), "flow.verdict is missing, expected FORWARDED, DROPPED"),
        ("hubble_json", flow(l4={"TCP": {"destination_port": 70000}}), "flow.l4 destination_port is '70000'"),
        ("hubble_json", seven("RESPONSE", http={"code": 1000}), "flow.l7.http.code is '1000', expected a status"),
        ("hubble_json", CALICO_ALLOW, "not recognised: looks like calico_json; expected hubble_json"),
        ("calico_json", summary(action="maybe"), "action is 'maybe', expected allow or deny"),
        ("calico_json", summary(reporter="both"), "reporter is 'both', expected src or dst"),
        ("calico_json", summary(num_flows_started=-1), "num_flows_started is '-1', expected a number"),
        ("calico_json", summary(bytes_in="much"), "bytes_in or bytes_out is 'much'"),
        ("calico_json", DENIED, "not recognised: looks like hubble_json; expected calico_json"),
        ("envoy_json", DENIED, "not recognised: looks like hubble_json; expected envoy_json"),
        ("calls_json", CALICO_DENY, "not recognised: looks like calico_json; expected calls_json"),
    ],
)
def test_refusals(form: str, line: str, reason: str) -> None:
    assert dead_of(form, line).startswith(reason)


def test_hostile_ends_name_nobody() -> None:
    odd: list[Any] = [None, 7, "x", [], ["a"], {"labels": "reserved:host"}, {"pod_name": 5}, {"workloads": [3]}]
    rows = rows_of("hubble_json", *(flow(source=value, destination=value, IP=value, l7=None) for value in odd))
    for row in rows:
        assert not {name for name in row if name.startswith(("source_", "destination_"))} - {
            *("source_port", "destination_port")
        }
    many = flow(source={"namespace": "a" * 5000, "pod_name": "b" * 5000}, destination_names=["c" * 5000])
    assert max(len(value) for value in one("hubble_json", many).values() if isinstance(value, str)) <= 2048
