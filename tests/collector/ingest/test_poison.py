"""The poison rule."""

from __future__ import annotations

import pytest

from collector.contract import DeadLetter
from collector.errors import Poisoned
from collector.ingest.poison import PoisonRule

SAMPLE = DeadLetter(0, 0, b'{"a": 1}\xff', "looks like calls_json", "istio_text")


def test_a_small_input_is_never_poison() -> None:
    PoisonRule(0.9, 100).judge("t", "f", 99, 99, SAMPLE)


def test_a_stretch_over_several_batches_is_judged_together() -> None:
    rule = PoisonRule(0.9, 100)
    rule.judge("t", "f", 60, 60, SAMPLE)
    with pytest.raises(Poisoned) as caught:
        rule.judge("t[0] at 60", "istio_text", 60, 50, SAMPLE)
    text = str(caught.value)
    assert text.startswith("t[0] at 60: 110 of the last 120 records are not readable as format=istio_text")
    assert "looks like calls_json" in text
    assert "\\xff" in text
    assert "\n" not in text


def test_good_records_save_a_stretch_and_the_next_one_starts_afresh() -> None:
    rule = PoisonRule(0.9, 100)
    rule.judge("t", "f", 100, 89, SAMPLE)
    rule.judge("t", "f", 99, 99, SAMPLE)
    with pytest.raises(Poisoned):
        rule.judge("t", "f", 1, 1, SAMPLE)
