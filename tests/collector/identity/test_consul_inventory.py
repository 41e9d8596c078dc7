"""Consul's catalog lists to aliases, validity of what has no time of its own, and watched files.

The entries have the fields of Consul's API reference ("List Nodes for Service", "List Service Instances for Service").
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.errors import BadSource
from collector.inventory import load, parse_inventory
from eastwatch.cli.inventory import watch_files
from storage.engine import Engine
from tests.collector.identity.test_inventory import listed, pod
from tests.support.poll import poll

NOW = datetime(2026, 3, 2, 18, tzinfo=UTC)
Entry = dict[str, Any]


def catalog(name: str, address: str, node: str = "foobar", **more: Any) -> Entry:
    """An entry of /v1/catalog/service/NAME."""
    return {
        "ID": "40e4a748-2192-161a-0510-9bf59fe950b5",
        "Node": node,
        "Address": "192.168.10.10",
        "Datacenter": "dc1",
        "TaggedAddresses": {"lan": "192.168.10.10", "wan": "10.0.10.10"},
        "NodeMeta": {"somekey": "somevalue"},
        "CreateIndex": 51,
        "ServiceID": f"{name}-1",
        "ServiceName": name,
        "ServiceAddress": address,
        "ServicePort": 5000,
        "ServiceMeta": {"version": "v2"},
        "ServiceTags": ["tacos"],
        "ServiceTaggedAddresses": {"virtual": {"Address": "240.0.0.3", "Port": 80}},
        "Namespace": "default",
    } | more


def health(name: str, address: str, **service: Any) -> Entry:
    """An entry of /v1/health/service/NAME."""
    return {
        "Node": {"Node": "foobar", "Address": "10.1.10.12", "Datacenter": "dc1", "Meta": {}},
        "Service": {"ID": name, "Service": name, "Address": address, "Port": 80, "Meta": {}} | service,
        "Checks": [{"CheckID": "serfHealth", "Status": "passing"}],
    }


def aliases(*documents: object) -> dict[tuple[str, str], Entry]:
    content = "\n".join(json.dumps(document) for document in documents)
    rows = parse_inventory(content, loaded_at=NOW)[1].to_pylist()
    return {(row["kind"], row["name"]): row for row in rows}


def test_instances_name_addresses_services_and_identities() -> None:
    found = aliases([catalog("web", "172.17.0.3")])
    own = found["pod_ip", "172.17.0.3"]
    assert (own["namespace"], own["service"], own["version"]) == ("", "web", "v2")
    assert found["service_ip", "240.0.0.3"]["service"] == "web"
    assert found["service", "web"]["name_namespace"] == ""
    assert aliases([catalog("web", "172.17.0.3", Namespace="shop")])["service", "web"]["name_namespace"] == "shop"
    assert found["service_account", "web"]["service"] == "web"
    # Without an address of its own an instance has its node's.
    assert aliases([catalog("web", "")])["pod_ip", "192.168.10.10"]["service"] == "web"


def test_lists_of_the_health_and_agent_apis_say_the_same() -> None:
    proxy = {"Kind": "connect-proxy", "Proxy": {"DestinationServiceName": "web"}}
    for document in (
        [health("web-sidecar-proxy", "10.0.0.5", **proxy)],
        {"web-sidecar-proxy": health("web-sidecar-proxy", "10.0.0.5", **proxy)["Service"]},
        [catalog("web-sidecar-proxy", "10.0.0.5", ServiceKind="connect-proxy", ServiceProxy=proxy["Proxy"])],
    ):
        assert aliases(document)["pod_ip", "10.0.0.5"]["service"] == "web"
    assert ("service", "web") in aliases({"consul": [], "web": ["v1"]})
    gateway = aliases([health("edge", "10.0.0.6", Kind="api-gateway")])
    assert gateway["service", "edge"]["is_gateway"] == 1
    assert aliases([health("db", "DB.example.com")])["host", "db.example.com"]["service"] == "db"


def test_the_namespace_of_the_pod_outranks_consuls() -> None:
    def on(namespace: str, address: str, **more: Any) -> Entry:
        return catalog("web", address, ServiceMeta={"k8s-namespace": namespace, "pod-name": f"web-{namespace}"}, **more)

    found = aliases([on("shop", "10.0.0.1", Namespace="k8s-shop")])
    for key in (("service", "web"), ("service_account", "web")):
        assert (found[key]["name_namespace"], found[key]["namespace"]) == ("k8s-shop", "shop")
    assert found["pod_ip", "10.0.0.1"]["namespace"] == "shop"
    # Instances of one service in two namespaces: its name says neither, their addresses do.
    found = aliases([on("shop", "10.0.0.1"), on("blog", "10.0.0.2")])
    assert found["service", "web"]["namespace"] == ""
    assert [found["pod_ip", f"10.0.0.{n}"]["namespace"] for n in (1, 2)] == ["shop", "blog"]


def test_an_address_of_several_services_names_none() -> None:
    found = aliases([catalog("web", ""), catalog("db", "")])
    assert ("pod_ip", "192.168.10.10") not in found
    assert ("service", "db") in found


# As Consul's reference prints them: "Commands: catalog".
NODES = """\
Node       ID        Address     DC
worker-01  1b662d97  10.4.5.31   dc1
worker-02  d407a592  10.4.4.158  dc1
"""
DETAILED = """\
Node     ID                                    Address    DC   TaggedAddresses                Meta
foobar   1b662d97-8b5c-3cc2-0ac0-96f55ad423b5  10.1.10.12 \
 dc1  lan=10.1.10.12, wan=10.1.10.12
