"""Every setting of eastwatch, in one tree: names carry their unit, unknown keys are refused.

Where a value comes from, the first wins: flags, environment (`EASTWATCH_STORE`, `EASTWATCH_INGEST__BATCH_BYTES`), the
file named by `--config` or `EASTWATCH_CONFIG`, `./eastwatch.toml` where it exists, the default.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from collector.decode.limits import Limits
from collector.ingest.options import IngestOptions
from collector.operations.options import OperationOptions
from collector.sources.options import KafkaOptions
from collector.sources.otlp_http import RequestLimits
from eastwatch.analysis_options import AnalysisOptions
from eastwatch.health_options import HealthOptions
from eastwatch.policy_options import PolicyOptions
from eastwatch.regression_options import RegressionOptions
from storage.retention import Retention

PREFIX = "EASTWATCH_"
DEFAULT_FILE = Path("eastwatch.toml")
_NOT_SETTINGS = ("CONFIG", "REQUIRE")
_NOT_SETTINGS_PREFIX = "TEST_"


class SettingsError(Exception):
    """A setting that is unknown, or whose value does not fit: one line saying which, where and what was expected."""


class Settings(BaseSettings):
    """The whole tree. Nested tables are models of the rooms that use them."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    store: str = Field(
        default="chdb:./eastwatch-data",
        description="where the data is: chdb:PATH or clickhouse://user:pass@host:9000/db",
    )
    sources: list[str] = Field(
        default_factory=list,
        description="what `eastwatch up` reads: the SOURCEs of `eastwatch ingest`, but for standard input",
    )
    otlp_endpoint: str = Field(
        default="", description="where eastwatch's own metrics and traces go (OTLP/HTTP); empty = nowhere"
    )
    health: HealthOptions = Field(default_factory=HealthOptions, description="health and metrics over HTTP")
    ingest: IngestOptions = Field(default_factory=IngestOptions, description="the ingest loop")
    operations: OperationOptions = Field(
        default_factory=OperationOptions, description="how operations are named and how many a service has"
    )
    kafka: KafkaOptions = Field(default_factory=KafkaOptions, description="the Kafka source")
    otlp: RequestLimits = Field(default_factory=RequestLimits, description="the OTLP/HTTP receiver")
    memory_bytes: int | None = Field(
        default=None, ge=1 << 28, description="memory of an embedded engine; by default half of the machine's"
    )
    retention: Retention = Field(
        default_factory=Retention, description="days that the store keeps each kind of data; 0 = for ever"
    )
    analysis: AnalysisOptions = Field(
        default_factory=AnalysisOptions, description="how often `eastwatch up` looks for findings"
    )
    regressions: RegressionOptions = Field(
        default_factory=RegressionOptions, description="what counts as a latency or error regression"
    )
    policies: PolicyOptions = Field(
        default_factory=PolicyOptions, description="what meshes are set to and none of their documents says"
    )
    decode: Limits = Field(default_factory=Limits, description="how much a record may hold")


def load_settings(
    config: Path | None = None, flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings.

    Args:
        config: the file given by `--config`; without it `EASTWATCH_CONFIG`, then `./eastwatch.toml` if it exists.
        flags: top-level settings given on the command line; None values are left out.
        environment: defaults to the process's.

    Raises:
        SettingsError: a file that cannot be read, an unknown key, or a value that does not fit.
    """
    environment = os.environ if environment is None else environment
    _check_environment(environment)
    path = config or (Path(environment["EASTWATCH_CONFIG"]) if environment.get("EASTWATCH_CONFIG") else None)
    if path is None and DEFAULT_FILE.is_file():
        path = DEFAULT_FILE
    table = _read(path) if path else {}

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del dotenv_settings, file_secret_settings
            return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=table)

    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return Sourced(**given)
    except ValidationError as error:
        raise SettingsError(_one_line(error, given, table, path)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}, expected a readable settings file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}, expected TOML") from None


def _check_environment(environment: Mapping[str, str]) -> None:
    for name in environment:
        if not name.startswith(PREFIX):
            continue
        key = name.removeprefix(PREFIX)
        if key in _NOT_SETTINGS or key.startswith(_NOT_SETTINGS_PREFIX):
            continue
        top = key.split("__", 1)[0].lower()
        if top not in Settings.model_fields:
            raise SettingsError(f"environment {name}: no such setting{_closest(top)}")


def _closest(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return (
        f", did you mean {PREFIX}{near[0].upper()}?"
        if near
        else f", expected one of {', '.join(Settings.model_fields)}"
    )


def _one_line(error: ValidationError, flags: Mapping[str, Any], table: Mapping[str, Any], path: Path | None) -> str:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    where = "environment"
    if first["loc"] and first["loc"][0] in flags:
        where = "flag"
    elif _holds(table, first["loc"]):
        where = str(path)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where}: setting {name}: no such setting"
    message = first["msg"][:1].lower() + first["msg"][1:]
    return f"{where}: setting {name} = {first.get('input')!r}: {message}"


def _holds(table: Mapping[str, Any], location: tuple[int | str, ...]) -> bool:
    value: Any = table
    for part in location:
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]  # pyright: ignore[reportUnknownVariableType]
    return True
