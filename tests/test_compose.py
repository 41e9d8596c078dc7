"""docker-compose.yml and what it mounts and builds: there is no Docker here, so everything it names is looked up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from collector.sources.urls import KafkaUrl, parse_source
from eastwatch.cli import COMMANDS
from eastwatch.cli.ingest import STOP_MARGIN_S
from eastwatch.cli.up import sources_of
from eastwatch.health import parse_address
from eastwatch.settings import load_settings
from storage.location import ServerLocation
from storage.location import parse as parse_location

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
COLLECTOR = yaml.safe_load((ROOT / "deploy" / "otel-collector.yaml").read_text())

TEXTS = {"type": "array", "minItems": 1, "items": {"type": "string"}}
SECONDS = {"type": "string", "pattern": r"^\d+s$"}
SERVICE = {
    "type": "object",
    "properties": {
        "image": {"type": "string", "pattern": r"^[a-z0-9/-]+:\d+(\.\d+)+$"},
        "build": {
            "type": "object",
            "properties": {"context": {"const": "."}, "dockerfile": {"type": "string"}},
            "required": ["context", "dockerfile"],
            "additionalProperties": False,
        },
        "command": TEXTS,
        # A number or true would be text of YAML's choice.
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "volumes": {"type": "array", "items": {"type": "string", "pattern": r"^(\./)?[\w./-]+:/[\w./-]+(:ro)?$"}},
        # Published on this machine alone.
        "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
        "depends_on": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"condition": {"const": "service_healthy"}},
                "required": ["condition"],
                "additionalProperties": False,
            },
        },
        "healthcheck": {
            "type": "object",
            "properties": {"test": TEXTS, "interval": SECONDS, "timeout": SECONDS, "retries": {"type": "integer"}},
            "required": ["test", "interval", "timeout", "retries"],
            "additionalProperties": False,
        },
        "ulimits": {"type": "object"},
        "stop_grace_period": SECONDS,
        "restart": {"const": "unless-stopped"},
    },
    "oneOf": [{"required": ["image"]}, {"required": ["build"]}],
    "required": ["restart"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"const": "eastwatch"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
    },
    "required": ["name", "services", "volumes"],
    "additionalProperties": False,
}


def test_it_has_the_shape_of_a_compose_file() -> None:
    Draft202012Validator(SCHEMA).validate(COMPOSE)


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_names_is_there(name: str) -> None:
    service = SERVICES[name]
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (ROOT / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]
    for other in service.get("depends_on", ()):
        assert "healthcheck" in SERVICES[other]
    if "build" in service:
        assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_eastwatch_reads_settings_that_it_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    service = SERVICES["eastwatch"]
    assert service["command"][0] in COMMANDS
    environment: dict[str, str] = service["environment"]
    given = {name: value.replace("${CLICKHOUSE_PASSWORD:-eastwatch}", "p") for name, value in environment.items()}
    mounted = next(volume.split(":")[0] for volume in service["volumes"] if given["EASTWATCH_CONFIG"] in volume)
    monkeypatch.setenv("EASTWATCH_STORE", given["EASTWATCH_STORE"])
    settings = load_settings(ROOT / mounted)
    place, server = parse_location(settings.store), SERVICES["clickhouse"]["environment"]
    assert isinstance(place, ServerLocation)
    assert (place.host, place.user, place.database) == (
        "clickhouse",
        server["CLICKHOUSE_USER"],
        server["CLICKHOUSE_DB"],
    )
    port = parse_address(settings.health.listen)[1]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"127.0.0.1:{port}/readyz" in service["healthcheck"]["test"][-1]
    # Time to store what is on its way, before it is killed.
    assert int(service["stop_grace_period"].removesuffix("s")) > settings.ingest.drain_s + STOP_MARGIN_S
    urls = [url for url in sources_of(settings) if isinstance(url, KafkaUrl)]
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert urls and all(f"INSIDE://{url.bootstrap[0]}," in listeners for url in urls)
    assert len({url.group for url in urls}) == len(urls)


def test_the_collector_writes_where_eastwatch_reads() -> None:
    read = {
        topic
        for text in load_settings(ROOT / "deploy" / "eastwatch.toml").sources
        if isinstance(url := parse_source(text), KafkaUrl)
        for topic in url.topics
    }
    kafka = COLLECTOR["exporters"]["kafka"]
    written = {
        kafka[signal]["topic"].replace("${env:TOPIC_PREFIX:-otlp}", "otlp") for signal in ("traces", "metrics", "logs")
    }
    assert written <= read
    asked = set(re.findall(r"\$\{env:(\w+)", (ROOT / "deploy" / "otel-collector.yaml").read_text()))
    assert SERVICES["collector"]["environment"].keys() <= asked


def test_the_image_holds_every_room() -> None:
    copied = set(re.findall(r"^COPY (\w+)/ ", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE))
    packages = re.search(r"^packages = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages and copied == set(re.findall(r'"(\w+)"', packages[1]))
    kept = set(re.findall(r"^!([\w./]+?)/?$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied | {"requirements.lock", "pyproject.toml", "README.md", "LICENSE"} == kept