"""
SERVICES = "consul\npostgresql  leader\nredis       primary,v1\n"


def printed(text: str) -> list[tuple[str, str, str]]:
    rows = parse_inventory(text, loaded_at=NOW)[1].to_pylist()
    return sorted((row["kind"], row["name"], row["service"]) for row in rows)


def test_services_that_the_command_prints() -> None:
    assert printed(SERVICES) == [
        (kind, name, name) for kind in ("service", "service_account") for name in ("consul", "postgresql", "redis")
    ]
    assert printed("$ consul catalog services -node=worker-01\nredis\n") == [
        ("service", "redis", "redis"),
        ("service_account", "redis", "redis"),
    ]


def test_nodes_that_the_command_prints() -> None:
    """They are instances where the command that asked for a service stands above them, and hosts without it."""
    for text in (NODES, DETAILED, "$ consul catalog nodes\n" + NODES):
        inventory, aliased = parse_inventory(text, loaded_at=NOW)
        assert set(inventory["kind"].to_pylist()) == {"Node"}
        assert aliased.num_rows == 0
    found = inventory_addresses(NODES)
    assert found == {"worker-01": ["10.4.5.31"], "worker-02": ["10.4.4.158"]}
    text = f"+ consul catalog nodes -service=redis -namespace=shop\n{NODES}\n+ consul catalog services\n{SERVICES}"
    assert [row for row in printed(text) if row[0] == "pod_ip"] == [
        ("pod_ip", "10.4.4.158", "redis"),
        ("pod_ip", "10.4.5.31", "redis"),
    ]


def inventory_addresses(text: str) -> dict[str, list[str]]:
    rows = parse_inventory(text, loaded_at=NOW)[0].to_pylist()
    return {row["name"]: list(row["addresses"]) for row in rows}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (NODES + "worker-03\n", "inventory: line 4: 'worker-03', expected a node's name, ID, address and datacenter"),
        (
            "$ consul catalog services\nError querying services: EOF\n",
            "line 2: 'Error querying services: EOF', expected",
        ),
        ("web\nredis\n", "expected a Kubernetes object"),  # any list of words may be that
    ],
)
def test_what_is_no_table_of_consul(text: str, says: str) -> None:
    with pytest.raises(BadSource) as refused:
        parse_inventory(text, loaded_at=NOW)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (catalog("web", "x") | {"ServiceName": 7}, "document 1[0]: the service is int '7', expected a name"),
        (catalog("web", "x") | {"ServiceAddress": 7}, "is '7', expected text"),
        (catalog("web", "x") | {"ServiceMeta": "x"}, "expected an object of texts"),
        (
            catalog("web", "x") | {"ServiceTaggedAddresses": {"virtual": {"Address": "nonsense"}}},
            "is 'nonsense', expected an IP address",
        ),
    ],
)
def test_what_is_refused(entry: Entry, says: str) -> None:
    with pytest.raises(BadSource) as refused:
        aliases([entry])
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def intervals(engine: Engine, name: str) -> list[tuple[int, int, str]]:
    """(from, to, service or pod) of an address, in hours after NOW; what has no end is 99, no start -99."""
    rows = engine.query(
        "SELECT valid_from, valid_to, if(service = '', pod, service) AS who FROM aliases FINAL"
        " WHERE kind = 'pod_ip' AND name = {name:String} ORDER BY valid_from",
        {"name": name},
    ).to_pylist()

    def hours(at: datetime) -> int:
        return max(-99, min(99, round((at - NOW) / timedelta(hours=1))))

    return [(hours(row["valid_from"]), hours(row["valid_to"]), row["who"]) for row in rows]


def test_an_address_that_moves_keeps_its_past(engine: Engine) -> None:
    for hours, owner in ((0, "web"), (1, "web"), (2, "db"), (3, "db"), (4, "web")):
        content = json.dumps([catalog(owner, "10.0.0.5")]).encode()
        load(engine, {"c.json": content}, loaded_at=NOW + timedelta(hours=hours))
    assert intervals(engine, "10.0.0.5") == [(-99, 2, "web"), (2, 4, "db"), (4, 99, "web")]


def test_what_a_file_no_longer_lists_ends(engine: Engine) -> None:
    both = {"c.json": json.dumps([catalog("web", "10.0.0.5"), catalog("db", "10.0.0.6")]).encode()}
    one = {"c.json": json.dumps([catalog("web", "10.0.0.5")]).encode()}
    load(engine, both, loaded_at=NOW)
    load(engine, one, loaded_at=NOW + timedelta(hours=1))
    assert intervals(engine, "10.0.0.6") == [(-99, 99, "db")]  # a load by itself is no whole list
    load(engine, one, loaded_at=NOW + timedelta(hours=2), before=both)
    assert intervals(engine, "10.0.0.6") == [(-99, 2, "db")]
    assert intervals(engine, "10.0.0.5") == [(-99, 99, "web")]
    load(engine, both, loaded_at=NOW + timedelta(hours=5), before=one)
    assert intervals(engine, "10.0.0.6") == [(-99, 2, "db"), (5, 99, "db")]
    # A pod's end is that of the load which misses it; its start is its own.
    load(engine, {"p.json": listed(pod("a-0", "10.0.0.7"))}, loaded_at=NOW)
    load(
        engine,
        {"p.json": listed()},
        loaded_at=NOW + timedelta(hours=3),
        before={"p.json": listed(pod("a-0", "10.0.0.7"))},
    )
    assert intervals(engine, "10.0.0.7") == [(-8, 3, "a-0")]


def test_a_watched_file_is_read_again_until_told_to_stop(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "catalog.json"
    stop = threading.Event()
    before = json.dumps([catalog("web", "10.0.0.5")])
    path.write_text(before)
    load(engine, {str(path): before.encode()}, loaded_at=NOW)

    def change() -> None:
        path.write_text("[{")
        told: list[str] = []
        poll(lambda: "expected JSON" in told_so_far(told), "the refusal", 30)
        fresh = tmp_path / "fresh"
        fresh.write_text(json.dumps([catalog("web", "10.0.0.9")]))
        fresh.rename(path)
        poll(lambda: "loaded 1 objects" in told_so_far(told), "the load", 30)

    def told_so_far(told: list[str]) -> str:
        told.append(capsys.readouterr().err)
        return "".join(told)

    def then_stop() -> None:
        try:
            change()
        finally:
            stop.set()

    changing = threading.Thread(target=then_stop)
    changing.start()
    watch_files(engine, {str(path): before.encode()}, "", stop=stop, interval_s=0.02)
    changing.join(30)
    assert [who for *_, who in intervals(engine, "10.0.0.9")] == ["web"]
