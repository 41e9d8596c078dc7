"""The parts of the documentation that the code itself tells: tables and help texts, between marks in `docs/*.md`.

    <!-- generated: NAME -->
    ...
    <!-- end -->

`python -m eastwatch.pages` writes them, tests/test_docs.py compares them with the code. What stands outside the marks
is written by people and never touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from eastwatch.pages.cli import command_blocks
from eastwatch.pages.formats import FORMAT_BLOCKS
from eastwatch.pages.settings import SETTING_BLOCKS

_BLOCK = re.compile(r"<!-- generated: (?P<name>[^\n]*?) -->\n.*?^<!-- end -->", re.DOTALL | re.MULTILINE)


def blocks() -> Mapping[str, Callable[[], str]]:
    """Every generated part: its name -> what makes its Markdown."""
    return {**SETTING_BLOCKS, **FORMAT_BLOCKS, **command_blocks()}


def named(page: str) -> list[str]:
    """The names of the generated parts of a page, in order."""
    return [match["name"] for match in _BLOCK.finditer(page)]


def refreshed(page: str) -> str:
    """`page` with its generated parts as the code tells them now.

    Raises:
        KeyError: the page asks for a part that does not exist.
    """
    known = blocks()

    def fresh(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in known:
            raise KeyError(f"no generated part {name!r}, expected one of {', '.join(sorted(known))}")
        return f"<!-- generated: {name} -->\n{known[name]().strip()}\n<!-- end -->"

    return _BLOCK.sub(fresh, page)
