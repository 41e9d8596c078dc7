"""Findings as people read them: what is said of the cause, one or many, and times with their zone."""

from __future__ import annotations

import io

from rich.console import Console

from analyzers.findings.model import Evidence, Finding, Subject
from analyzers.findings.table import number_of, print_finding, print_findings
from tests.analyzers.records import T0, at

FOUND = Finding(
    id="0123456789abcdef",
    kind="unauthorized",
    severity="high",
    title="shop/batch called shop/orders once",
    subject=Subject("shop/batch", "shop/orders"),
    first_seen=T0,
    last_seen=at(60),
    score=1.0,
    threshold=1.0,
    techniques=(),
    evidence=Evidence("SELECT {row_limit:UInt64}", {"row_limit": 3}),
    false_alarm_if="",
    details={"calls": "1", "cause": "no_sidecar", "likely": "the callee has no sidecar"},
)


def shown(print_: object, what: object) -> str:
    console = Console(file=io.StringIO(), width=400)
    print_(what, console)  # type: ignore[operator]  # pyright: ignore
    return console.file.getvalue()  # type: ignore[attr-defined]  # pyright: ignore


def test_one_finding_says_its_likely_cause_and_how_to_see_the_calls() -> None:
    told = shown(print_finding, FOUND)
    assert "likely cause  the callee has no sidecar (no_sidecar)" in told
    assert not any(line.startswith(("cause", "likely  ")) for line in told.splitlines())
    assert "2026-01-01 10:00:00 to 2026-01-01 10:01:00 UTC" in told
    assert told.index("The statement that shows the calls") < told.index("SELECT {row_limit:UInt64}")


def test_a_list_counts_them_and_says_where_more_is() -> None:
    assert shown(print_findings, [FOUND]).splitlines()[-1].startswith("1 finding; `eastwatch findings show ID`")
    assert shown(print_findings, []).splitlines()[-1] == "0 findings"
    assert [number_of(count) for count in (0, 1, 1200)] == ["0 findings", "1 finding", "1,200 findings"]
