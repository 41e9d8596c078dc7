"""The table of denials: its words for what refused, its sums, and that no text of a stranger steers a terminal."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from analyzers.policy.denials import Denial
from analyzers.policy.render.denials_table import COLUMNS, denial_lines, print_denials, refused_by
from tests.analyzers.records import at

ENTRY = Denial(
    source="shop/web",
    destination="shop/api",
    principal="spiffe://cluster.local/ns/shop/sa/web",
    kind="rbac",
    policy_namespace="shop",
    policy="api-callers",
    rule="2",
    reason=None,
    provider=None,
    operation="GET /admin",
    dry_run=False,
    calls=1200,
    hours=1,
    minutes=3,
    first_seen=at(0),
    last_seen=at(150.5),
    request_ids=("r-1",),
)
UNNAMED = {"policy_namespace": None, "policy": None, "rule": None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "rbac shop/api-callers rule 2"),
        ({"dry_run": True}, "on trial: rbac shop/api-callers rule 2"),
        ({**UNNAMED, "reason": "no_allow"}, "rbac (no policy allows it)"),
        ({**UNNAMED}, "rbac"),
        ({**UNNAMED, "kind": "jwt", "reason": "Jwt_is_missing"}, "jwt (Jwt_is_missing)"),
        ({"kind": "ext_authz", "provider": "opa"}, "ext_authz opa shop/api-callers rule 2"),
        ({**UNNAMED, "kind": "ext_authz", "reason": "error"}, "ext_authz (the authorizer could not be asked)"),
        ({**UNNAMED, "kind": "ztunnel", "reason": "policy_changed"}, "ztunnel (a policy changed while it was open)"),
        (
            {"kind": "linkerd", "policy": "server/api-http", "rule": None, "reason": "no_allow"},
            "linkerd shop/server/api-http",
        ),
        ({**UNNAMED, "kind": "unnamed"}, "not named"),
        ({"kind": "network", "rule": None, "reason": "POLICY_DENIED"}, "network shop/api-callers (POLICY_DENIED)"),
    ],
)
def test_what_refused_in_words(changes: dict[str, object], words: str) -> None:
    assert refused_by(replace(ENTRY, **changes)) == words


def test_a_table() -> None:
    trial = replace(ENTRY, dry_run=True, calls=7, operation=None, principal=None)
    lines = list(denial_lines([ENTRY, trial]))
    assert [lines[0].index(name) for name in COLUMNS] == sorted(lines[0].index(name) for name in COLUMNS)
    assert lines[1].split("  ")[0] == "1,200"
    for cell in ("2026-01-01 10:00:00", "2026-01-01 10:02:30", "shop/web", "shop/api", "GET /admin", "rule 2"):
        assert cell in lines[1]
    assert lines[2].count("?") == 2
    assert lines[3:] == [
        "",
        "1,200 calls refused, 1 entries; 7 let pass that policies on trial would refuse, 1 entries",
    ]
    assert list(denial_lines([])) == ["0 calls refused, 0 entries"]


def test_texts_are_only_texts() -> None:
    hostile = "\x1b[31mroot\n\u202e[red]"
    texts = dict.fromkeys(("source", "destination", "principal", "policy", "rule", "reason", "operation"), hostile)
    lines = denial_lines([replace(ENTRY, policy_namespace=hostile, provider=hostile, **texts)])
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert r"\x1b[31mroot\x0a\u202e[red]" in lines[1]
    shown = StringIO()
    print_denials([replace(ENTRY, source=hostile)], Console(file=shown, force_terminal=True, width=40))
    assert "\x1b[31m" not in shown.getvalue() and "[red]" in shown.getvalue()


def test_a_long_text_is_cut() -> None:
    (_, row, *_) = denial_lines([replace(ENTRY, operation="x" * 5000, policy="y" * 5000, principal="z" * 5000)])
    assert len(row) < 600
