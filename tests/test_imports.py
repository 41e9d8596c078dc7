"""Rooms import only what the import table of docs/architecture.md allows, and every module says what it is for."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parent.parent
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
ROOMS = LINTER["root_packages"]
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for room in (*ROOMS, "tests", "benchmarks")
    for path in (ROOT / room).rglob("*.py")
    if "__pycache__" not in path.parts
)


def test_every_import_is_allowed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.chdir(ROOT)
    code = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert code == EXIT_STATUS_SUCCESS, capfd.readouterr().out


def test_a_forbidden_import_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """The same check with a rule that the code must break."""
    monkeypatch.chdir(ROOT)
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[tool.importlinter]\nroot_packages = ["collector", "storage"]\n[[tool.importlinter.contracts]]\n'
        'name = "no"\ntype = "forbidden"\nsource_modules = ["collector"]\nforbidden_modules = ["storage"]\n'
    )
    assert lint_imports(config_filename=str(rules), no_cache=True) != EXIT_STATUS_SUCCESS
    assert "collector.ingest.bounds -> storage.engine" in capfd.readouterr().out


def test_every_room_is_linted() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "tests"}
    assert rooms == set(ROOMS)


def test_only_the_composition_root_may_import_everything() -> None:
    bound = {room for contract in LINTER["contracts"] for room in contract["source_modules"]}
    assert set(ROOMS) - bound == {"eastwatch"}
    for contract in LINTER["contracts"]:
        if contract["source_modules"][0] in ROOMS:
            assert "eastwatch" in contract["forbidden_modules"], contract["name"]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_opens_with_what_it_is_for(module: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / module).read_text()))
    assert text, f"{module} has no docstring"
    first = text.splitlines()[0]
    assert len(first) > 10 and not first.endswith(","), f"{module}: {first!r}"
