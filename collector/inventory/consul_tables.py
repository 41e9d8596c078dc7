"""What `consul catalog nodes` and `consul catalog services` print → objects, as from the lists of Consul's HTTP API.

    $ consul catalog nodes -service=redis          (this line as the shell shows it, `$` or `set -x`: optional)
    Node       ID        Address     DC
    worker-01  1b662d97  10.4.5.31   dc1

    $ consul catalog services -tags
    consul
    redis       primary,v1

A table of nodes does not say which service they were asked for. Where the command stands above it, its rows are
instances of that service, at their nodes' addresses; else they are nodes. Without the command, a list of services is
known by the one that every datacenter has: `consul`. Source: Consul's reference, "Commands: catalog" (its examples are
the tests' samples).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from collector.errors import BadSource
from collector.identity.principals import consul_namespace
from collector.identity.socket_addresses import UNKNOWN, ip_bytes
from collector.inventory.consul import KIND

_COMMAND = re.compile(r"[$+>]+ *consul +catalog +(?P<what>nodes|services|datacenters)\b(?P<options>.*)")
_OPTION = re.compile(r"--?(?P<name>service|namespace)[= ]\"?(?P<value>[^\s\"]+)")
_HEADER = re.compile(r"Node {2,}ID {2,}Address {2,}DC\b.*")
_SERVICE = re.compile(r"(?P<name>[^\s:{}\[\]\"'#]+)(?: {2,}\S+)?")
_OF_EVERY_DATACENTER = re.compile(r"consul(?: {2,}\S+)?")
_GAP = re.compile(r" {2,}")

Object = dict[str, Any]


def is_table(text: str) -> bool:
    """Whether `text` is such output, and not a document in YAML."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    if not lines:
        return False
    if _COMMAND.fullmatch(lines[0]) or _HEADER.fullmatch(lines[0]):
        return True
    written = [*filter(None, lines)]
    return all(map(_SERVICE.fullmatch, written)) and any(map(_OF_EVERY_DATACENTER.fullmatch, written))


def objects(name: str, text: str) -> Iterator[Object]:
    """The nodes, instances and services of one file, as objects for `item_of`.

    Args:
        name: of the file, for messages.
        text: for which `is_table` holds.

    Raises:
        BadSource: a line is none of a table; says which.
    """
    what, options = "services", dict[str, str]()
    for number, line in enumerate(text.splitlines(), 1):
        line = line.rstrip()
        if command := _COMMAND.fullmatch(line):
            what = command["what"]
            options = {option["name"]: option["value"] for option in _OPTION.finditer(command["options"])}
        elif _HEADER.fullmatch(line):
            what = "nodes"
        elif line and what == "nodes":
            yield _node(f"{name}: line {number}", line, options)
        elif line and what == "services":
            yield _service(f"{name}: line {number}", line, options)


def _node(place: str, line: str, options: dict[str, str]) -> Object:
    cells = _GAP.split(line)
    if len(cells) < 4 or not all(cells[:4]):
        raise BadSource(f"{place}: {line[:60]!r}, expected a node's name, ID, address and datacenter")
    node, identity, address, datacenter = cells[:4]
    if service := options.get("service"):
        return _instance(service, options, node=node, address=address, datacenter=datacenter)
    known = ip_bytes(address) != UNKNOWN
    addresses = [{"type": "InternalIP", "address": address}] if known else []
    return {"kind": "Node", "metadata": {"name": node, "uid": identity}, "status": {"addresses": addresses}}


def _service(place: str, line: str, options: dict[str, str]) -> Object:
    found = _SERVICE.fullmatch(line)
    if not found:
        raise BadSource(f"{place}: {line[:60]!r}, expected a service's name, and its tags after two spaces")
    return _instance(found["name"], options)


def _instance(name: str, options: dict[str, str], **parts: str) -> Object:
    metadata = {"name": name, "namespace": consul_namespace(options.get("namespace", ""))}
    return {"kind": KIND, "metadata": metadata, "instance": parts}
