"""Who stands at an end of a Hubble flow: a pod, a reserved identity of Cilium, or the world outside.

Each distinct object of a batch is read once. Text that is none of Hubble's gives an end that nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from collector.decode.flow_rows import as_objects, labels_of, parsed, text_in, texts_in
from collector.envoy.endpoints import NO_END, End
from collector.identity.kubernetes import VERSION_LABELS, deployment_of, first_label, workload_of
from collector.identity.principals import MAX_LENGTH

# The first that a node has is its name: an API server is a remote node too.
_RESERVED = ("kube-apiserver", "ingress", "health", "host", "remote-node")


class Side(NamedTuple):
    """One side of a flow."""

    end: End = NO_END
    """A reserved identity is a service of that name (`reserved:host`); the world's is its DNS name, if known."""
    is_world: bool = False


def side_of(text: str) -> Side:
    """A flow's `source` or `destination`."""
    given = parsed(text)
    if not isinstance(given, dict):
        return Side()
    record: Mapping[str, Any] = given
    labels = texts_in(record, "labels")
    namespace, pod = text_in(record, "namespace")[:MAX_LENGTH], text_in(record, "pod_name")[:MAX_LENGTH]
    if pod:
        cluster = text_in(record, "cluster_name")[:MAX_LENGTH]
        version = first_label(labels_of(labels), VERSION_LABELS)[:MAX_LENGTH]
        workload = _workload(record) or workload_of(pod)
        return Side(End("" if cluster == "default" else cluster, namespace, workload, "", version, pod))
    reserved = {label.removeprefix("reserved:") for label in labels if label.startswith("reserved:")}
    if any(name.startswith("world") for name in reserved):
        names = (label.removeprefix("fqdn:") for label in labels if label.startswith("fqdn:"))
        return Side(End(service=next((name for name in names if "*" not in name), "")[:MAX_LENGTH]), is_world=True)
    name = next((name for name in _RESERVED if name in reserved), "")
    return Side(End(service=f"reserved:{name}")) if name else Side()


def _workload(record: Mapping[str, Any]) -> str:
    for first in as_objects(record.get("workloads"))[:1]:
        name = text_in(first, "name")[:MAX_LENGTH]
        return deployment_of(name) if text_in(first, "kind") == "ReplicaSet" else name
    return ""


def first_name(text: str) -> str:
    """The first DNS name of a list, lower case; a name that is too long is none."""
    listed = parsed(text)
    names: Sequence[Any] = listed if isinstance(listed, list) else ()
    first = next((name for name in names if isinstance(name, str)), "").rstrip(".").lower()
    return first if len(first) <= MAX_LENGTH else ""


def service_of(text: str) -> tuple[str, str]:
    """Namespace and name of the Kubernetes service that was asked for."""
    record = parsed(text)
    if not isinstance(record, dict):
        return "", ""
    return text_in(record, "namespace")[:MAX_LENGTH], text_in(record, "name")[:MAX_LENGTH]


def policies_of(text: str) -> str:
    """`NAMESPACE/NAME` (`NAME` for those of the whole cluster) of the policies in a list, joined by commas."""
    names = (
        "/".join(filter(None, (text_in(one, "namespace"), text_in(one, "name")))) for one in as_objects(parsed(text))
    )
    return ",".join(filter(None, names))[:MAX_LENGTH]
