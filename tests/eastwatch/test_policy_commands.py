"""`eastwatch policy load`, `sets`, `unload`, `check` and `whatif` as their users run them, and when they end with 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import eastwatch, eastwatch_each, eastwatch_json

WEB = "spiffe://cluster.local/ns/shop/sa/web"
CALLS: Sequence[Mapping[str, Any]] = [
    {
        "ts": f"2026-03-02T10:00:{seconds:02}Z",
        "reporter": "destination",
        "mesh": "istio",
        "source_namespace": "shop",
        "source_service": "web",
        "source_principal": WEB,
        "destination_namespace": "shop",
        "destination_service": service,
        "destination_workload": service,
        "protocol": "http",
        "method": "GET",
        "path": path,
        "tls": "mtls",
        "status_code": 200,
        "verdict": did,
        "request_id": f"{service}-{seconds}",
    }
    for seconds, service, path, did in (
        (9, "orders", "/orders/1", "allowed"),
        (3, "orders", "/orders/2", "allowed"),
        (5, "orders", "/admin", "denied"),
        (1, "cart", "/cart", "allowed"),
    )
]
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {spec}
"""
NO_ADMIN = POLICY.format(name="no-admin", spec="{action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}")
NO_ORDERS = POLICY.format(name="no-orders", spec="{action: DENY, rules: [{to: [{operation: {paths: [/orders/*]}}]}]}")
WITH_HEADER = POLICY.format(
    name="with-header", spec="{rules: [{when: [{key: 'request.headers[x-team]', values: [red]}]}]}"
)
ELSEWHERE = NO_ADMIN.replace("namespace: shop", "namespace: elsewhere")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with files of policies, and a store with calls."""
    place = tmp_path_factory.mktemp("policy")
    (place / "calls.jsonl").write_text("".join(json.dumps(one) + "\n" for one in CALLS))
    (place / "untold.jsonl").write_text("".join(json.dumps({**one, "verdict": "unknown"}) + "\n" for one in CALLS))
    for name, text in (
        ("no-admin", NO_ADMIN),
        ("no-orders", NO_ORDERS),
        ("with-header", WITH_HEADER),
        ("elsewhere", ELSEWHERE),
        ("none", "kind: Service\nmetadata: {name: x}\n"),
    ):
        (place / f"{name}.yaml").write_text(text)
    eastwatch("ingest", f"file:{place / 'calls.jsonl'}?format=calls_json", "--until-idle", *store(place))
    return place


def store(place: Path) -> tuple[str, str]:
    return "--store", f"chdb:{place / 'store'}"


def test_each_call_is_listed_in_the_order_of_time(place: Path) -> None:
    found = eastwatch_json("policy", "check", str(place / "no-admin.yaml"), "--each", *store(place))
    assert [
        (one["ts"], one["request_id"], one["source"], one["destination"], one["operation"]) for one in found["each"]
    ] == [
        ("2026-03-02T10:00:01Z", "cart-1", "shop/web", "shop/cart", "GET /cart"),
        ("2026-03-02T10:00:03Z", "orders-3", "shop/web", "shop/orders", "GET /orders/{id}"),
        ("2026-03-02T10:00:05Z", "orders-5", "shop/web", "shop/orders", "GET /admin"),
        ("2026-03-02T10:00:09Z", "orders-9", "shop/web", "shop/orders", "GET /orders/{id}"),
    ]
    assert [(one["verdict"], one["policy"], one["did"]) for one in found["each"]] == [
        *(("allow", None, "allowed"), ("allow", None, "allowed")),
        *(("deny", "shop/no-admin", "denied"), ("allow", None, "allowed")),
    ]
    counted = eastwatch_json("policy", "check", str(place / "no-admin.yaml"), *store(place))
    assert counted == {name: value for name, value in found.items() if name != "each"}
    lines = eastwatch("policy", "check", str(place / "no-admin.yaml"), "--each", *store(place)).splitlines()
    assert [line.split()[2] for line in lines[1:5]] == ["cart-1", "orders-3", "orders-5", "orders-9"]
    assert lines[5] == "4 calls" and "shop/no-admin" in lines[3]


FAILED = (
    ("check", "no-admin", "disagree", None),
    ("check", "no-admin", "unknown", None),
    ("check", "no-admin", "deny", "calls that are denied: 1"),
    ("check", "no-orders", "disagree", "calls let in or refused otherwise than the policies say: 3"),
    ("check", "with-header", "unknown", "calls that are unknown: 4"),
    ("check", "no-admin", "any", "calls that are denied: 1"),
    ("whatif", "no-admin", "any", None),
    ("whatif", "no-orders", "break", "calls let in that would be refused: 2"),
    ("whatif", "no-orders", "open", "calls refused that would be let in: 1"),
    ("whatif", "no-orders", "unknown", None),
    ("whatif", "with-header", "unknown", "calls of which it cannot be told: 4"),
    ("whatif", "with-header", "break", "calls that these policies decide: 0, expected at least 1 (--min-calls)"),
)


def test_what_is_failed_on(place: Path) -> None:
    commands = [
        ("policy", command, str(place / f"{file}.yaml"), "--fail-on", fail_on, *store(place))
        for command, file, fail_on, _ in FAILED
    ]
    for case, ended in zip(FAILED, eastwatch_each(*commands), strict=True):
        told = f"eastwatch: failed: {case[-1]}\n" in ended.stderr
        assert (ended.code, told) == ((1, True) if case[-1] else (0, False)), (case, ended.stderr)


def test_a_verdict_that_is_unknown_is_no_disagreement(place: Path) -> None:
    (ended,) = eastwatch_each(
        ("policy", "check", str(place / "with-header.yaml"), "--fail-on", "disagree", "--min-calls", "0", *store(place))
    )
    assert (ended.code, ended.stderr) == (0, "")


def test_refusals_of_calls_of_which_nobody_knows_what_was_done(place: Path) -> None:
    at = ("--store", f"chdb:{place / 'untold'}")
    eastwatch("ingest", f"file:{place / 'untold.jsonl'}?format=calls_json", "--until-idle", *at)
    asked = ("policy", "whatif", str(place / "no-admin.yaml"), *at, "--fail-on")
    broken, opened, whatever = eastwatch_each((*asked, "break"), (*asked, "open"), (*asked, "any"))
    assert (broken.code, opened.code, whatever.code) == (0, 0, 1)
    assert "failed: calls that would be refused, of which nobody knows what was done: 1\n" in whatever.stderr


def test_no_evidence_guards_nothing(place: Path) -> None:
    guarded = ("--fail-on", "break")
    for file, window in (("elsewhere", ()), ("no-admin", ("--since", "2030-01-01"))):
        asked = ("policy", "whatif", str(place / f"{file}.yaml"), *window, *store(place))
        shown, failed, taken = eastwatch_each(asked, (*asked, *guarded), (*asked, *guarded, "--min-calls", "0"))
        assert (shown.code, failed.code, taken.code) == (0, 1, 0)
        assert "calls that these policies decide: 0" in failed.stderr
    enough = ("policy", "whatif", str(place / "no-admin.yaml"), *store(place), *guarded, "--min-calls")
    assert [ended.code for ended in eastwatch_each((*enough, "4"), (*enough, "5"))] == [0, 1]


def test_sets_are_stored_listed_and_ended(place: Path) -> None:
    def load(file: str, *arguments: str) -> None:
        eastwatch("policy", "load", str(place / f"{file}.yaml"), *arguments, *store(place))

    def whatif(*arguments: str) -> Mapping[str, int]:
        found = eastwatch_json("policy", "whatif", str(place / "no-admin.yaml"), *arguments, *store(place))
        return {name: found[name] for name in ("allow", "deny")}

    assert "no policies are stored" in eastwatch("policy", "sets", *store(place))
    (refused,) = eastwatch_each(("policy", "load", str(place / "none.yaml"), *store(place)))
    assert refused.code == 2
    assert "no policies there (skipped, as they say nothing of who may call: Service (1))" in refused.stderr
    assert eastwatch_json("policy", "sets", *store(place)) == {"sets": []}
    (alone,) = eastwatch_each(("policy", "whatif", str(place / "no-admin.yaml"), "--add", *store(place)))
    assert alone.code == 0 and "no stored policies hold now" in alone.stderr

    load("no-orders", "--valid-from", "2026-03-01")
    load("with-header", "--valid-from", "2099-01-01")
    first, second = eastwatch_json("policy", "sets", *store(place))["sets"]
    assert (first["valid_from"], first["valid_to"]) == ("2026-03-01T00:00:00Z", second["valid_from"])
    assert (second["valid_to"], second["documents"], second["files"]) == (None, 1, [str(place / "with-header.yaml")])
    # What holds now is added to, not what will hold.
    assert (whatif("--replace"), whatif("--add")) == ({"allow": 3, "deny": 1}, {"allow": 1, "deny": 3})

    ended = eastwatch_json("policy", "unload", "--valid-from", "2026-03-02T10:00:04Z", *store(place))
    assert (ended["valid_from"], ended["documents"], ended["changed"]) == ("2026-03-02T10:00:04Z", 0, True)
    assert "unchanged, none hold since 2026-03-02 10:00:04" in eastwatch("policy", "unload", *store(place))
    found = eastwatch_json("policy", "check", "--each", *store(place))
    assert [(one["request_id"], one["verdict"]) for one in found["each"]] == [("cart-1", "allow"), ("orders-3", "deny")]
    lines = eastwatch("policy", "sets", *store(place)).splitlines()
    assert [line.split()[0] for line in lines] == ["valid", "2026-03-01", "*", "2099-01-01"]


def test_what_only_reads_or_ends_makes_no_store(tmp_path: Path) -> None:
    commands = (("analyze",), ("policy", "sets"), ("policy", "unload"))
    for ended in eastwatch_each(*((*command, "--store", f"chdb:{tmp_path / 'nothing'}") for command in commands)):
        assert ended.code == 2 and "no store there" in ended.stderr
    assert not (tmp_path / "nothing").exists()


def test_who_stops_reading_is_no_failure(place: Path) -> None:
    command = ("policy", "check", str(place / "no-admin.yaml"), "--each", *store(place))
    process = subprocess.Popen(
        [sys.executable, "-c", "from eastwatch.cli import main; main()", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout and process.stderr
    with process.stderr:
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (0, b"")
