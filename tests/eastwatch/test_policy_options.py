"""`[policies]` of the settings: counts where files tell no MeshSettings, is stored by `policy load`, told when old."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from analyzers.policy.errors import BadPolicy
from analyzers.policy.policy_set import PolicySet
from analyzers.policy.store import load_set, stored_set, versions
from collector.clock import SystemClock
from eastwatch.analysis_job import AnalysisJob
from eastwatch.analysis_options import AnalysisOptions
from eastwatch.policy_options import FILE, PolicyOptions, mesh_settings, outdated, settled
from eastwatch.settings import SettingsError, load_settings
from eastwatch.telemetry import Telemetry
from storage.engine import Engine
from tests.analyzers.policy.test_check import policies
from tests.analyzers.policy.test_settings_document import INTENTIONS, consul, told
from tests.analyzers.records import at
from tests.support.cli import eastwatch, eastwatch_json
from tests.support.poll import poll

CALL = {
    "ts": "2026-03-02T10:00:00Z",
    "reporter": "destination",
    "mesh": "consul",
    "source_service": "cron",
    "source_principal": consul("cron"),
    "destination_namespace": "shop",
    "destination_service": "orders",
    "destination_workload": "orders",
    "protocol": "http",
    "method": "GET",
    "path": "/",
    "tls": "mtls",
    "status_code": 200,
    "verdict": "allowed",
    "request_id": "r-1",
}
DENY = '[policies.consul]\ndefault = "deny"\n'


def options(**consul: object) -> PolicyOptions:
    return PolicyOptions.model_validate({"consul": consul})


def test_nothing_told_is_no_document() -> None:
    assert mesh_settings(PolicyOptions()) == PolicySet()
    assert settled(policies(INTENTIONS), PolicyOptions()) == policies(INTENTIONS)


def test_everything_told_is_read_as_it_was_told() -> None:
    table = """
        [policies.consul]
        default = "allow"
        trust_domain = "1e3"
        partition = "billing"
        namespaces = true
        [policies.consul.peers.on]
        trust_domain = "2.consul"
        [policies.smi]
        permissive = false
        trust_domain = "mesh.local"
    """
    file = Path("eastwatch.toml")
    file.write_text(table)
    found = mesh_settings(load_settings().policies).settings
    assert (found.consul.allows, found.consul.trust_domain, found.consul.partition) == (True, "1e3", "billing")
    assert found.consul.namespaces and found.consul.peers["on"].trust_domain == "2.consul"
    assert (found.smi.permissive, found.smi.trust_domain) == (False, "mesh.local")


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('[policies.consul]\ndefault = "maybe"', "setting policies.consul.default = 'maybe'"),
        ('[policies.consul]\nacl = "deny"', "setting policies.consul.acl: no such setting"),
        ('[policies.consul]\ntrust_domain = "spiffe://x"', "setting policies.consul.trust_domain = 'spiffe://x'"),
        ("[policies.consul.peers.west]", "setting policies.consul.peers.west.trust_domain"),
        ("[policies.linkerd]", "setting policies.linkerd: no such setting"),
    ],
)
def test_what_does_not_fit_is_refused(table: str, why: str) -> None:
    Path("eastwatch.toml").write_text(table)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert why in str(refused.value) and "\n" not in str(refused.value)


def test_the_example_of_the_documentation_is_read_whole() -> None:
    page = (Path(__file__).parents[2] / "docs" / "policies.md").read_text()
    (example,) = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "kind: MeshSettings" in block]
    found = policies(example).settings
    assert found.consul.allows is False and found.consul.trust_domain == "1111-2222.consul"
    assert found.consul.peers["west"].trust_domain == "3333-4444.consul"
    assert (found.smi.permissive, found.smi.trust_domain) == (False, "cluster.local")


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.chdir(tmp_path)


def test_files_come_first_then_what_was_stored_then_the_table() -> None:
    table = options(default="deny")
    written = policies(INTENTIONS, told("consul: {default: allow}"))
    assert settled(written, table) == written
    found = settled(policies(INTENTIONS), table)
    assert [one.file for one in found.documents] == ["p.yaml", FILE]
    # A table replaces what an earlier one told.
    again = settled(found, options(default="allow"))
    assert again.settings.consul.allows is True and len(again.documents) == 2
    with pytest.raises(BadPolicy, match="partition"):
        mesh_settings(PolicyOptions.model_construct(consul=options().consul.model_copy(update={"partition": "A"})))


def test_commands_take_the_table(tmp_path: Path) -> None:
    (tmp_path / "calls.jsonl").write_text(json.dumps(CALL) + "\n")
    (tmp_path / "p.yaml").write_text(INTENTIONS)
    store = ("--store", f"chdb:{tmp_path / 'store'}")
    plain, deny = tmp_path / "plain.toml", tmp_path / "deny.toml"
    plain.write_text("")
    deny.write_text(DENY)
    eastwatch("ingest", f"file:{tmp_path / 'calls.jsonl'}?format=calls_json", "--until-idle", *store)
    file = str(tmp_path / "p.yaml")

    def denied(*arguments: str, config: Path) -> tuple[int, int]:
        found = eastwatch_json("policy", *arguments, *store, "--config", str(config))
        return found["deny"], found["unknown"]

    assert denied("check", file, config=plain) == (0, 1)
    assert denied("check", file, config=deny) == (1, 0)
    for config, then in ((plain, "unknown"), (deny, "deny")):
        changed = eastwatch_json("policy", "whatif", file, *store, "--config", str(config))["changes"]
        assert [one["then"] for one in changed] == [then]
    # Stored sets are judged by what was stored with them, and that the table is another one by now is told.
    eastwatch("policy", "load", file, "--valid-from", "2026-03-01", *store, "--config", str(plain))
    assert denied("check", config=deny) == (0, 1)
    for command in (("policy", "check"), ("analyze",)):
        said = subprocess.run(
            [sys.executable, "-c", "from eastwatch.cli import main; main()", *command, *store, "--config", str(deny)],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stderr
        assert "eastwatch: the stored policies are judged by the settings that they were stored with" in said
    eastwatch("policy", "load", file, "--valid-from", "2026-03-01", *store, "--config", str(deny))
    assert denied("check", config=plain) == (1, 0)
    # Beside a stored set, what was stored with it counts until a table says otherwise.
    allow = tmp_path / "allow.toml"
    allow.write_text(DENY.replace("deny", "allow"))
    for config, thens in ((plain, ["deny"]), (allow, [])):
        changed = eastwatch_json("policy", "whatif", file, "--add", *store, "--config", str(config))["changes"]
        assert [one["then"] for one in changed] == thens
    (one,) = eastwatch_json("analyze", *store, "--config", str(plain))["findings"]
    assert one["kind"] == "unauthorized"


def test_an_analyzer_tells_that_the_stored_set_has_other_settings(engine: Engine) -> None:
    load_set(engine, settled(policies(INTENTIONS), options(default="allow")), at(0), at(1))
    clock, table = SystemClock(), options(default="deny")
    said: list[str] = []
    job = AnalysisJob(engine, AnalysisOptions(interval_s=60), clock, Telemetry(), said.append, table)
    job.start()
    poll(lambda: said, "what the analyzer tells")
    job.stop()
    assert job.join(30)
    assert said[0].startswith("analyzer policy: the stored policies are judged by the settings that they were stored")
    # Not where they agree, where nothing is told, or where files told it.
    (held,) = versions(engine)
    assert outdated(engine, PolicyOptions(), clock.now()) == outdated(engine, options(default="allow"), at(9)) == ""
    load_set(engine, stored_set(engine, held).with_documents(policies(told("consul: {default: allow}"))), at(5), at(6))
    assert outdated(engine, table, at(9)) == "" != outdated(engine, table, at(3))
