"""One rule in two languages: the buckets, bits and error rule of the SQL against those of Python."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import storage
from analyzers.dependencies.histograms import GAMMA, RELATIVE_ERROR, bucket_of, quantiles_us, value_us
from storage.engine import Engine
from storage.tables import LOGGED_BIT

ROOT = Path(storage.__file__).parent
VIEW = (ROOT / "migrations" / "0010_edges_1m_from_calls.sql").read_text()
ADDRESSES = (ROOT / "sql" / "dependencies" / "address_edges.sql").read_text()
DURATIONS = st.integers(0, 10**12)


def exact(durations: list[int], share: float) -> int:
    """Nearest rank, from the sorted values themselves."""
    return sorted(durations)[max(math.ceil(share * len(durations)), 1) - 1]


@given(st.lists(DURATIONS, min_size=1, max_size=50))
def test_quantiles_are_nearest_rank_within_the_relative_error(durations: list[int]) -> None:
    buckets, counts = np.unique(bucket_of(np.array(durations, np.uint64)), return_counts=True)
    shares = (0.01, 0.5, 0.95, 1.0)
    found = quantiles_us(zip(buckets.tolist(), counts.tolist(), strict=True), shares)
    assert found is not None
    for share, value in zip(shares, found, strict=True):
        assert value == pytest.approx(exact(durations, share), rel=RELATIVE_ERROR * 1.0001)


def test_an_empty_histogram_has_no_quantiles() -> None:
    assert quantiles_us([], (0.5,)) is None
    assert quantiles_us([(3, 0)], (0.5,)) is None


@given(st.lists(DURATIONS, max_size=20), st.lists(DURATIONS, max_size=20))
def test_merging_two_histograms_is_the_histogram_of_both(left: list[int], right: list[int]) -> None:
    def counted(durations: list[int]) -> dict[int, int]:
        buckets, counts = np.unique(bucket_of(np.array(durations, np.uint64)), return_counts=True)
        return dict(zip(buckets.tolist(), counts.tolist(), strict=True))

    merged = counted(left)
    for bucket, count in counted(right).items():
        merged[bucket] = merged.get(bucket, 0) + count
    assert merged == counted(left + right)


def test_sql_and_python_put_durations_into_the_same_buckets(shared_store: Engine) -> None:
    (rule,) = set(re.findall(r"CAST\(if\(duration_us = 0.*?'Int16'\)", VIEW))
    assert rule in ADDRESSES
    random = np.random.default_rng(7)
    durations = np.unique(np.concatenate([[0, 1, 2, 10**12], random.lognormal(9, 4, 5000)]).astype(np.uint64))
    found = shared_store.query(
        f"SELECT {rule} AS bucket FROM (SELECT arrayJoin({{durations:Array(UInt64)}}) AS duration_us)",
        {"durations": durations.tolist()},
    )
    assert found["bucket"].to_pylist() == bucket_of(durations).tolist()
    values = value_us(np.array(found["bucket"].to_pylist()))
    assert np.allclose(values, durations, rtol=RELATIVE_ERROR * 1.0001)


def test_the_ratio_in_the_sql_is_the_one_in_python() -> None:
    (ratio,) = set(re.findall(r"log\(duration_us\) / ([0-9.]+)", VIEW))
    assert float(ratio) == pytest.approx(math.log(GAMMA), abs=1e-15)


@pytest.mark.parametrize("text", [VIEW, ADDRESSES], ids=["view", "address edges"])
def test_bits_of_logged_are_those_of_the_table(text: str) -> None:
    said = {
        "status": r"weight > [01] AND bitTest\(logged, (\d+)\) AND protocol != 'tcp'",
        "grpc_status": r"weight > [01] AND bitTest\(logged, (\d+)\) AND \(grpc_status",
        "duration_us": r"sumIf\(weight, bitTest\(logged, (\d+)\)\) AS timed",
        "bytes_sent": r"countIf\(bitTest\(logged, (\d+)\)\) AS sized",
    }
    bits = {name: {int(bit) for bit in re.findall(rule, text)} for name, rule in said.items()}
    assert bits == {name: {LOGGED_BIT[name]} for name in said}


def test_both_places_call_the_same_calls_failed() -> None:
    rule = re.compile(r"sumIf\(weight, (status >= 500.*?)\) AS errors", re.DOTALL)
    failed = [" ".join(rule.findall(text)[0].split()) for text in (VIEW, ADDRESSES)]
    assert failed[0] == failed[1]
