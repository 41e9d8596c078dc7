"""The poison rule."""

from __future__ import annotations

import pytest

from collector.contract import DeadLetter
from collector.errors import Poisoned
from collector.ingest.poison import PoisonRule

SAMPLE = DeadLetter(0, 0, b'{"a": 1}\xff', "looks like calls_json", "istio_text")


def rule() -> PoisonRule:
    return PoisonRule(0.9, 100, "file:a.log")


def test_a_small_input_is_never_poison() -> None:
    rule().judge("t", "f", 99, [SAMPLE] * 99)


def test_a_stretch_over_several_batches_is_judged_together() -> None:
    judge = rule().judge
    judge("t", "f", 60, [SAMPLE] * 60)
    with pytest.raises(Poisoned) as caught:
        judge("t[0] at 60", "istio_text", 60, [SAMPLE] * 50)
    text = str(caught.value)
    assert text.startswith("t[0] at 60: 110 of the last 120 records are not readable as format=istio_text")
    assert "looks like calls_json" in text
    assert "\\xff" in text
    assert "\n" not in text


def test_a_beginning_is_shown_once() -> None:
    letter = DeadLetter(0, 0, b"PAR1\x15\x04", "looks like binary data, begins with b'PAR1'", "auto")
    with pytest.raises(Poisoned) as caught:
        rule().judge("t", "auto", 100, [letter] * 100)
    assert str(caught.value).count("PAR1") == 1


@pytest.mark.parametrize(("format", "says"), [("istio_text", "'file:a.log?format=auto'"), ("auto", "No format")])
def test_the_hint_fits_the_source(format: str, says: str) -> None:
    with pytest.raises(Poisoned, match="poison_records") as caught:
        rule().judge("a.log[0] at 0", format, 100, [SAMPLE] * 100)
    assert says in str(caught.value)


def test_good_records_save_a_stretch_and_the_next_one_starts_afresh() -> None:
    judge = rule().judge
    judge("t", "f", 100, [SAMPLE] * 89)
    judge("t", "f", 99, [SAMPLE] * 99)
    with pytest.raises(Poisoned):
        judge("t", "f", 1, [SAMPLE])
