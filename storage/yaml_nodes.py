"""YAML (and JSON as YAML) as nodes that know their lines, without what a reader and a controller would see differently.

Anchors, keys that stand twice, keys that are no text, absurd depth and types that JSON does not have are refused: a
small file would become a large one, or people and the program that applies the file would read different objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

MAX_DEPTH = 64
TEXT, BOOL, INTEGER = "tag:yaml.org,2002:str", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:int"
NULL, FLOAT = "tag:yaml.org,2002:null", "tag:yaml.org,2002:float"
_AS_TEXT = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
"""Times, and `=`."""
_TAGS = {TEXT, BOOL, INTEGER, NULL, FLOAT, "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}
_EXPECTED = "text, a number, true, false, null, a list or an object"
_SHOWN = 60


class BadYaml(Exception):
    """What is wrong with a text, and in which line; without the name of its file."""


def compose(text: str, expected: str, most: int = 0) -> Iterator[Any]:
    """The root nodes of all documents; times are text, as in JSON.

    Args:
        text: of any number of documents.
        expected: what a message says was expected of it.
        most: how many values (keys, texts, lists, objects) it may have, as each takes time and memory; 0 = any number.

    Raises:
        BadYaml: at the first thing that is refused, or is no YAML.
    """
    _check_events(text, expected, most)
    loader = yaml.CSafeLoader(text)
    try:
        while loader.check_node():
            root = loader.get_node()
            _check_nodes(root)
            yield root
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _problem(error, expected) from None
    finally:
        loader.dispose()


def _check_events(text: str, expected: str, most: int) -> None:
    """Refuse what the C composer must not see: it recurses (100 000 levels end the process), and follows anchors."""
    depth = values = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent):
                raise BadYaml(f"line {line}: an anchor is used, expected each object written out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise BadYaml(f"line {line}: nested too deeply, expected at most {MAX_DEPTH} levels")
            values += isinstance(event, yaml.NodeEvent)
            if 0 < most < values:
                raise BadYaml(f"line {line}: more than {most:,} values, expected fewer")
    except (yaml.YAMLError, ValueError) as error:
        raise _problem(error, expected) from None


def _check_nodes(root: Any) -> None:
    stack = [root]
    while stack:
        node = stack.pop()
        if node.tag in _AS_TEXT:
            node.tag = TEXT
        if node.tag not in _TAGS:
            tag = str(node.tag).rpartition(":")[2][:_SHOWN]
            raise BadYaml(f"line {node.start_mark.line + 1}: a value of type {tag!r}, expected {_EXPECTED}")
        if isinstance(node, yaml.SequenceNode):
            stack.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise BadYaml(f"line {line}: a key is no plain text, expected one")
                if key.value in keys:
                    raise BadYaml(f"line {line}: key {key.value[:_SHOWN]!r} stands twice, expected it once")
                keys.add(key.value)
                stack.append(value)


def _problem(error: Exception, expected: str) -> BadYaml:
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or error).split())[:200]
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return BadYaml(f"{place}{problem}, expected {expected}")
