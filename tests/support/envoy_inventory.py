"""The Kubernetes list of the test mesh, as `kubectl get pods,services,endpointslices -A -o json` prints it."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any

from tests.support.envoy_topology import Service, Topology

Document = dict[str, Any]


def pod_name(service: Service) -> str:
    """A pod of the service's Deployment: NAME, then the ReplicaSet's and the pod's hash."""
    digest = hashlib.sha256(service.id.encode()).hexdigest()
    letters = "bcdfghjklmnpqrstvwxz2456789"
    tail = "".join(letters[int(digest[i : i + 2], 16) % len(letters)] for i in range(0, 10, 2))
    return f"{_replica_set(service)}-{tail}"


def kubernetes_list(topology: Topology, addresses: Mapping[str, str], started: dt.datetime) -> Document:
    """One `List` with the Pods, Services and EndpointSlices of everything inside the cluster.

    `addresses` gives each service's loopback address by service id; `started` is when all pods began.
    """
    inside = [service for service in topology.services.values() if not service.outside]
    items = [_pod(service, addresses[service.id], started) for service in inside]
    called = [service for service in inside if service.sidecar or service.gateway]
    for index, service in enumerate(called):
        items.append(_service(service, f"10.96.0.{index + 10}"))
        items.append(_endpoint_slice(service, addresses[service.id]))
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}


def _replica_set(service: Service) -> str:
    digest = int(hashlib.sha256(service.id.encode()).hexdigest()[:8], 16) % 10**9
    return f"{service.name}-{digest}"


def _labels(service: Service) -> dict[str, str]:
    if service.gateway:
        return {"app": service.name, "istio": "ingressgateway"}
    return {"app": service.name, "version": service.version}


def _pod(service: Service, address: str, started: dt.datetime) -> Document:
    containers = [{"name": service.name, "image": f"registry.example/{service.name}:{service.version}"}]
    if service.sidecar:
        containers.append({"name": "istio-proxy", "image": "registry.example/proxyv2:1.30"})
    at = started.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(service),
            "namespace": service.namespace,
            "uid": hashlib.md5(service.id.encode(), usedforsecurity=False).hexdigest(),
            "labels": {**_labels(service), "pod-template-hash": _replica_set(service).rpartition("-")[2]},
            "creationTimestamp": at,
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": _replica_set(service), "controller": True}
            ],
        },
        "spec": {"serviceAccountName": service.service_account, "containers": containers},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": at},
    }


def _service(service: Service, cluster_ip: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service.name, "namespace": service.namespace},
        "spec": {
            "clusterIP": cluster_ip,
            "clusterIPs": [cluster_ip],
            "selector": {key: value for key, value in _labels(service).items() if key != "version"},
            "ports": [
                {
                    "name": service.protocol,
                    "port": service.port,
                    "protocol": "TCP",
                    "targetPort": service.port,
                }
            ],
        },
    }


def _endpoint_slice(service: Service, address: str) -> Document:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service.name}-{hashlib.sha256(service.id.encode()).hexdigest()[:5]}",
            "namespace": service.namespace,
            "labels": {"kubernetes.io/service-name": service.name},
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "namespace": service.namespace, "name": pod_name(service)},
            }
        ],
        "ports": [{"name": service.protocol, "port": service.port, "protocol": "TCP"}],
    }
