"""The real OpenTelemetry Collector for the tests, built from its components where Go is present.

The Collector Builder takes two to four minutes on two cores, so the binary is kept outside the tree, in
`~/.cache/eastwatch/otelcol/VERSION-HASH`, where the hash is that of the list of components. `EASTWATCH_TEST_OTELCOL`
names a binary to use instead.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.poll import poll

VERSION = "0.158.0"
_CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"
MANIFEST = f"""dist:
  name: otelcol
  description: Collector for the tests
  version: {VERSION}
  output_path: build
receivers:
  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v{VERSION}
  - gomod: {_CONTRIB}/receiver/filelogreceiver v{VERSION}
exporters:
  - gomod: {_CONTRIB}/exporter/kafkaexporter v{VERSION}
"""
CACHE = Path.home() / ".cache" / "eastwatch" / "otelcol"
BUILD_LIMIT_S = 1200
START_LIMIT_S = 30
_ABSENT = ("envoyals",)


@cache
def missing() -> str:
    """Why no Collector can be had here; empty when one can. Builds it when it is not there yet."""
    try:
        binary()
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return f"no Collector in EASTWATCH_TEST_OTELCOL, and it cannot be built: {said[-500:]}"
    return ""


def binary() -> Path:
    """The Collector's program for the tests. Raises as `build` does."""
    if given := os.environ.get("EASTWATCH_TEST_OTELCOL"):
        return Path(given)
    return build(MANIFEST, VERSION)


def build(manifest: str, version: str) -> Path:
    """The program that the Collector Builder of a version makes of a list of components; kept once it is built.

    Raises:
        FileNotFoundError: there is no Go.
        subprocess.SubprocessError: the build failed.
    """
    built = CACHE / f"{version}-{hashlib.sha256(manifest.encode()).hexdigest()[:12]}" / "otelcol"
    if built.exists():
        return built
    if shutil.which("go") is None:
        raise FileNotFoundError("Go is not installed")
    built.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        (Path(work) / "builder.yaml").write_text(manifest)
        subprocess.run(
            ["go", "run", f"go.opentelemetry.io/collector/cmd/builder@v{version}", "--config", "builder.yaml"],
            cwd=work,
            check=True,
            capture_output=True,
            text=True,
            timeout=BUILD_LIMIT_S,
        )
        (Path(work) / "build" / "otelcol").rename(built)
    return built


def buildable(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` without the receivers that cannot be had here."""
    kept = copy.deepcopy(dict(config))
    for name in _ABSENT:
        kept["receivers"].pop(name, None)
        for pipeline in kept["service"]["pipelines"].values():
            pipeline["receivers"] = [receiver for receiver in pipeline["receivers"] if receiver != name]
    return kept


@contextlib.contextmanager
def otelcol(config: Path, work: Path, environment: Mapping[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A running Collector, ready when its OTLP/HTTP `port` answers; ended by SIGTERM, when it empties its queues.

    Args:
        config: a configuration file; receivers that cannot be had are left out.
        work: an empty directory for the configuration and the log.
        environment: what the configuration asks for.
        port: where its OTLP/HTTP receiver will listen.
    """
    ours = work / "otelcol.yaml"
    ours.write_text(yaml.safe_dump(buildable(yaml.safe_load(config.read_text()))))
    log = work / "otelcol.log"
    # Its own metrics would listen on a fixed port.
    command = [str(binary()), "--config", str(ours), "--set", "service::telemetry::metrics::level=none"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], **environment},
        )
    try:
        poll(lambda: _answers(process, port, log), "Collector", START_LIMIT_S)
        yield process
        process.send_signal(signal.SIGTERM)
        if process.wait(60) != 0:
            raise RuntimeError(f"the Collector ended with {process.returncode}: {_tail(log)}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _answers(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the Collector ended with {process.returncode}: {_tail(log)}")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]
