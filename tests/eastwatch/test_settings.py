"""Settings: where they come from, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from eastwatch.pages.settings import Setting, settings
from eastwatch.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(
    monkeypatch: pytest.MonkeyPatch, config: Path | None = None, flags: dict[str, object] | None = None, **env: str
) -> Settings:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return load_settings(config, flags)


def test_the_first_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "eastwatch.toml"
    file.write_text('store = "chdb:file"\n[ingest]\nbatch_bytes = 2048\nbatch_messages = 7\n')
    found = load(monkeypatch, EASTWATCH_INGEST__BATCH_BYTES="4096")
    assert (found.store, found.ingest.batch_bytes, found.ingest.batch_messages) == ("chdb:file", 4096, 7)
    found = load(monkeypatch, flags={"store": "chdb:flag"}, EASTWATCH_STORE="chdb:environment")
    assert found.store == "chdb:flag"
    assert load(monkeypatch, flags={"store": None}).store == "chdb:environment"


def test_a_file_named_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text("[kafka]\nsession_timeout_s = 8\n")
    assert load(monkeypatch, EASTWATCH_CONFIG=str(tmp_path / "other.toml")).kafka.session_timeout_s == 8


def test_tests_and_ci_have_variables_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, EASTWATCH_REQUIRE="kafka", EASTWATCH_TEST_KAFKA="h:1")


NUMBERS = [one for one in settings() if not isinstance(one.default, bool | str | list | dict)]


@pytest.mark.parametrize("one", NUMBERS, ids=lambda one: one.path)
def test_no_number_may_be_negative(one: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    for nonsense in ("-1", "nan"):
        monkeypatch.setenv(one.environment, nonsense)
        with pytest.raises(SettingsError, match=rf"^environment: setting {one.path} = '{nonsense}': input should be"):
            load_settings()


@pytest.mark.parametrize(
    "one", [one for one in NUMBERS if one.path.startswith(("decode.", "otlp."))], ids=lambda one: one.path
)
def test_what_limits_hostile_input_is_never_nothing(one: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    if one.path == "otlp.patience_s":
        return
    monkeypatch.setenv(one.environment, "0")
    with pytest.raises(SettingsError, match=rf"setting {one.path} = '0': input should be greater"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stor = 1", "setting stor: no such setting"),
        ("[ingest]\nbatch_byte = 1", "setting ingest.batch_byte: no such setting"),
        ("[ingest]\nbatch_bytes = 3", "setting ingest.batch_bytes = 3: input should be greater than or equal to 1024"),
        ("[decode]\nbytes = 3", "setting decode.bytes: no such setting"),
        ("store = [", "expected TOML"),
    ],
)
def test_wrong_files(text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, file)
    assert says in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("EASTWATCH_STOER", "did you mean EASTWATCH_STORE?"),
        ("EASTWATCH_XYZ", "expected one of store"),
        ("EASTWATCH_INGEST__BATCHES", "setting ingest.batches: no such setting"),
    ],
)
def test_wrong_variables(name: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=says.replace("?", r"\?")):
        load(monkeypatch, **{name: "1"})


def test_a_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load(monkeypatch, tmp_path / "none.toml")


def test_every_setting_has_a_line_of_help_and_numbers_their_unit() -> None:
    units = (
        "_s",
        "_days",
        "_bytes",
        "_messages",
        "_records",
        "_share",
        "_ms",
        "_values",
        "_templates",
        "_ratio",
        "_calls",
    )
    for name, field in Settings.model_fields.items():
        assert field.description, name
        for inner, value in getattr(field.annotation, "model_fields", {}).items():
            assert value.description, f"{name}.{inner}"
            if value.annotation in (int, float):
                assert inner.endswith(units), f"{name}.{inner} has no unit"
