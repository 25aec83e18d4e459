"""From what an operator writes of the recogniser to what the pool runs."""

from __future__ import annotations

from typing import Any

import pytest

from models.sphinx import SphinxRecognizer
from server.recognizer_kinds import KINDS, recognizer_spec
from server.settings import RecognizerSettings, Settings, SettingsError


def spec(**settings: Any) -> Any:
    return recognizer_spec(RecognizerSettings(**settings))


def test_the_default_is_described_without_being_loaded() -> None:
    found = spec()
    assert (found.name, found.factory) == ("asr", "models.sphinx:SphinxRecognizer")
    assert found.lazy
    assert found.recognizes
    assert found.workers == 1
    recognizer = SphinxRecognizer()
    assert found.info.capabilities == recognizer.capabilities == KINDS["sphinx"].capabilities
    assert found.info.sample_rate_hz == recognizer.sample_rate_hz


def test_what_is_said_of_workers_is_passed_on() -> None:
    found = spec(
        name="ears",
        options={"phrases": ["stop"], "slots": 2, "parked": 0},
        workers=3,
        interpreter="/python",
        environment={"A": "b"},
        max_requests=4,
        idle_unload_s=5,
        load="start",
        warm_up=False,
    )
    assert found.options == {"phrases": ["stop"], "slots": 2, "parked": 0}
    assert (found.workers, found.interpreter, found.environment) == (3, "/python", {"A": "b"})
    assert (found.max_requests, found.idle_unload_s) == (4, 5)
    assert (found.lazy, found.warm_up) == (False, False)
    assert (found.info.capabilities.slots, found.info.capabilities.parked) == (2, 0)


def test_one_of_somebody_elses_is_loaded_at_the_start() -> None:
    found = spec(kind="word_recognizer:WordRecognizer", options={"anything": 1})
    assert (found.lazy, found.info) == (False, None)


def test_none() -> None:
    assert spec(kind="none") is None


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"kind": "sphynx"}, "'sphynx' is no recogniser"),
        ({"options": {"phrase": []}}, "did you mean 'phrases'"),
        ({"options": {"slots": 0}}, "from 1 on"),
        ({"options": {"parked": True}}, "from 0 on"),
        ({"kind": "a:B", "load": "lazy"}, "built-in"),
    ],
)
def test_what_cannot_be_is_refused_at_once(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        spec(**settings)


def test_a_model_has_another_name() -> None:
    with pytest.raises(SettingsError, match="the recognizer's name, asr, is a model's too"):
        Settings.load(models=[{"name": "asr"}])


@pytest.mark.parametrize("network", ["10.0.0.1/8", "nowhere"])
def test_networks_are_networks(network: str) -> None:
    with pytest.raises(SettingsError, match="fetch_networks"):
        Settings.load(fetch_networks=network)
    assert Settings.load(fetch_networks="10.0.0.0/8, ::1").fetch_networks == ["10.0.0.0/8", "::1"]
