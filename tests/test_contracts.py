"""Every `--json` document against its JSON Schema: ours in schemas/, and those of ../shared/contract where it is there.

The commands run as their users run them, on a small store that is made once.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry, Resource

from eastwatch.pages.cli import helps
from tests.support.cli import eastwatch_documents
from tests.support.require import require

ROOT = Path(__file__).parent.parent
OURS = {path.name.removesuffix(".schema.json"): json.loads(path.read_text()) for path in ROOT.glob("schemas/*.json")}
SHARED = ROOT.parent / "shared" / "contract"
REGISTRY = Registry().with_resources(
    (f"{name}.schema.json", Resource.from_contents(schema)) for name, schema in OURS.items()
)

Documents = Mapping[str, Any]
"""What was printed -> the document. A name is that of its schema, and after a colon, which of them."""

HOSTILE = '\x1b[31m"><script>$(reboot)\u2028'
CALLS = [
    {"ts": "2026-03-02T10:00:00.5Z", "source_namespace": "shop", "source_service": "web", "reporter": "source"}
    | {"destination_namespace": "shop", "destination_service": "orders", "status": status, "duration_us": 1250}
    | {"request_id": "r-1"}
    for status in (200, 200, 503)
] + [
    {"ts": "2026-03-02T10:01:00Z", "source_service": HOSTILE, "destination_service": "orders", "tls": "mtls"}
    | {"reporter": "destination", "source_principal": "spiffe://cluster.local/ns/shop/sa/web", "fault": "callee"}
    | {"request_id": "r-1"},
    {"ts": "2026-03-02T10:02:00Z", "source_ip": "10.1.9.4", "destination_service": "orders", "grpc_status": 14}
    | {"destination_namespace": "shop", "protocol": "grpc", "verdict": "denied", "reporter": "destination"},
    {"ts": "2026-03-02T10:03:00Z", "source_service": "web", "source_namespace": "shop", "direction": "egress"}
    | {"destination_service": "api.example.com", "protocol": "tcp", "bytes_sent": 12},
]
INTRUDER = {"ts": "2026-03-02T10:00:00Z", "source_namespace": "shop", "source_service": HOSTILE, "status": 200} | {
    "destination_namespace": "shop",
    "destination_service": "orders",
    "source_principal": f"spiffe://cluster.local/ns/shop/sa/{HOSTILE}",
    "reporter": "destination",
    "tls": "mtls",
    "method": "GET",
    "verdict": "allowed",
    "request_id": HOSTILE,
}
SPAN = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]},
            "scopeSpans": [
                {
                    "spans": [
                        {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "kind": 3}
                        | {"name": "GET /", "startTimeUnixNano": "1772445600000000000"}
                        | {"endTimeUnixNano": "1772445600012000000"}
                        | {"attributes": [{"key": "server.address", "value": {"stringValue": "db.example.com"}}]}
                    ]
                }
            ],
        }
    ]
}
PODS = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"serviceAccountName": "web", "containers": []},
            "status": {"podIP": "10.1.9.4"},
        }
    ],
}

POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web-only, namespace: shop}
spec:
  rules:
  - from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
    to: [{operation: {methods: [GET]}}]
---
apiVersion: v1
kind: Service
metadata: {name: orders}
"""

SLOW = [
    {
        "ts": f"2026-03-02T{10 + minute // 60}:{minute % 60:02}:{second:02}Z",
        "source_namespace": "shop",
        "source_service": "web",
    }
    | {"destination_namespace": "shop", "destination_service": "orders", "reporter": "source", "status": 200}
    | {"method": "GET", "path": "/orders", "request_id": f"slow-{minute}-{second}"}
    | {"duration_us": (10_000 + 100 * second) * (3 if minute >= 60 else 5 if minute == 40 else 1)}
    for minute in range(90)
    for second in range(0, 60, 3)
]
"""Calls that take three times as long from 11:00 on, and five times in one minute before."""

VERSIONS = [
    {"ts": f"2026-03-02T10:{second // 60:02}:{second % 60:02}Z", "source_namespace": "shop", "source_service": "web"}
    | {"destination_namespace": "shop", "destination_service": "stock", "reporter": "destination"}
    | {"destination_version": "v2" if second % 4 == 0 else "v1", "method": "GET", "path": "/stock"}
    | {"status": 503 if second % 40 == 0 else 200, "duration_us": 10_000 + 100 * (second % 37)}
    for second in range(900)
]
"""A fourth of the calls goes to another version."""

