"""`eastwatch policy lint`: its lines, document and exit codes; with a store, what the policies leave out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.analyzers.policy.test_lint_coverage import pods
from tests.support.cli import eastwatch

ROOT = Path(__file__).parent.parent.parent
SCHEMA = Draft202012Validator(json.loads((ROOT / "schemas/policy-lint.schema.json").read_text()))
CLEAN = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  rules:
  - from: [{source: {principals: ["cluster.local/ns/shop/sa/web"]}}]
"""
NOTE = CLEAN.replace("callers", "admin").replace("spec:", "spec:\n  action: AUDIT")
WARNING = CLEAN.replace("callers", "all").replace("cluster.local/ns/shop/sa/web", "*")
ERROR = CLEAN.replace("callers", "wrong").replace("cluster.local", "spiffe://cluster.local")
NOT_READ = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n"
HOSTILE = CLEAN.replace("name: callers", 'name: "\\x1b[31m<script>"').replace("cluster.local", "spiffe://\u202e")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("lint")
    texts = {"clean": CLEAN, "note": NOTE, "warning": WARNING, "error": ERROR, "hostile": HOSTILE, "service": NOT_READ}
    for name, text in texts.items():
        (place / f"{name}.yaml").write_text(text)
    (place / "bad.yaml").write_text(CLEAN.replace("rules", "rulez"))
    return place


@pytest.mark.parametrize(
    ("worst", "fail_on", "code"),
    [
        ("clean", "note", 0),
        ("note", "warning", 0),
        ("note", "note", 1),
        ("warning", "error", 0),
        ("warning", "warning", 1),
        ("error", "", 1),
        ("error", "note", 1),
    ],
)
def test_it_fails_on_the_severity_that_is_asked_for(files: Path, worst: str, fail_on: str, code: int) -> None:
    named = ("--fail-on", fail_on) if fail_on else ()
    out = eastwatch("policy", "lint", str(files / f"{worst}.yaml"), *named, expect=code)
    assert (f": {worst}: AuthorizationPolicy shop/" in out) is (worst != "clean")
    assert "1 document: " in out


def test_lines_name_file_line_and_field(files: Path) -> None:
    file = str(files / "error.yaml")
    out = eastwatch("policy", "lint", file, str(files / "service.yaml"), expect=1)
    assert out.splitlines()[0].startswith(
        f"{file}:7: error: AuthorizationPolicy shop/wrong spec.rules[0].from[0].source.principals[0]: "
    )
    assert out.splitlines()[-2:] == [
        "1 document: 1 error, 0 warnings, 0 notes",
        "skipped, as they say nothing of who may call: Service (1)",
    ]


def test_hostile_names_steer_no_terminal(files: Path) -> None:
    out = eastwatch("policy", "lint", str(files / "hostile.yaml"), expect=1)
    assert "spiffe-scheme" in out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_the_document_is_as_its_schema_says(files: Path) -> None:
    names = [str(files / f"{name}.yaml") for name in ("clean", "note", "warning", "error", "service")]
    found = json.loads(eastwatch("policy", "lint", *names, "--json", expect=1))
    SCHEMA.validate(found)
    assert (found["documents"], found["skipped"], found["coverage"]) == (4, {"Service": 1}, None)
    assert [found[f"{one}s"] for one in ("error", "warning", "note")] == [1, 1, found["notes"]]
    severities = [one["severity"] for one in found["remarks"]]
    assert severities == sorted(severities, key=("error", "warning", "note").index)
    assert not SCHEMA.is_valid(found | {"coverage": {}})
    assert not SCHEMA.is_valid(found | {"remarks": [found["remarks"][0] | {"severity": "fatal"}]})


def test_refusals_are_told_in_one_line(files: Path) -> None:
    for arguments, says in (
        ((str(files / "bad.yaml"),), "unknown field"),
        ((str(files / "gone.yaml"),), "expected a readable file"),
        ((str(files / "clean.yaml"), "--coverage", "--store", f"chdb:{files / 'none'}"), "no store there"),
        ((str(files / "clean.yaml"), "--fail-on", "fatal"), "fatal"),
    ):
        command = [sys.executable, "-c", "from eastwatch.cli import main; main()", "policy", "lint", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr
        assert done.stderr.count("\n") == 1


def test_coverage_asks_the_store_and_nothing_else_does(files: Path) -> None:
    (files / "pods.json").write_text(json.dumps({"kind": "List", "items": list(pods())}))
    line = {"ts": "2026-03-02T10:00:00Z", "destination_namespace": "shop", "destination_workload": "cart"}
    line |= {"destination_service": "cart", "tls": "plaintext", "reporter": "destination", "source_service": "web"}
    (files / "calls.jsonl").write_text(json.dumps(line) + "\n")
    store = ("--store", f"chdb:{files / 'store'}")
    eastwatch("inventory", "load", str(files / "pods.json"), *store)
    eastwatch("ingest", f"file:{files / 'calls.jsonl'}?format=calls_json", "--until-idle", *store)
    clean = ("policy", "lint", str(files / "clean.yaml"))
    found = json.loads(eastwatch(*clean, "--coverage", "--fail-on", "warning", "--json", *store, expect=1))
    SCHEMA.validate(found)
    assert [one["workload"] for one in found["coverage"]["ungoverned"]] == ["cart"]
    assert {one["check"] for one in found["remarks"]} == {"no-policy", "plaintext-calls"}
    earlier = json.loads(eastwatch(*clean, "--coverage", "--until", "2026-03-02T09:00Z", "--json", *store))
    SCHEMA.validate(earlier)
    assert {one["check"] for one in earlier["remarks"]} == {"no-policy"}
    assert json.loads(eastwatch(*clean, "--json", *store))["coverage"] is None
    # Nothing is opened that nobody asked for.
    assert json.loads(eastwatch(*clean, "--json", "--store", f"chdb:{files / 'none'}"))["remarks"] == []
