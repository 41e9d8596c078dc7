"""SOURCE strings: what they mean, and what is said about wrong ones."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import BadSource
from collector.sources.urls import FileUrl, KafkaUrl, OtlpUrl, StdinUrl, parse_source


def test_kafka_in_full() -> None:
    found = parse_source("kafka://u:p%40ss@h1:9093,h2/a,b.c?format=envoy_json&group=G&security=sasl_ssl&ca=/c.pem")
    assert isinstance(found, KafkaUrl)
    assert found.bootstrap == ("h1:9093", "h2:9092")
    assert found.topics == ("a", "b.c")
    assert (found.format, found.group, found.user, found.password) == ("envoy_json", "G", "u", "p@ss")
    assert (found.security, found.mechanism, found.ca, found.verify) == ("SASL_SSL", "PLAIN", "/c.pem", True)
    assert "p@ss" not in repr(found) + found.label
    assert "p%40ss" not in repr(found) + found.label


def test_defaults() -> None:
    found = parse_source("kafka://h/t")
    assert isinstance(found, KafkaUrl)
    assert (found.format, found.group, found.security) == ("auto", "eastwatch", "PLAINTEXT")
    assert parse_source("-") == StdinUrl()
    assert parse_source("stdin:?format=calls_json") == StdinUrl("calls_json")
    assert parse_source("otlp://[::1]:4318") == OtlpUrl("::1", 4318)


@pytest.mark.parametrize(
    ("text", "path", "follow"),
    [
        ("file:/var/log/*.log?format=auto&follow=1", "/var/log/*.log", True),
        ("file:a?b.log", "a?b.log", False),
        ("file:a?b.log?follow=0", "a?b.log", False),
        ("file:///var/log/a", "/var/log/a", False),
    ],
)
def test_file_paths_may_hold_a_question_mark(text: str, path: str, follow: bool) -> None:
    assert parse_source(text) == FileUrl(path, "auto", follow)


def test_pattern_may_hold_commas() -> None:
    found = parse_source("kafka://h/^a{1,2}$?format=auto")
    assert isinstance(found, KafkaUrl)
    assert found.topics == ("^a{1,2}$",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("topic", "expected kafka://HOST:PORT/TOPIC"),
        ("kafka://h", "no topic"),
        ("kafka://h/a b", "no topic name"),
        ("kafka://h/^(", "topic pattern"),
        ("kafka://h:70000/t", "expected HOST:PORT"),
        ("kafka://h/t?frmat=x", "unknown option 'frmat'"),
        ("kafka://h/t?format=", "is empty"),
        ("kafka://h/t?group=a&group=b", "given twice"),
        ("kafka://h/t?security=tls", "expected plaintext, ssl"),
        ("kafka://h/t?security=sasl_ssl", "needs a user"),
        ("kafka://u:secret@h/t?verify=maybe", "expected 0 or 1"),
        ("kafka://h/t?password_file=/nonexistent", "password_file"),
        ("kafka://[/t", "Invalid IPv6"),
        ("file:", "no path"),
        ("otlp://h:1/v1/traces", "nothing behind"),
        ("otlp://h:x", "expected HOST:PORT"),
        ("stdin:?follow=1", "unknown option"),
    ],
)
def test_wrong_ones_say_what_was_expected(text: str, says: str) -> None:
    with pytest.raises(BadSource) as caught:
        parse_source(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=40), st.sampled_from(["", "kafka://", "kafka://h/", "file:", "otlp://", "-?", "kafka://h/t?"]))
def test_any_text_is_a_source_or_refused(text: str, start: str) -> None:
    with contextlib.suppress(BadSource):
        parse_source(start + text)