SHORT_DEMO = """
import sys
from datetime import timedelta
import eastwatch.cli.demo
from eastwatch.cli import main
eastwatch.cli.demo.TOLD = timedelta(minutes=2)
sys.argv = ["eastwatch", "demo", "--once", "--json"]
main()
"""


WINDOWS = "2026-03-02T10:00Z/2026-03-02T10:02Z..2026-03-02T10:02Z/2026-03-02T10:05Z"


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    place = tmp_path_factory.mktemp("contracts")
    lines = [json.dumps(one).encode() for one in (*CALLS, SPAN)]
    lines += [b"hello", b"\xff\xfe\x1b[2J", b'{"ts":"never","destination_service":"orders"}']
    (place / "mixed.log").write_bytes(b"\n".join(lines) + b"\n")
    (place / "pods.json").write_text(json.dumps(PODS))
    (place / "policies.yaml").write_text(POLICIES)
    (place / "none.yaml").write_text("kind: Service\nmetadata: {name: x}\n")
    (place / "intruder.log").write_text(json.dumps(INTRUDER) + "\n")
    (place / "versions.log").write_text("".join(json.dumps(one) + "\n" for one in VERSIONS))
    (place / "slow.log").write_text("".join(json.dumps(one) + "\n" for one in SLOW))
    levels = [10 + (minute % 7) / 10 + 5 * (minute >= 60) + 40 * (minute == 30) for minute in range(120)]
    points = (f"2026-03-02T{10 + minute // 60}:{minute % 60:02}:00Z,{level}" for minute, level in enumerate(levels))
    (place / "series.csv").write_text("\n".join(["timestamp,value", *points]))
    (place / "none.csv").write_text("timestamp,value\n")
    store, judged, slow = (("--store", f"chdb:{place / name}") for name in ("store", "judged", "slow"))
    policies = str(place / "policies.yaml")
    commands: dict[str, tuple[str, ...]] = {
        "migrate:pending": ("migrate", "--dry-run", *store),
        "map:empty": ("map", *store),
        "inventory-load": ("inventory", "load", str(place / "pods.json"), *store),
        "ingest": ("ingest", f"file:{place / 'mixed.log'}", "--until-idle", *store),
        "ingest:nothing-new": ("ingest", f"file:{place / 'mixed.log'}", "--until-idle", *store),
        "map": ("map", *store),
        "map-diff": ("map", "--diff", WINDOWS, *store),
        "map-diff:empty": ("map", "--diff", "2020-01-01..2020-01-02", *store),
        "map-ledger": ("map", "--ledger", *store),
        "trace": ("trace", "r-1", *store),
        "trace:span": ("trace", "5b8efff798038103d269b633813fc60c", *store),
        "trace:nothing": ("trace", HOSTILE, *store),
        "deadletters-list": ("deadletters", "list", *store),
        "deadletters-replay": ("deadletters", "replay", *store),
        "migrate:status": ("migrate", "--status", *store),
        "retention": ("retention", "--dry-run", *store),
        "policy-denials": ("policy", "denials", *store),
        "policy-load": ("policy", "load", policies, "--valid-from", "2026-03-01", *store),
        "policy-load:unchanged": ("policy", "load", policies, "--add", *store),
        "policy-sets": ("policy", "sets", *store),
        "policy-check": ("policy", "check", policies, "--each", *store),
        "policy-check:stored": ("policy", "check", *store),
        "policy-whatif": ("policy", "whatif", policies, "--replace", *store),
        "ingest:intruder": ("ingest", f"file:{place / 'intruder.log'}", "--until-idle", *judged),
        "policy-load:judged": ("policy", "load", policies, "--valid-from", "2026-03-01", *judged),
        "analyze": ("analyze", *judged),
        "findings": ("findings", "--kind", "unauthorized", *judged),
        "findings:none": ("findings", "--since", "2030-01-01", *judged),
        "findings-list": ("findings", "list", *judged),
        "regressions-csv": ("regressions", "--csv", str(place / "series.csv")),
        "regressions-csv:empty": ("regressions", "--csv", str(place / "none.csv")),
        "regressions:none": ("regressions", *judged),
        "ingest:slow": ("ingest", f"file:{place / 'slow.log'}", "--until-idle", *slow),
        "analyze:slow": ("analyze", "--only", "latency", *slow),
        "regressions": ("regressions", *slow),
        "regressions-list": ("regressions", "list", *slow),
        "ingest:versions": ("ingest", f"file:{place / 'versions.log'}", "--until-idle", *slow),
        "compare": ("compare", "stock", *slow),
        "compare:few": ("compare", "shop/stock", "--until", "2026-03-02T10:01:00Z", *slow),
        "policy-lint": ("policy", "lint", policies),
        "policy-lint:coverage": ("policy", "lint", policies, "--coverage", *store),
        "policy-suggest": ("policy", "suggest", *store),
        "policy-unload": ("policy", "unload", *store),
        "policy-unload:unchanged": ("policy", "unload", *store),
        "policy-sets:ended": ("policy", "sets", *store),
        "policy-whatif:nothing": ("policy", "whatif", str(place / "none.yaml"), *store),
    }
    found = dict(zip(commands, eastwatch_documents(*commands.values()), strict=True))
    shown = ("findings", "show", found["analyze"]["findings"][0]["id"], *judged)
    found["findings-show"] = eastwatch_documents(shown)[0]
    regression = found["regressions"]["regressions"][0]["id"]
    found["regressions-show"], found["regressions:explained"] = eastwatch_documents(
        ("regressions", "show", regression, *slow), ("regressions", "--explain", regression, *slow)
    )
    found["incidents"], found["incidents-list"], found["incidents:none"] = eastwatch_documents(
        ("incidents", *judged), ("incidents", "list", *judged), ("incidents", "--since", "2030-01-01", *judged)
    )
    incident = found["incidents"]["incidents"][0]["id"]
    (found["incidents-show"],) = eastwatch_documents(("incidents", "show", incident, *judged))
    done = subprocess.run(
        [sys.executable, "-c", SHORT_DEMO],
        capture_output=True,
        timeout=100,
        check=True,
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith(("EASTWATCH_", "OTEL_"))},
    )
    return {**found, "demo-once": json.loads(done.stdout)}


