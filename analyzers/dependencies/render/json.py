"""The map as the JSON document of `eastwatch map --json`."""

from __future__ import annotations

import json

from analyzers.dependencies.model import ServiceMap


def to_json(found: ServiceMap) -> str:
    """One line of JSON in ASCII: hostile names cannot reach a terminal, and lone surrogates cannot break the output."""
    return json.dumps(found.to_document(), ensure_ascii=True, allow_nan=False)
