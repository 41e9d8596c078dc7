"""Linkerd's documents together, with the settings of the control plane where they are among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from analyzers.policy.documents import Value
from analyzers.policy.formula import Program, Transport
from analyzers.policy.linkerd import compile, read
from analyzers.policy.linkerd.mesh_settings import read_config_map
from analyzers.policy.linkerd.model import Document, Settings
from analyzers.policy.workloads import Cluster, Workload

KINDS: Mapping[tuple[str, str], Callable[[Value, str], Document | Settings | None]] = {
    **read.KINDS,
    ("", "ConfigMap"): read_config_map,
}
"""API group and kind → reader(document, namespace of those that name none); None = it says nothing here."""


def program(documents: Sequence[Any], destination: Workload, cluster: Cluster, transport: Transport) -> Program:
    """What decides about calls that arrive at `destination`; `documents` are what readers of `KINDS` made."""
    settings = next((one for one in documents if isinstance(one, Settings)), Settings())
    others = [cast(Document, one) for one in documents if not isinstance(one, Settings)]
    return compile.program(others, destination, cluster, settings, transport)
