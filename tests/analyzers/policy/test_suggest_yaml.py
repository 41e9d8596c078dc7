"""Suggested policies as YAML: whatever telemetry names comes back as the same text, whoever reads it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from analyzers.policy.policy_set import read_set
from analyzers.policy.suggest.learn import as_yaml
from analyzers.policy.suggest.report import suggest
from storage.engine import Engine
from tests.analyzers.policy.suggest_store import at, line, stocked, usual

NO_TEXTS = (
    *(
        "true",
        "yes",
        "no",
        "on",
        "Y",
        "n",
        "null",
        "~",
        "",
        "1",
        "010",
        "0o17",
        "0x1f",
        "1e3",
        "1_000",
        "1.0",
        ".inf",
        "+1",
    ),
    *("1:30", "2026-03-02", "-1", "6.02E23"),
)
"""What some reader of YAML takes for something else."""
HOSTILE = (
    *NO_TEXTS,
    *("a: b", "a #b", "#", "- a", "? a", "&a", "*a", "!a", "|", ">", "%a", "@a", "`a`", "{a}", "[a]", "'", '"', "---"),
    *("a\n---\nkind: Secret", "a\r\nb", "a\u2028b", "a\u0085b", "\ufeffa", " a ", "a\tb", "<<", "=", "é", "\U0001f600"),
)
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=200))


def policy(label: str, principal: str) -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": label}},
            "rules": [{"from": [{"source": {"principals": [principal]}}]}],
        },
    }


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3))
def test_texts_come_back_from_yaml(pairs: list[tuple[str, str]]) -> None:
    made = [policy(label, principal) for label, principal in pairs]
    assert list(yaml.safe_load_all(as_yaml(made))) == made


@pytest.mark.parametrize("text", NO_TEXTS)
def test_what_looks_like_no_text_stands_in_quotes(text: str) -> None:
    written = as_yaml([policy(text, text)])
    assert written.count(f"'{text}'") == 2, written


@pytest.mark.parametrize("text", ["true", "1", "null", "1e3", "yes", "010", "2026-03-02", "0x1f"])
def test_our_own_reader_takes_them_as_texts(text: str) -> None:
    (found,) = read_set({"suggested.yaml": as_yaml([policy(text, f"td/ns/shop/sa/{text}")]).encode()}).documents
    assert found.model.selector == {"app": text}
    assert found.model.rules[0].sources[0]["principals"] == (f"td/ns/shop/sa/{text}",)


def test_the_head_says_nothing_of_a_strangers(engine: Engine) -> None:
    evil = "spiffe://td/ns/x\n- evil: 1/sa/a"
    stocked(engine, [*usual(), *(line(one, "web", "orders", "GET", "/x", source_principal=evil) for one in (1, 90))])
    written = suggest(engine, "istio", at(0), at(100)).yaml()
    head = [one for one in written.splitlines() if one.startswith("#")]
    assert len(head) == 4 and written.startswith("\n".join(head))
    assert re.fullmatch(r"[\w\s#,.:;()-]+", "\n".join(head))
    assert {one["kind"] for one in yaml.safe_load_all(written)} == {"AuthorizationPolicy"}
