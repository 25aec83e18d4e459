"""What can listen: from an operator's `RecognizerSettings` to what the pool runs.

`RecognizerSettings.kind` is one of

* `sphinx`, the embedded recogniser;
* `sensevoice`, FunASR's SenseVoice, under a Python that has the package `funasr`;
* `none`;
* an import path, `package.module:Class`, of any `models.recognition.SpeechRecognizer`.

What the built-in ones can do stands here, so that none of them need run before the first request;
a worker will report the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from models.recognition import RecognizerCapabilities
from server.pool.options import ModelSpec, RecognizerInfo
from server.settings import RecognizerSettings, SettingsError

NONE = "none"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A recogniser that is known without loading it.

    Attributes:
        factory: its import path.
        options: the keyword arguments of that.
        sample_rate_hz: what it listens at.
        capabilities: what it can do unless its options say otherwise.
    """

    factory: str
    options: frozenset[str]
    sample_rate_hz: int
    capabilities: RecognizerCapabilities


KINDS: Mapping[str, _Kind] = {
    "sphinx": _Kind(
        "models.sphinx:SphinxRecognizer",
        frozenset({"phrases", "slots", "parked"}),
        16_000,
        RecognizerCapabilities(slots=1, parked=7, languages=("en",)),
    ),
    "sensevoice": _Kind(
        "models.sensevoice:SenseVoiceRecognizer",
        frozenset({"model", "hub", "device", "language", "parked"}),
        16_000,
        RecognizerCapabilities(
            slots=1,
            parked=31,
            languages=("zh", "en", "yue", "ja", "ko"),
            detects_language=True,
            punctuation=True,
            dictation=True,
        ),
    ),
}


def recognizer_spec(recognizer: RecognizerSettings) -> ModelSpec | None:
    """A recogniser's settings as the pool takes them; None if there is to be none.

    Raises:
        SettingsError: the kind is unknown, or an option of a built-in one is.
    """
    if recognizer.kind == NONE:
        return None
    kind = KINDS.get(recognizer.kind)
    if kind is None and ":" not in recognizer.kind:
        raise SettingsError(
            f"recognizer: {recognizer.kind!r} is no recogniser; it can be {', '.join(KINDS)}, "
            f"{NONE} or package.module:Class"
        )
    if kind is None and recognizer.load == "lazy":
        raise SettingsError('recognizer: load = "lazy" is for the built-in kinds')
    return ModelSpec(
        name=recognizer.name,
        factory=kind.factory if kind else recognizer.kind,
        recognizes=True,
        options=recognizer.options,
        workers=recognizer.workers or 1,
        interpreter=recognizer.interpreter,
        environment=recognizer.environment,
        max_requests=recognizer.max_requests,
        max_rss_bytes=recognizer.max_rss_bytes,
        warm_up=recognizer.warm_up,
        lazy=kind is not None and recognizer.load != "start",
        idle_unload_s=recognizer.idle_unload_s,
        info=_info(recognizer, kind) if kind else None,
    )


def _info(recognizer: RecognizerSettings, kind: _Kind) -> RecognizerInfo:
    for name in recognizer.options:
        if name not in kind.options:
            near = difflib.get_close_matches(name, kind.options, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"recognizer: options.{name} does not exist{hint}")
    return RecognizerInfo(
        name=recognizer.name,
        sample_rate_hz=kind.sample_rate_hz,
        capabilities=msgspec.structs.replace(
            kind.capabilities,
            slots=_places(recognizer.options, "slots", kind.capabilities.slots, lowest=1),
            parked=_places(recognizer.options, "parked", kind.capabilities.parked, lowest=0),
        ),
    )


def _places(options: dict[str, Any], name: str, default: int, *, lowest: int) -> int:
    value = options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise SettingsError(f"recognizer: options.{name} is a whole number from {lowest} on")
    return value
