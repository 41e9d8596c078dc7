"""Sightings: which witness says what of an address, and what is no witness at all."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.envoy import to_calls
from collector.identity.sightings import MAX_SIGHTINGS, POD_IP, call_sightings, span_sightings
from tests.collector.identity.rows import AT, Row, calls, operators, plain


def of_calls(*rows: Row) -> list[tuple[str, ...]]:
    return told(call_sightings(calls(*rows)))


def of_lines(*lines: Row) -> list[tuple[str, ...]]:
    return told(call_sightings(to_calls(operators(lines), "istio")))


def told(found: pa.RecordBatch | None) -> list[tuple[str, ...]]:
    """(witness, address, name) of every sighting."""
    if found is None:
        return []
    renamed = found.rename_columns([f"{name}_ip" if name == "address" else name for name in found.schema.names])
    rows = plain(renamed)
    return sorted((row["told_by"], row["address_ip"], row.get("workload") or row["service"]) for row in rows)


SIDECAR: dict[str, Any] = {
    "upstream_cluster": "outbound|80||cart.shop.svc.cluster.local",
    "upstream_host": "10.0.0.2:8080",
    "upstream_local_address": "10.0.0.1:5000",
    "downstream_local_address": "10.96.0.1:80",
    "downstream_remote_address": "10.0.0.1:4000",
    "pod_namespace": "shop",
    "pod_name": "web-7d8f9c6b5d-x2x4z",
    "method": "GET",
    "path": "/",
}


def test_a_sidecar_tells_of_its_pod_and_of_the_service_that_it_reached() -> None:
    assert of_lines(SIDECAR) == [("caller", "10.0.0.2", "cart"), ("pod", "10.0.0.1", "web")]


def test_without_a_log_shipper_it_tells_of_the_service_only() -> None:
    bare = {name: value for name, value in SIDECAR.items() if not name.startswith("pod_")}
    assert of_lines(bare) == [("caller", "10.0.0.2", "cart")]


CALLED: dict[str, Any] = {
    "upstream_cluster": "inbound|8080||",
    "upstream_host": "10.0.0.2:8080",
    "downstream_local_address": "10.0.0.2:8080",
    "downstream_remote_address": "10.0.0.1:4000",
    "requested_server_name": "outbound_.8080_._.cart.shop.svc.cluster.local",
    "downstream_peer_uri_san": "spiffe://cluster.local/ns/shop/sa/web",
    "method": "GET",
    "path": "/",
}


def test_a_certificate_tells_whose_the_address_is_that_it_came_from() -> None:
    assert of_lines(CALLED) == [("peer", "10.0.0.1", "web")]
    gateway = "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
    assert of_lines(CALLED | {"downstream_peer_uri_san": gateway}) == [("peer", "10.0.0.1", "istio-ingressgateway")]


def test_a_certificate_tells_nothing_of_an_address_from_a_header() -> None:
    """Envoy gives the address that X-Forwarded-For tells no port: it is a gateway's client's, not the gateway's."""
    assert of_lines(CALLED | {"downstream_remote_address": "203.0.113.9:0"}) == []
    direct = {"downstream_remote_address": "203.0.113.9:0", "downstream_direct_remote_address": "10.0.0.1:4000"}
    assert of_lines(CALLED | direct) == [("peer", "10.0.0.1", "web")]
    assert of_lines(CALLED | {"downstream_peer_uri_san": "spiffe://root.example/vm"}) == []
    assert of_lines(CALLED | {"downstream_peer_uri_san": None}) == []


def test_a_name_that_a_client_chose_is_no_witness() -> None:
    passthrough = SIDECAR | {"upstream_cluster": "PassthroughCluster", "authority": "cart.shop.svc"}
    outside = SIDECAR | {"upstream_cluster": "outbound|443||api.example.com"}
    assert of_lines(passthrough) == of_lines(outside) == [("pod", "10.0.0.1", "web")]


def test_the_callees_line_tells_of_the_callee() -> None:
    inbound = {
        "upstream_cluster": "inbound|8080||",
        "upstream_host": "10.0.0.2:8080",
        "downstream_local_address": "10.0.0.2:8080",
        "downstream_remote_address": "10.0.0.1:5000",
        "pod_namespace": "shop",
        "pod_name": "cart-7d8f9c6b5d-x2x4z",
    }
    assert of_lines(inbound) == [("pod", "10.0.0.2", "cart")]
    assert of_lines(inbound | {"downstream_local_address": "127.0.0.1:8080", "upstream_host": "127.0.0.1:1"}) == []


def test_records_without_a_proxy() -> None:
    own = {"reporter": "source", "source_namespace": "shop", "source_workload": "web", "source_ip": "10.0.0.1"}
    peer = {"destination_service": "cart", "destination_namespace": "shop", "destination_ip": "10.0.0.2"}
    assert of_calls(own | peer) == [("pod", "10.0.0.1", "web")]
    assert of_calls(peer | {"reporter": "destination"}) == [("pod", "10.0.0.2", "cart")]
    assert of_calls(own | peer | {"reporter": "unknown"}) == []
    assert of_calls(own | {"source_workload": ""}) == []
    assert of_calls(own | {"source_ip": "127.0.0.6"}) == []


def test_spans_tell_what_their_resource_says() -> None:
    names = ["web", "web", "cart", "x"]
    spans = pa.RecordBatch.from_pydict(
        {
            "ts": pa.array([AT] * 4, pa.timestamp("us", "UTC")),
            "service": pa.array(names),
            POD_IP: pa.array(["10.0.0.1", "10.0.0.1", "fd00::1", "no address"]).dictionary_encode(),
        }
    )
    assert told(span_sightings(spans)) == [("span", "10.0.0.1", "web"), ("span", "fd00::1", "cart")]
    assert span_sightings(spans.drop_columns([POD_IP])) is None


def test_a_batch_tells_of_so_many_and_no_more() -> None:
    addresses = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(1, MAX_SIGHTINGS + 50)]
    spans = pa.RecordBatch.from_pydict(
        {
            "ts": pa.array([AT] * len(addresses), pa.timestamp("us", "UTC")),
            "service": pa.array(["web"] * len(addresses)),
            POD_IP: pa.array(addresses),
        }
    )
    found = span_sightings(spans)
    assert found is not None
    assert found.num_rows == MAX_SIGHTINGS


@settings(max_examples=40, deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional={name: st.text(max_size=8) for name in SIDECAR}), max_size=4))
def test_any_line(lines: list[dict[str, str]]) -> None:
    if lines:
        call_sightings(to_calls(operators(lines), "istio"))
