"""Blame on recorded faults: most causes in first place, none made up where nothing happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.latency_petshop import PERIOD_S, SET, issues, ours

DATA = Path(__file__).parents[5] / "shared" / "data"

pytestmark = pytest.mark.skipif(not (DATA / SET).exists(), reason=f"needs the data set {SET} beside the repository")


def test_recorded_faults_are_blamed_on_their_cause() -> None:
    ranked = [(issue.cause, ours(issue)) for issue in issues(DATA)]
    assert len(ranked) == 16
    assert sum(rank[:1] == [cause] for cause, rank in ranked) >= 15


def test_without_a_fault_hardly_anybody_is_named() -> None:
    named = []
    for model in {(one.traffic, one.metric): one for one in issues(DATA)}.values():
        times = PERIOD_S * np.arange(5.0)
        for start in range(0, 550, 25):
            metrics = {name: values[start : start + 5] for name, values in model.normal.items()}
            quiet = replace(model, metrics=metrics, times_s=times, noticed_s=times[2])
            named.append(ours(quiet)[:1])
    assert len(named) == 88
    print(f"named in {np.mean([bool(each) for each in named]):.3f} of {len(named)} quiet windows", named)
    assert np.mean([bool(each) for each in named]) <= 0.2
