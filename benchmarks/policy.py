"""How fast recorded calls are judged by policies: `python -m benchmarks.policy`.

A store is filled with calls as the callees' sidecars log them: 2 000 edges, 40 destinations. 100 policies with 300
rules (principals, namespaces, methods, path templates, ports, headers that no line has, denials) stand over them. A
process of its own then judges all calls, `--runs` times over: medians, and its highest resident memory. Beside it the
plain evaluator judges the first of these calls, one after the other: where both do not decide the same, by the same
rules, the benchmark fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from analyzers.policy.check import check
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh
from analyzers.policy.istio.reference import decide
from analyzers.policy.policy_set import PolicySet, read_set
from analyzers.policy.whatif import whatif
from analyzers.policy.workloads import Workload
from benchmarks.storage_cost import fill, settle, store
from benchmarks.stored_calls import CallShapes
from storage.embedded import EmbeddedEngine

DESTINATIONS, SOURCES, OPERATIONS = 40, 50, 5
VERDICTS = ("allow", "deny", "unknown")
_SAMPLE = """
SELECT destination_service, source_principal, tls, method, path, authority, sni, destination_port,
    IPv6NumToString(source_ip) AS source_ip, IPv6NumToString(destination_ip) AS destination_ip
FROM calls
WHERE ts < {until:DateTime64(6)}
"""
_UNTIL = "SELECT ts FROM calls ORDER BY ts LIMIT 1 OFFSET {rows:UInt64}"


def policies(count: int) -> bytes:
    """`count` policies of three rules each, as YAML: those of the first round allow, later ones do either."""
    documents = [_policy(number) for number in range(count)]
    return yaml.safe_dump_all(documents).encode()


def _policy(number: int) -> Mapping[str, Any]:
    destination = number % DESTINATIONS
    denies = number >= DESTINATIONS and number % 2 == 1
    rules = [_denial(number, part) if denies else _rule(number, part) for part in range(3)]
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": f"policy-{number}", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": f"svc{destination}"}},
            "action": "DENY" if denies else "ALLOW",
            "rules": rules,
        },
    }


def _rule(number: int, part: int) -> Mapping[str, Any]:
    accounts = [f"cluster.local/ns/shop/sa/svc{(number * 7 + part * 13 + i) % SOURCES}" for i in range(12)]
    paths = [f"/api/v1/resource{(number + part + i) % OPERATIONS}/{{*}}" for i in range(3)]
    return {
        "from": [{"source": {"principals": accounts}}],
        "to": [{"operation": {"methods": ["GET", "HEAD"], "paths": paths, "ports": ["8080"]}}],
    }


def _denial(number: int, part: int) -> Mapping[str, Any]:
    if part == 0:
        return {"from": [{"source": {"notNamespaces": ["shop", "istio-*"]}}]}
    if part == 1:
        header = {"key": "request.headers[x-team]", "values": [f"team-{number}"]}
        path = f"/api/v1/resource{number % OPERATIONS}/9*"
        return {"to": [{"operation": {"paths": [path]}}], "when": [header]}
    account = f"cluster.local/ns/shop/sa/svc{number % SOURCES}"
    return {"from": [{"source": {"principals": [account], "notIpBlocks": ["10.0.0.0/8"]}}]}


def judge(directory: Path, runs: int, reference: int) -> None:
    """Judge what stands in a store, and print the figures as JSON."""
    engine = EmbeddedEngine(directory)
    try:
        found = read_set({"policies.yaml": (directory.parent / "policies.yaml").read_bytes()})
        check_s, whatif_s = list[float](), list[float]()
        verdicts: Mapping[str, int] = {}
        for _ in range(runs):
            began = time.perf_counter()
            done = check(engine, found)
            check_s.append(time.perf_counter() - began)
            verdicts = {verdict: done.count(verdict) for verdict in VERDICTS}
        peak = highest_mb()
        for _ in range(runs):
            began = time.perf_counter()
            whatif(engine, found)
            whatif_s.append(time.perf_counter() - began)
        peaks = peak, highest_mb()
        plain_s, plain_calls = _plain(engine, found, reference)
        figures = {"check_s": check_s, "whatif_s": whatif_s, "peaks_mb": peaks, "verdicts": verdicts}
        json.dump(figures | {"plain_s": plain_s, "plain_calls": plain_calls}, sys.stdout)
    finally:
        engine.close()


def _plain(engine: EmbeddedEngine, found: PolicySet, rows: int) -> tuple[float, int]:
    """Seconds of the plain evaluator over the first calls, about `rows`, and how many these are."""
    models = [document.model for document in found.documents if isinstance(document.model, AuthorizationPolicy)]
    until = engine.query(_UNTIL, {"rows": rows}).to_pylist()[0]["ts"]
    calls = engine.query(_SAMPLE, {"until": until}).to_pylist()
    said: Counter[tuple[str, str | None, str | None]] = Counter()
    began = time.perf_counter()
    for call in calls:
        named = call.pop("destination_service")
        ips = {name: call[name].removeprefix("::ffff:") for name in ("source_ip", "destination_ip")}
        workload = Workload("shop", named, labels=({"app": named},))
        one = decide(models, workload, Mesh(), {**call, **ips, "transport": "http", "attributes": {}})
        said[one.verdict, one.policy, one.rule] += 1
    seconds = time.perf_counter() - began
    computed: Counter[tuple[str, str | None, str | None]] = Counter()
    for one in check(engine, found, until=until).decided:
        computed[one.verdict, one.policy, one.rule] += one.calls
    if computed != said:
        raise SystemExit(f"verdicts differ: computed {computed - said}, the plain evaluator says {said - computed}")
    return seconds, len(calls)


def highest_mb() -> float:
    """The highest resident memory of this process; `getrusage` would count that of the one that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def report(arguments: argparse.Namespace, directory: Path) -> None:
    """Fill a store, judge it in another process and print the table."""
    with store(directory / "store") as (engine, book):
        shapes = CallShapes(book, reporter="destination")
        engine.insert("edge_keys", shapes.edge_keys)
        fill(engine, "calls", shapes, arguments.calls, 1, 500_000)
        settle(engine, "calls", whole=False)
    (directory / "policies.yaml").write_bytes(policies(arguments.policies))
    command = [sys.executable, "-m", "benchmarks.policy", "--judge", str(directory / "store")]
    command += ["--runs", str(arguments.runs), "--reference", str(arguments.reference)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    packages = ", ".join(f"{name} {version(name)}" for name in ("chdb", "chdb-core", "pyarrow"))
    print(f"Machine: {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {packages}.")
    rules = arguments.policies * 3
    print(f"{arguments.policies} policies, {rules} rules, {arguments.calls:,} calls; medians of {arguments.runs}.\n")
    print("| what | s | calls/s | highest resident memory so far, MB |")
    print("|---|---:|---:|---:|")
    for what, peak in zip(("check", "whatif"), found["peaks_mb"], strict=True):
        seconds = statistics.median(found[f"{what}_s"])
        print(f"| {what} | {seconds:.2f} | {arguments.calls / seconds:,.0f} | {peak:,.0f} |")
    rate = found["plain_calls"] / found["plain_s"]
    print(f"| plain evaluator, {found['plain_calls']:,} calls | {found['plain_s']:.2f} | {rate:,.0f} | |")
    shares = ", ".join(f"{verdict} {found['verdicts'][verdict] / arguments.calls:.2%}" for verdict in VERDICTS)
    print(f"\nVerdicts: {shares}. Of the calls that the plain evaluator judged, both say the same, by the same rules.")


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--policies", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--reference", type=int, default=5_000, help="calls that the plain evaluator judges")
    parser.add_argument(
        "--judge", type=Path, metavar="STORE", help="only judge what stands in this store (a process of its own)"
    )
    parser.add_argument("--directory", type=Path, help="where the store is made (default: a temporary directory)")
    arguments = parser.parse_args()
    if arguments.judge:
        judge(arguments.judge, arguments.runs, arguments.reference)
        return
    with tempfile.TemporaryDirectory(prefix="eastwatch-bench-", dir=arguments.directory) as directory:
        report(arguments, Path(directory))


if __name__ == "__main__":
    main()
