"""Settings come from all their sources, and all of them are documented."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from server.settings import Settings, SettingsError, unknown_keys

DOCS = Path(__file__).parent.parent / "docs" / "operations.md"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("APPTOKEN", raising=False)
    for name in [name for name in os.environ if name.startswith("COSYSTREAM_")]:
        monkeypatch.delenv(name)


def test_every_setting_is_documented_with_its_default() -> None:
    documented: dict[str, str] = {}
    for names, default in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", DOCS.read_text(), re.MULTILINE):
        documented.update(dict.fromkeys(re.findall(r"`(\w+)`", names), default))
    assert set(Settings.model_fields) <= set(documented)
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, (int, float, str)) and field.default != "":
            shown = documented[name].strip("` ")
            expected = str(field.default)
            if isinstance(field.default, bool):
                expected = expected.lower()
            assert shown == expected or float(shown) == float(expected), name


def test_defaults() -> None:
    settings = Settings.load()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert [model.name for model in settings.models] == ["espeak"]
    assert settings.tokens == []


def test_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Path("cosystream.toml").write_text("port = 1\nmax_sessions = 2\nlinger_ms = 3\nhost = 'file'")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "cosystream_max_sessions").write_text("4")
    (secrets / "cosystream_linger_ms").write_text("5")
    monkeypatch.setenv("COSYSTREAM_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("COSYSTREAM_LINGER_MS", "6")
    monkeypatch.setenv("COSYSTREAM_PORT", "7")
    settings = Settings.load(port=8)
    assert (settings.host, settings.max_sessions, settings.linger_ms, settings.port) == (
        "file",
        4,
        6,
        8,
    )


@pytest.mark.parametrize("name", ["APPTOKEN", "COSYSTREAM_TOKENS"])
def test_tokens_under_both_names(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "one, two,")
    assert Settings.load().tokens == ["one", "two"]


@pytest.mark.parametrize("name", ["TOKENS", "tokens", "Tokens"])
def test_somebody_elses_variable_locks_nobody_out(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "theirs")
    assert Settings.load().tokens == []


def test_tokens_as_argument_and_toml_key(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("cosystream.toml").write_text('tokens = ["file"]')
    assert Settings.load().tokens == ["file"]
    monkeypatch.setenv("APPTOKEN", "environment")
    assert Settings.load().tokens == ["environment"]
    assert Settings.load(tokens=["argument"]).tokens == ["argument"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", ""),
        ("/", ""),
        ("speech/", "/speech"),
        ("/speech", "/speech"),
        ("//a/b%20c/", "/a/b%20c"),
    ],
)
def test_root_path_has_one_form(written: str, meant: str) -> None:
    assert Settings.load(root_path=written).root_path == meant


@pytest.mark.parametrize("path", ["https://host/speech", "/a b", "/a?b", "/a//b", "/a\n"])
def test_root_path_is_a_path(path: str) -> None:
    with pytest.raises(SettingsError, match="root_path"):
        Settings.load(root_path=path)


def test_models_from_the_environment_and_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("cosystream.toml").write_text('[[models]]\nname = "a"\nworkers = 3\n')
    assert [(model.name, model.workers) for model in Settings.load().models] == [("a", 3)]
    monkeypatch.setenv("COSYSTREAM_MODELS", '[{"name": "b", "kind": "x:Y"}]')
    assert [(model.name, model.kind) for model in Settings.load().models] == [("b", "x:Y")]


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("COSYSTREAM_PORT", "eighty", "port"),
        ("COSYSTREAM_PORT", "70000", "port"),
        ("COSYSTREAM_LOG_LEVEL", "loud", "log_level"),
        ("COSYSTREAM_MAX_SESSIONS", "0", "max_sessions"),
        ("COSYSTREAM_MODELS", "[]", "models"),
        ("COSYSTREAM_MODELS", '[{"name":"a"},{"name":"a"}]', "models"),
        ("COSYSTREAM_MODELS", '[{"name":"a","colour":1}]', "colour"),
        ("COSYSTREAM_MODELS", "{", "models"),
        ("COSYSTREAM_CONFIG", "/nowhere.toml", "COSYSTREAM_CONFIG"),
        ("COSYSTREAM_SECRETS_DIR", "/nowhere", "COSYSTREAM_SECRETS_DIR"),
    ],
)
def test_what_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, named: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=named):
        Settings.load()


def test_a_broken_file_is_named() -> None:
    Path("cosystream.toml").write_text("port = = 1")
    with pytest.raises(SettingsError, match=r"cosystream\.toml"):
        Settings.load()


def test_unknown_keys_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSYSTREAM_LINGER", "1")
    monkeypatch.setenv("COSYSTREAM_URL", "ws://known/")
    Path("cosystream.toml").write_text("prot = 1\n")
    first, second = unknown_keys()
    assert "COSYSTREAM_LINGER" in first
    assert "linger_ms" in first
    assert "'prot'" in second
    assert "'port'" in second


def test_unknown_secrets_are_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ["cosystream_lingr_ms", "cosystream_tokens", "database_password"]:
        (tmp_path / name).write_text("1")
    (tmp_path / "cosystream_folder").mkdir()
    monkeypatch.setenv("COSYSTREAM_SECRETS_DIR", str(tmp_path))
    (warning,) = unknown_keys()
    assert "cosystream_lingr_ms" in warning
    assert "linger_ms" in warning
