"""Where the public data sets are: the directory EASTWATCH_TEST_DATA, or `../shared/data` beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.require import require


def dataset(name: str) -> Path:
    """The directory of the set called `name`; without it the test skips (or fails, see `require`)."""
    root = Path(os.environ.get("EASTWATCH_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
    require("data", (root / name).is_dir(), f"no data set {name}: set EASTWATCH_TEST_DATA to its parent directory")
    return root / name