PRINTED = (
    *("migrate:pending", "map:empty", "inventory-load", "ingest", "ingest:nothing-new"),
    *("map-diff", "map-diff:empty", "map-ledger"),
    *(
        "map",
        "trace",
        "trace:span",
        "trace:nothing",
        "deadletters-list",
        "deadletters-replay",
        "migrate:status",
        "retention",
        "demo-once",
    ),
    *(
        "ingest:intruder",
        "policy-load:judged",
        "policy-denials",
        "policy-load",
        "policy-load:unchanged",
        "policy-check",
        "policy-check:stored",
    ),
    *("policy-whatif", "policy-whatif:nothing", "policy-lint", "policy-lint:coverage", "policy-suggest"),
    *("policy-sets", "policy-sets:ended", "policy-unload", "policy-unload:unchanged"),
    *("analyze", "findings", "findings:none", "findings-list", "findings-show"),
    *("ingest:slow", "analyze:slow", "regressions", "regressions:none", "regressions:explained"),
    *("regressions-list", "regressions-show", "regressions-csv", "regressions-csv:empty"),
    *("ingest:versions", "compare", "compare:few"),
    *("incidents", "incidents:none", "incidents-list", "incidents-show"),
)
SHARED_NAMES = (
    *("map:empty", "map", "map-diff", "map-diff:empty", "demo-once"),
    *("policy-check", "policy-check:stored", "policy-whatif", "policy-whatif:nothing"),
    *("findings", "findings:none", "regressions", "regressions:none", "regressions-csv", "regressions-csv:empty"),
    *("incidents", "incidents:none"),
)


def schema_of(name: str) -> str:
    return name.partition(":")[0]


@pytest.mark.parametrize("name", PRINTED)
def test_a_document_keeps_to_our_schema(documents: Documents, name: str) -> None:
    Draft202012Validator(OURS[schema_of(name)], registry=REGISTRY).validate(documents[name])


@pytest.mark.parametrize("name", SHARED_NAMES)
def test_a_document_keeps_to_the_shared_schema(documents: Documents, name: str) -> None:
    path = SHARED / f"{schema_of(name)}.schema.json"
    require("data", path.is_file(), f"no {path.name} in ../shared/contract")
    Draft202012Validator(json.loads(path.read_text())).validate(documents[name])


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_schema_is_one_and_is_used(name: str) -> None:
    Draft202012Validator.check_schema(OURS[name])
    assert OURS[name]["$id"] == f"{name}.schema.json"
    assert name in {schema_of(printed) for printed in PRINTED}


