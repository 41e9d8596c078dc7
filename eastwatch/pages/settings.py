"""Every setting as a table row: its place in the file, its environment variable, unit, default and meaning.

The tree is `eastwatch.settings.Settings`. Its branches are pydantic models, whose fields carry their help, or
dataclasses, whose fields are explained by the text that follows each.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any, cast, get_type_hints

from pydantic import BaseModel

from eastwatch.pages.markdown import code, table
from eastwatch.settings import PREFIX, Settings

_UNITS: Mapping[str, str] = {
    "bytes": "bytes",
    "messages": "messages",
    "records": "records",
    "share": "share, 0 to 1",
    "days": "days",
    "s": "seconds",
    "keys": "keys",
    "depth": "levels",
    "connections": "connections",
    "work": "requests",
    "values": "words",
    "templates": "templates",
    "rules": "list of tables",
    "sources": "list of texts",
    "peers": "table of tables",
    "permissive": "true or false",
    "ratio": "times",
    "ms": "milliseconds",
    "calls": "calls",
}
"""The last word of a setting's name -> its unit."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `path` is its place in eastwatch.toml: `store`, or `ingest.batch_bytes`."""

    path: str
    default: Any
    help: str
    limits: str = ""

    @property
    def environment(self) -> str:
        """The environment variable that gives it."""
        return PREFIX + self.path.upper().replace(".", "__")

    @property
    def unit(self) -> str:
        """Its unit, or what kind of text it is.

        Raises:
            KeyError: a number whose name does not end in its unit.
        """
        if isinstance(self.default, bool):
            return "true or false"
        return "text" if isinstance(self.default, str) else _UNITS[self.path.replace(".", "_").rpartition("_")[2]]


def settings() -> list[Setting]:
    """Every setting, in the order of the tree."""
    return list(_of(Settings, ""))


def _of(model: type[Any], prefix: str) -> Iterator[Setting]:
    for name, default, about, limits in _fields(model):
        if isinstance(default, BaseModel) or is_dataclass(default):
            yield from _of(cast("type[Any]", type(default)), f"{prefix}{name}.")
        else:
            yield Setting(prefix + name, default, " ".join(about.split()), limits)


def _fields(model: type[Any]) -> Iterator[tuple[str, Any, str, str]]:
    """Name, default, help and limits of each field."""
    if issubclass(model, BaseModel):
        for name, info in model.model_fields.items():
            yield name, info.get_default(call_default_factory=True), info.description or "", _limits(info.metadata)
        return
    texts, types = _texts(model), get_type_hints(model, include_extras=True)
    for field in fields(model):
        rules = [rule for info in getattr(types[field.name], "__metadata__", ()) for rule in info.metadata]
        yield field.name, field.default, _uncapitalized(texts.get(field.name, "")), _limits(rules)


def _uncapitalized(text: str) -> str:
    return text[:1].lower() + text[1:]


def _limits(metadata: list[Any]) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    found = [
        f"{said} {getattr(rule, name)}" for rule in metadata for name, said in words.items() if hasattr(rule, name)
    ]
    return ", ".join(found)


def _texts(model: type[Any]) -> dict[str, str]:
    """Field -> the string that follows it in the source of a dataclass."""
    body = cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]).body
    found: dict[str, str] = {}
    for before, after in pairwise(body):
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and is_text:
            found[before.target.id] = str(cast(ast.Constant, cast(ast.Expr, after).value).value)
    return found


def _shown(setting: Setting) -> str:
    value = setting.default
    if value is None:
        return "none"
    if isinstance(value, str):
        return code(value) or "empty"
    shown = code(json.dumps(value))
    if setting.unit == "bytes":
        for size, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
            if value >= size and value % size == 0:
                return f"{shown} ({value // size} {name})"
    return shown


def _table(branch: str) -> str:
    """The settings of one branch of the tree; `""` is its top."""
    rows = [
        (
            code(one.path),
            code(one.environment),
            one.unit,
            _shown(one),
            one.help.rstrip(".") + (f" ({one.limits})" if one.limits else ""),
        )
        for one in settings()
        if one.path.rpartition(".")[0] == branch
    ]
    return table(("in eastwatch.toml", "in the environment", "unit", "default", "what it is"), rows)


def _branches() -> list[str]:
    return list(dict.fromkeys(one.path.rpartition(".")[0] for one in settings()))


def _maker(branch: str) -> Callable[[], str]:
    return lambda: _table(branch)


SETTING_BLOCKS: Mapping[str, Callable[[], str]] = {
    f"settings {branch}".strip(): _maker(branch) for branch in _branches()
}
"""`settings` for the top of the tree, `settings BRANCH` for each branch."""
