"""A topology placed on a cluster: pods with names, addresses and lifetimes, service addresses, runs of jobs.

Everything follows from the seed. Job pods use one address again and again, as busy clusters do: who had it depends on
the time.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eastwatch.world.model import Service, Topology, Version

NODES = ("node-a", "node-b", "node-c")
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_DAY_US = 86_400_000_000
_JOB_ADDRESS = "10.244.2.250"
_JOB_SETTLES_US = 30_000_000


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod. `ended_us` is None while it runs; times are microseconds since 1970."""

    index: int
    service: Service
    version: Version
    name: str
    uid: str
    address: str
    node: str
    workload: str
    owner_kind: str
    owner_name: str
    started_us: int
    ended_us: int | None = None

    @property
    def labels(self) -> dict[str, str]:
        """As a careful team would label it; the canonical ones are what Istio's injector adds."""
        labels = {"app": self.service.name, "version": self.version.name}
        if self.service.gateway:
            labels["istio"] = "ingressgateway"
        if self.service.meshed:
            labels["service.istio.io/canonical-name"] = self.service.name
            labels["service.istio.io/canonical-revision"] = self.version.name
        if self.owner_kind == "ReplicaSet":
            labels["pod-template-hash"] = self.owner_name.rsplit("-", 1)[1]
        elif self.owner_kind == "Job":
            labels["batch.kubernetes.io/job-name"] = self.owner_name
        else:
            labels["statefulset.kubernetes.io/pod-name"] = self.name
        return labels


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job: its pod calls between `start_us` and `end_us`."""

    service: Service
    pod: int
    start_us: int
    end_us: int


class Cluster:
    """Pods and addresses of a topology between two times.

    Args:
        topology: what to place.
        seed: decides every name.
        start_us: begin, microseconds since 1970; pods of services are some days older.
        end_us: end; jobs due in [start_us, end_us) get their pods.
    """

    def __init__(self, topology: Topology, seed: int, start_us: int, end_us: int) -> None:
        self.topology = topology
        self._rng = np.random.default_rng([seed, 0xC1])
        self.pods: list[Pod] = []
        self.service_address: dict[str, str] = {}
        self.runs: list[Run] = []
        self._members: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        for position, service in enumerate(topology.services):
            if service.served:
                self.service_address[service.id] = f"10.96.{20 + position // 8}.{11 + 29 * (position % 8)}"
            if service.kind != "CronJob":
                self._place(service, start_us)
        self._schedule(start_us, end_us)

    def members(self, service: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Pod indices of a service and their cumulative share of its traffic."""
        return self._members[service]

    def _token(self, length: int) -> str:
        return "".join(_SUFFIX[i] for i in self._rng.integers(0, len(_SUFFIX), length).tolist())

    def _uid(self) -> str:
        return str(uuid.UUID(bytes=self._rng.bytes(16), version=4))

    def _place(self, service: Service, start_us: int) -> None:
        indices: list[int] = []
        weights: list[float] = []
        whole = sum(version.share for version in service.versions)
        for version in service.versions:
            workload = service.name if len(service.versions) == 1 else f"{service.name}-{version.name}"
            replica_set = f"{workload}-{self._token(10)}"
            age_us = int(self._rng.integers(_DAY_US, 20 * _DAY_US))
            for replica in range(version.replicas):
                index = len(self.pods)
                stateful = service.kind == "StatefulSet"
                node = index % len(NODES)
                self.pods.append(
                    Pod(
                        index=index,
                        service=service,
                        version=version,
                        name=f"{workload}-{replica}" if stateful else f"{replica_set}-{self._token(5)}",
                        uid=self._uid(),
                        address=f"10.244.{node}.{10 + index}",
                        node=NODES[node],
                        workload=workload,
                        owner_kind="StatefulSet" if stateful else "ReplicaSet",
                        owner_name=workload if stateful else replica_set,
                        # Kubernetes gives start times in whole seconds.
                        started_us=(start_us - age_us) // 1_000_000 * 1_000_000,
                    )
                )
                indices.append(index)
                weights.append(version.share / whole / version.replicas)
        self._members[service.id] = (np.array(indices, np.int64), np.cumsum(weights))

    def _schedule(self, start_us: int, end_us: int) -> None:
        due: dict[tuple[int, str], float] = {}
        for journey in self.topology.journeys:
            schedule = journey.schedule
            if schedule is None:
                continue
            every_us, offset_us = schedule.every_s * 1_000_000, schedule.offset_s * 1_000_000
            first = -((offset_us - start_us) // every_us)
            for k in range(first, (end_us - 1 - offset_us) // every_us + 1):
                key = (k * every_us + offset_us, journey.caller)
                due[key] = max(due.get(key, 0.0), schedule.lasts_s)
        for (at_us, caller), lasts_s in sorted(due.items()):
            service = self.topology.service(caller)
            end_of_run_us = at_us + int(lasts_s * 1_000_000)
            job = f"{service.name}-{at_us // 60_000_000}"
            pod = Pod(
                index=len(self.pods),
                service=service,
                version=service.versions[0],
                name=f"{job}-{self._token(5)}",
                uid=self._uid(),
                address=_JOB_ADDRESS,
                node=NODES[2],
                workload=service.name,
                owner_kind="Job",
                owner_name=job,
                started_us=at_us,
                ended_us=end_of_run_us + _JOB_SETTLES_US,
            )
            self.pods.append(pod)
            # The sidecar is up before the job's first call.
            self.runs.append(Run(service, pod.index, at_us + 2_000_000, end_of_run_us))