def test_every_command_with_json_has_a_schema() -> None:
    speaking = {command for command, text in helps().items() if "--json" in text}
    promised = {schema["title"].partition(" --")[0] for schema in OURS.values()}
    assert promised == speaking


def altered(document: Any) -> Iterator[Any]:
    """The document with one thing wrong, at any depth: a key too few, a key too many, another type."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield {other: kept for other, kept in document.items() if other != key}
            yield {**document, key: object}
            for wrong in altered(value):
                yield {**document, key: wrong}
        yield {**document, "surplus": 1}


@pytest.mark.parametrize("name", ["map:empty", "inventory-load", "ingest:nothing-new", "migrate:status", "retention"])
def test_our_schemas_refuse_what_is_wrong(documents: Documents, name: str) -> None:
    validator = Draft202012Validator(OURS[schema_of(name)], registry=REGISTRY)
    document = {**documents[name]}
    rows = document.pop("rows", None)
    for wrong in altered(document):
        if rows is not None:
            wrong = {**wrong, "rows": rows}
        with pytest.raises(ValidationError):
            validator.validate(wrong)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("requests", -1),
        ("requests", 1.5),
        ("requests", None),
        ("p50_ms", "1"),
        ("mtls_share", 1.01),
        ("evidence", []),
        ("evidence", ["hearsay"]),
        ("direction", "north_south"),
        ("statuses", {"two hundred": 1}),
        ("statuses", {"200": 0}),
        ("faults", {"nobody": 1}),
        ("first_seen", "2026-03-02 10:00:00"),
        ("source", ""),
    ],
)
def test_the_schema_of_the_map_refuses_a_wrong_edge(documents: Documents, key: str, value: Any) -> None:
    document = copy.deepcopy(documents["map"])
    document["edges"][0][key] = value
    with pytest.raises(ValidationError):
        Draft202012Validator(OURS["map"], registry=REGISTRY).validate(document)


@pytest.mark.parametrize("name", ["map", "demo-once"])
def test_the_ends_of_edges_are_nodes(documents: Documents, name: str) -> None:
    found = documents[name].get("map", documents[name])
    ids = [node["id"] for node in found["nodes"]]
    assert len(ids) == len(set(ids))
    ends = {end for edge in found["edges"] for end in (edge["source"], edge["destination"])}
    assert ends and ends == set(ids)
    pairs = [(edge["source"], edge["destination"]) for edge in found["edges"]]
    assert len(pairs) == len(set(pairs))


def test_the_small_store_says_what_was_put_in(documents: Documents) -> None:
    ingested, again = documents["ingest"], documents["ingest:nothing-new"]
    assert (ingested["rows"], ingested["dead_lettered"]) == ({"calls": len(CALLS), "spans": 1}, 3)
    assert ingested["accepted"] == ingested["stored"] + ingested["dead_lettered"] + ingested["refused"]
    assert (again["messages"], again["stored"]) == (0, 0)
    edges = {(edge["source"], edge["destination"]): edge for edge in documents["map"]["edges"]}
    assert edges["shop/web", "shop/orders"]["statuses"]["503"] == 1
    assert ("cart", "external:db.example.com") in edges and ("shop/web", "external:api.example.com") in edges
    assert documents["map:empty"] == {"since": None, "until": None, "nodes": [], "edges": []}
    assert documents["deadletters-list"]["total"] == 3
    hops = [(hop["source"], hop["destination"], hop["evidence"]) for hop in documents["trace"]["hops"]]
    assert hops == [("shop/web", "shop/orders", ["log"])] * 3 + [(f"shop/{HOSTILE}", "shop/orders", ["log"])]
    assert (documents["trace"]["failed"], documents["trace:nothing"]["hops"]) == (2, [])
    (outward,) = documents["trace:span"]["hops"]
    assert (outward["source"], outward["destination"]) == ("cart", "external:db.example.com")
    payloads = {letter["payload"] for letter in documents["deadletters-list"]["dead_letters"]}
    assert r"\xff\xfe" + "\x1b[2J" in payloads
    pending, status = documents["migrate:pending"], documents["migrate:status"]
    assert pending["applied"] == [] == status["pending"]
    assert pending["pending"] == status["applied"]
