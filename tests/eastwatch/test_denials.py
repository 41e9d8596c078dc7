"""`eastwatch policy denials`: from a file of lines to its table and its document, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.analyzers.policy import denial_lines as lines
from tests.analyzers.policy.denial_lines import linkerd_id, spiffe

ROOT = Path(__file__).parent.parent.parent
START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
RULE = "rbac_access_denied_matched_policy[ns[shop]-policy[api-callers]-rule[2]]"
HOSTILE = '\x1b[31m"><script>$(reboot)'

# The command stands in an app of its own: how `eastwatch` names it, `eastwatch.cli.policy` says.
RUN = """
import contextlib, io, json, sys
import typer
from eastwatch.cli import run
from eastwatch.cli.denials import denials_
from eastwatch.cli.errors import exit_code_of

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.command("denials")(denials_)
app.callback()(lambda: None)

told = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if arguments[0] == "denials":
            try:
                code = app(args=arguments, standalone_mode=False) or 0
            except Exception as error:
                code = exit_code_of(error)
        else:
            code = run(arguments)
    told.append((code, out.getvalue(), err.getvalue()))
sys.stdout.write(json.dumps(told))
"""


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    place = tmp_path_factory.mktemp("denials")
    stream = [
        *(lines.istio_json(at(s), "web", "api", RULE, request_id=f"r-{s}", path="/admin") for s in (0, 90, 7200)),
        lines.istio_source(at(0), "web", "api", request_id="r-0", path="/admin"),
        lines.linkerd_policy(at(5), "cron", "db", route="admin"),
        lines.linkerd_policy(
            at(6), "cron", "api", message="Request allowed", behind=" authz.group= authz.kind=default authz.name=audit"
        ),
        json.dumps(
            {"ts": "2026-03-02T10:00:30Z", "source_service": HOSTILE, "destination_service": "api"}
            | {"destination_namespace": "shop", "verdict": "denied", "denied_by": HOSTILE, "operation": HOSTILE}
        ),
    ]
    (place / "lines.log").write_text("\n".join(stream) + "\n")
    store = ("--store", f"chdb:{place / 'store'}")
    window = ("--since", "2026-03-02T10:01:00Z", "--until", "2026-03-02T11:00:00Z")
    commands: dict[str, list[str]] = {
        "ingest": ["ingest", f"file:{place / 'lines.log'}", "--until-idle", *store],
        "table": ["denials", *store],
        "document": ["denials", "--json", *store],
        "window": ["denials", "--json", *window, *store],
        "service": ["denials", "--json", "--service", "shop/db", *store],
        "nowhere": ["denials", "--namespace", "nowhere", *store],
        "trials": ["denials", "--json", "--dry-run", *store],
        "backwards": ["denials", "--since", "-1h", "--until", "-2h", *store],
        "no time": ["denials", "--since", "yesterday", *store],
        "no store": ["denials", "--store", f"chdb:{place / 'none'}"],
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(list(commands.values())),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=ROOT,
    )
    return dict(zip(commands, map(tuple, json.loads(done.stdout)), strict=True))


def document(told: dict[str, tuple[int, str, str]], name: str) -> Any:
    code, out, _ = told[name]
    assert code == 0
    found = json.loads(out)
    schema = json.loads((ROOT / "schemas" / "policy-denials.schema.json").read_text())
    Draft202012Validator(schema).validate(found)
    return found


def test_the_document_tells_every_refusal_once(told: dict[str, tuple[int, str, str]]) -> None:
    assert told["ingest"][0] == 0, told["ingest"][2]
    found = document(told, "document")
    assert (found["since"], found["until"]) == (None, None)
    assert found["denials"][0] == {
        "source": "shop/web",
        "destination": "shop/api",
        "principal": spiffe("web"),
        "kind": "rbac",
        "policy_namespace": "shop",
        "policy": "api-callers",
        "rule": "2",
        "reason": None,
        "provider": None,
        "operation": "GET /admin",
        "dry_run": False,
        "calls": 3,
        "hours": 2,
        "minutes": 3,
        "first_seen": "2026-03-02T10:00:00Z",
        "last_seen": "2026-03-02T12:00:00Z",
        "request_ids": ["r-0", "r-90", "r-7200"],
    }
    others = {(one["source"], one["principal"], one["policy"], one["rule"]) for one in found["denials"][1:]}
    assert others == {
        ("shop/cron", linkerd_id("cron"), "server/db-http", "httproute/admin"),
        (HOSTILE, None, HOSTILE, None),
    }


def test_windows_filters_and_trials(told: dict[str, tuple[int, str, str]]) -> None:
    within = document(told, "window")
    assert (within["since"], within["until"]) == ("2026-03-02T10:01:00Z", "2026-03-02T11:00:00Z")
    assert [(one["calls"], one["request_ids"]) for one in within["denials"]] == [(1, ["r-90"])]
    assert {one["destination"] for one in document(told, "service")["denials"]} == {"shop/db"}
    trials = document(told, "trials")["denials"]
    assert len(trials) == 4
    assert [(one["policy"], one["calls"]) for one in trials if one["dry_run"]] == [("server/api-http", 1)]
    assert told["nowhere"][:2] == (0, "0 calls refused, 0 entries\n")


def test_the_table(told: dict[str, tuple[int, str, str]]) -> None:
    code, out, err = told["table"]
    assert (code, err) == (0, "")
    shown = out.splitlines()
    assert shown[0].split()[:5] == ["calls", "first", "seen", "last", "seen"]
    assert "rbac shop/api-callers rule 2" in shown[1] and shown[1].startswith("    3  2026-03-02 10:00:00")
    assert "\x1b" not in out and r"\x1b[31m" in out
    assert shown[-1] == "5 calls refused, 3 entries"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("backwards", "--until -2h is not after --since -1h"),
        ("no time", "'yesterday' is no time, expected RFC 3339"),
        ("no store", "no store there, expected one that `eastwatch ingest` has made"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(told: dict[str, tuple[int, str, str]], name: str, says: str) -> None:
    code, out, err = told[name]
    assert (code, out) == (2, "")
    assert says in err and err.count("\n") == 1
