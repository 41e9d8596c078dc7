"""Rules of the settings: a template that people gave for the paths of a service. It outranks everything learnt."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.operations.fixed import MAX_SEGMENTS, REST

ANY_SERVICE = "*"
_SEGMENT = r"[^/?#;]+"
_MATRIX = r"(?:;[^/?#]*)?"
_HOST = r"^(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)?"
_END = r"/*(?:[?#]|$)"
_HOLE = re.compile(r"\{[^{}/]*\}")


class Rule(NamedTuple):
    """Paths of `service` that fit `template` are called by it.

    `service` is `namespace/service`, a bare service name in any namespace, or `*`. In the template `{name}` stands for
    one segment, `**` at its end for whatever follows; every other segment for itself.
    """

    service: str
    template: str


def problem(rule: Rule) -> str:
    """What is wrong with a rule, or `""`."""
    segments = rule.template.split("/")
    if segments[0] or len(segments) < 2 or not all(segments[1:-1]):
        return f"template {rule.template!r} is no path of words between single slashes"
    if REST in segments[:-1]:
        return f"template {rule.template!r} has ** before its end"
    if len(segments) - 1 > MAX_SEGMENTS + 1:
        return f"template {rule.template!r} has more than {MAX_SEGMENTS + 1} segments"
    if re.search(r"[?#;\s]", rule.template):
        return f"template {rule.template!r} has a query, a parameter or a space"
    if not rule.service or rule.service.count("/") > 1:
        return f"service {rule.service!r} is neither namespace/service, nor a service, nor *"
    return ""


def pattern(template: str) -> str:
    """The template as a regular expression over raw paths, for RE2."""
    segments = [part for part in template.split("/")[1:] if part]
    body = "".join(
        r"(?:/+[^?#]*)?" if part == REST else rf"/+{_SEGMENT if _HOLE.fullmatch(part) else re.escape(part)}{_MATRIX}"
        for part in segments
    )
    return f"{_HOST}{body or '/'}{_END}"


def concerns(rule: Rule, namespace: str, service: str) -> bool:
    """Whether a rule is of this service."""
    return rule.service in (ANY_SERVICE, f"{namespace}/{service}", service)


def first_fit(paths: pa.StringArray, rules: list[Rule]) -> npt.NDArray[np.int32]:
    """For each path the index of the first rule whose template it fits, or -1."""
    fits = np.full(len(paths), -1, np.int32)
    open_rows = np.arange(len(paths))
    for place, rule in enumerate(rules):
        if not len(open_rows):
            break
        hit = pc.match_substring_regex(paths.take(pa.array(open_rows)), pattern(rule.template))
        found = pc.fill_null(hit, False).to_numpy(zero_copy_only=False)
        fits[open_rows[found]] = place
        open_rows = open_rows[~found]
    return fits
