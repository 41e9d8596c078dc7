"""Bytes of an inventory file → objects as plain dictionaries: Kubernetes', and what Consul's catalog lists or prints.

`kubectl get ... -o json|yaml` prints one list; people concatenate documents. JSON and YAML are both read, with several
documents in one file, lists (`kind: List`, `PodList`) flattened. Duplicate keys, anchors and absurd depth are refused:
a reader and the API server would otherwise see different objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from collector.errors import BadSource
from collector.inventory import consul, consul_tables
from storage.yaml_nodes import MAX_DEPTH, BadYaml, compose

MAX_BYTES = 256 << 20
Object = dict[str, Any]


def read_objects(name: str, content: bytes) -> list[Object]:
    """The objects of one file, lists flattened; each has `kind` and `metadata`.

    Args:
        name: of the file, for messages.
        content: JSON, YAML or tables of `consul catalog`, UTF-8 (a byte-order mark is skipped).

    Raises:
        BadSource: not readable as such; says where.
    """
    if len(content) > MAX_BYTES:
        raise BadSource(f"{name}: {len(content) >> 20} MiB, expected at most {MAX_BYTES >> 20} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSource(
            f"{name}: byte {error.start} is not UTF-8, expected Kubernetes objects as JSON or YAML"
        ) from None
    if consul_tables.is_table(text):
        return [*consul_tables.objects(name, text)]
    objects: list[Object] = []
    documents = _json(name, text) if text.lstrip()[:1] in ("{", "[") else _yaml(name, text)
    for number, document in enumerate(documents, 1):
        if consul.is_catalog(document):
            objects.extend(_consul(f"{name}: document {number}", document))
        elif document is not None:
            objects.extend(_flatten(f"{name}: document {number}", document, "", 0))
    if not objects and not text.strip():
        raise BadSource(f"{name}: empty, expected Kubernetes objects as JSON or YAML")
    return objects


def _flatten(place: str, document: Any, kind: str, depth: int) -> Iterator[Object]:
    if isinstance(document, list):
        for index, item in enumerate(document):  # pyright: ignore[reportUnknownVariableType]
            yield from _flatten(f"{place}[{index}]", item, kind, depth + 1)
        return
    if not isinstance(document, dict) or depth > 4:
        raise BadSource(f"{place} is {_shown(document)}, expected a Kubernetes object or a list of them")
    found: Object = document  # pyright: ignore[reportUnknownVariableType]
    own = found.get("kind", kind)
    if not isinstance(own, str) or not own:
        raise BadSource(f"{place} has no kind, expected a Kubernetes object such as Pod, or a List")
    items = found.get("items")
    if own.endswith("List") and isinstance(items, list | None):
        for index, item in enumerate(items or ()):  # pyright: ignore[reportUnknownVariableType]
            yield from _flatten(f"{place}: items[{index}]", item, own.removesuffix("List"), depth + 1)
        return
    metadata = found.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):  # pyright: ignore[reportUnknownMemberType]
        raise BadSource(f"{place} ({own}) has no metadata.name, expected a Kubernetes object")
    yield {**found, "kind": own}


def _consul(place: str, document: Any) -> Iterator[Object]:
    for index, found in enumerate(consul.objects(document)):
        service = found["metadata"]["name"]
        if not isinstance(service, str) or not service:
            raise BadSource(f"{place}[{index}]: the service is {_shown(service)}, expected a name")
        yield found


def _shown(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"


def _json(name: str, text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            document, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise BadSource(f"{name}: line {error.lineno}, column {error.colno}: {error.msg}, expected JSON") from None
        except RecursionError:
            raise BadSource(f"{name}: nested too deeply, expected at most {MAX_DEPTH} levels") from None
        except ValueError as error:
            raise BadSource(f"{name}: {error}") from None
        _check_depth(name, document)
        yield document


def _unique(pairs: list[tuple[str, Any]]) -> Object:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice[:60]!r} stands twice in one object, expected it once")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _check_depth(name: str, document: Any) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise BadSource(f"{name}: nested too deeply, expected at most {MAX_DEPTH} levels")


def _yaml(name: str, text: str) -> Iterator[Any]:
    loader = yaml.CSafeLoader("")
    try:
        for root in compose(text, "Kubernetes objects as JSON or YAML"):
            yield loader.construct_document(root)
    except BadYaml as error:
        raise BadSource(f"{name}: {error}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise BadSource(f"{name}: {str(error)[:200]!r}, expected Kubernetes objects as JSON or YAML") from None
    finally:
        loader.dispose()
