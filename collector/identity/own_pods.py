"""The pods that wrote a batch's lines, from what log shippers say of them (`operators.METADATA`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from collector.coded import Codes, Pool, groups
from collector.identity.kubernetes import NO_POD, Pod, pod_of

_NAMES = ("pod_namespace", "pod_name", "cluster")


class OwnPod(NamedTuple):
    """A pod and its labels."""

    pod: Pod = NO_POD
    labels: Mapping[str, str] = {}


def own_pods(metadata: Mapping[str, pa.Array], rows: int, pool: Pool) -> tuple[list[OwnPod], Codes]:
    """The distinct pods that wrote the lines, and each line's. One pod has one set of labels in a batch: its first.

    Args:
        metadata: any of the columns of `operators.METADATA`, `rows` long.
        rows: how many lines there are.
        pool: interns the names.
    """
    labels = metadata.get("pod_labels")
    columns = [metadata.get(name) for name in _NAMES]
    if all(column is None or column.null_count == rows for column in (*columns, labels)):
        return [OwnPod()], np.zeros(rows, np.int32)
    codes = [np.zeros(rows, np.int32) if column is None else pool.encode(column) for column in columns]
    sizes = [] if labels is None else [np.diff(labels.offsets.to_numpy())]
    first, group = groups([*codes, *sizes])
    pods: list[OwnPod] = []
    for row in first.tolist():
        namespace, name, cluster = (pool.values[code[row]] for code in codes)
        known = {} if labels is None else dict(labels[row].as_py() or ())
        pods.append(OwnPod(pod_of(name, namespace, known, cluster), known))
    return pods, group
