"""What a test needs from the machine: without it the test skips, unless EASTWATCH_REQUIRE names it; then it fails."""

from __future__ import annotations

import os

import pytest


def require(name: str, available: bool, why: str) -> None:
    """Unless `available`, skip, or fail when the comma list EASTWATCH_REQUIRE holds `name`; `why` = what is missing."""
    if available:
        return
    if name in {part.strip() for part in os.environ.get("EASTWATCH_REQUIRE", "").split(",")}:
        pytest.fail(f"{name} is required by EASTWATCH_REQUIRE, but {why}")
    pytest.skip(f"{name}: {why}")
