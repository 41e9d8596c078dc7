"""What the rooms import is what a user installs: nothing comes from the tools for tests alone."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("analyzers", "api", "collector", "eastwatch", "storage")


def imported(room: str) -> set[str]:
    found: set[str] = set()
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_every_package_that_a_room_imports_is_locked_for_users(room: str) -> None:
    locked = set(re.findall(r"^([a-z0-9_.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    distributions = packages_distributions()
    for package in imported(room):
        names = {name.lower().replace("_", "-") for name in distributions[package]}
        assert names & locked, f"{room} imports {package}, which requirements.lock does not have"
