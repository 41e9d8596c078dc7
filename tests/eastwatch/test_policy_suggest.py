"""`eastwatch policy suggest`: where policies and report go, the document, and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.analyzers.policy.suggest_store import line, pods, usual
from tests.support.cli import eastwatch, eastwatch_json

ROOT = Path(__file__).parent.parent.parent
HOSTILE = '\x1b[31m"><script>$(reboot)'


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    place = tmp_path_factory.mktemp("suggest")
    lines = [*usual(), line(95, "web", "orders", "GET", f"/{HOSTILE}"), line(5, "", "cart", "GET", "/")]
    (place / "calls.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (place / "pods.json").write_bytes(pods("web", "cron", "orders", "cart", "db")["pods.json"])
    where = ("--store", f"chdb:{place / 'store'}")
    eastwatch("inventory", "load", str(place / "pods.json"), *where)
    eastwatch("ingest", f"file:{place / 'calls.jsonl'}?format=calls_json", "--until-idle", *where)
    return where


def test_policies_go_to_stdout_and_the_report_to_stderr(store: tuple[str, str]) -> None:
    start = "from eastwatch.cli import main; main()"
    command = [sys.executable, "-c", start, "policy", "suggest", *store]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    names = [one["metadata"]["name"] for one in yaml.safe_load_all(done.stdout)]
    assert names == ["seen-cart", "seen-db", "seen-orders"]
    assert "1 of 51 later calls in order would break" in done.stderr
    assert "3 documents of Istio for 3 destinations" in done.stderr
    assert "the caller came without mutual TLS and has no identity" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_policies_go_to_a_file_that_check_takes(store: tuple[str, str], tmp_path: Path) -> None:
    file = tmp_path / "least.yaml"
    told = eastwatch("policy", "suggest", "--engine", "kubernetes", "-o", str(file), "--holdout", "0", *store)
    assert "3 documents of NetworkPolicy for 3 destinations" in told
    assert "nothing held out to try them on" in told
    judged = eastwatch_json("policy", "check", str(file), *store)
    assert (judged["deny"], judged["allow"], judged["skipped"]) == (0, 251, {})


def test_the_document_is_as_its_schema_says(store: tuple[str, str]) -> None:
    schema = json.loads((ROOT / "schemas/policy-suggest.schema.json").read_text())
    for arguments in ((), ("--holdout", "0"), ("--namespace", "other"), ("--engine", "kubernetes")):
        document = eastwatch_json("policy", "suggest", *arguments, *store)
        Draft202012Validator(schema).validate(document)
        assert {one["metadata"]["namespace"] for one in document["documents"]} <= {"shop"}
    assert not Draft202012Validator(schema).is_valid(document | {"engine": "nginx"})


def test_what_cannot_be_is_refused(store: tuple[str, str], tmp_path: Path) -> None:
    for arguments in (
        ("--engine", "nginx"),
        ("--holdout", "1"),
        ("--holdout", "-0.1"),
        ("--json", "-o", str(tmp_path / "x")),
        ("-o", str(tmp_path / "nowhere" / "x")),
    ):
        eastwatch("policy", "suggest", *arguments, *store, expect=2)
