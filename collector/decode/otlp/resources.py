"""What an OTLP resource says about its owner: cluster, namespace, service, workload, version, pod, and all as a map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.otlp.attributes import Attributes
from collector.decode.otlp.text import names, offsets_of
from collector.identity.sightings import POD_IP

# In order: the first that the resource carries.
IDENTITY: dict[str, tuple[str, ...]] = {
    "cluster": ("k8s.cluster.name",),
    "namespace": ("k8s.namespace.name", "service.namespace"),
    "service": ("service.name",),
    "workload": (
        "k8s.deployment.name",
        "k8s.statefulset.name",
        "k8s.daemonset.name",
        "k8s.cronjob.name",
        "k8s.job.name",
    ),
    "version": ("service.version",),
    "pod": ("k8s.pod.name",),
    POD_IP: ("k8s.pod.ip",),
}
_WANTED = frozenset(key.encode() for keys in IDENTITY.values() for key in keys)

MAX_MAP_BYTES = 8192
"""A resource stands in every row of its records: what passes this many bytes of keys and values is left out."""
_LARGE_BYTES = 2048


def identity_columns(resources: pa.StructArray, of_row: npt.NDArray[np.int32]) -> dict[str, pa.Array]:
    """The identity columns and `resource` map of each row.

    Args:
        resources: one struct with `attributes` for each resource.
        of_row: the resource of each row.
    """
    attributes = Attributes(resources.field("attributes"))
    attributes.index(_WANTED)
    rows = pa.array(of_row)
    columns: dict[str, pa.Array] = {}
    for column, keys in IDENTITY.items():
        picked = attributes.pick(*keys)
        if picked.any:
            encoded = names(picked.text())
            columns[column] = pa.DictionaryArray.from_arrays(encoded.indices.take(rows), encoded.dictionary)
    columns["resource"] = _maps(attributes).take(rows)
    return columns


def _maps(attributes: Attributes) -> pa.MapArray:
    """The attribute maps, none longer than `MAX_MAP_BYTES`: large entries of a longer one go first."""
    maps = attributes.maps()
    sizes = pc.add(pc.binary_length(maps.keys), pc.binary_length(maps.items)).to_numpy().astype(np.int64)
    starts = offsets_of(attributes.counts)
    total = offsets_of(sizes)
    if not (total[starts[1:]] - total[starts[:-1]] > MAX_MAP_BYTES).any():
        return maps
    too_long = total[starts[1:]] - total[starts[:-1]] > MAX_MAP_BYTES
    large = (sizes > _LARGE_BYTES) & too_long[attributes.owner]
    total = offsets_of(np.where(large, 0, sizes))
    keep = ~large & (total[1:] - total[starts[:-1]][attributes.owner] <= MAX_MAP_BYTES)
    counts = np.bincount(attributes.owner[keep], minlength=attributes.records)
    kept = pa.array(keep)
    return pa.MapArray.from_arrays(
        pa.array(offsets_of(counts), pa.int32()), maps.keys.filter(kept), maps.items.filter(kept)
    )
