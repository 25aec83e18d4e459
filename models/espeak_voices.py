"""Which voices the embedded model offers, and how each language is spoken."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

from models.base import Voice
from models.espeak_library import LibraryVoice

_LATIN = frozenset({"Latin"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A language that the library speaks."""

    tag: str
    """BCP 47; also the name of its voice."""
    library_voice: str
    """`LibraryVoice.identifier`."""
    description: str
    gender: Literal["female", "male", "neutral"]
    scripts: frozenset[str]
    """Scripts that it reads, by the names of `models.espeak_text.script_of`."""
    inline_latin: bool
    """Latin words among its own scripts can stay where they are."""
    rate: int
    """Words per minute."""
    pitch_shift: int
    respellings: Mapping[str, str] = field(hash=False)
    """Phoneme mnemonics of characters that the library misreads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Who speaks: a language, and a timbre that goes with the speaker into other languages."""

    language: str
    """Tag of a `Language`."""
    gender: Literal["female", "male", "neutral"]
    variant: str
    pitch: int
    pitch_range: int
    volume: int


class EspeakVoices:
    """The presets and all languages of the library's data.

    Args:
        library_voices: what the library lists.
        data: the content of `espeak_voices.toml`.
    """

    def __init__(self, library_voices: Sequence[LibraryVoice], data: Mapping[str, Any]) -> None:
        self._languages = {
            language.tag: language
            for voice in library_voices
            if voice.identifier not in data["library"]["without_dictionary"]
            for language in (_language(voice, data),)
        }
        self._by_tag = _tags(self._languages, library_voices, data["library"]["languages"])
        self._by_script: dict[str, str] = data["scripts"]
        self._speakers = {
            name: Speaker(**(data["timbre"] | preset)) for name, preset in data["presets"].items()
        }
        self._presets = tuple(self._speakers)
        for tag, language in self._languages.items():
            self._speakers[tag] = Speaker(language=tag, gender=language.gender, **data["timbre"])

    @classmethod
    def of_library(cls, library_voices: Sequence[LibraryVoice]) -> EspeakVoices:
        """Read the data file that comes with this module."""
        text = resources.files("models").joinpath("espeak_voices.toml").read_text("utf-8")
        return cls(library_voices, tomllib.loads(text))

    def voices(self) -> list[Voice]:
        """The presets, then a voice for each language, named by its tag."""
        return [
            Voice(
                name=name,
                language=speaker.language,
                gender=speaker.gender,
                description=self._description(speaker),
            )
            for name, speaker in self._speakers.items()
        ]

    def speaker(self, name: str) -> Speaker | None:
        """The speaker that a voice's name stands for."""
        return self._speakers.get(name)

    def language(self, tag: str) -> Language | None:
        """Find a BCP 47 tag, in any case; a longer one than is known is shortened until it is."""
        parts = tag.lower().replace("_", "-").split("-")
        while parts:
            if (known := self._by_tag.get("-".join(parts))) is not None:
                return self._languages[known]
            parts.pop()
        return None

    def reader(self, script: str) -> Language | None:
        """The language that reads a script for voices that cannot."""
        tag = self._by_script.get(script)
        return None if tag is None else self._languages[tag]

    def _description(self, speaker: Speaker) -> str:
        description = f"espeak-ng, {self._languages[speaker.language].description.strip()}"
        return f"{description}, timbre {speaker.variant}" if speaker.variant else description


def canonical_tag(tag: str) -> str:
    """Write a language tag in the case that BCP 47 recommends (RFC 5646, section 2.1.1)."""
    parts = tag.lower().split("-")
    for i, part in enumerate(parts[1:], start=1):
        if len(parts[i - 1]) == 1:
            break
        if len(part) == 2:  # noqa: PLR2004 - a region
            parts[i] = part.upper()
        elif len(part) == 4:  # noqa: PLR2004 - a script
            parts[i] = part.title()
    return "-".join(parts)


def _language(voice: LibraryVoice, data: Mapping[str, Any]) -> Language:
    """Put together what the library and the data file say of one language."""
    tag = data["library"]["tags"].get(voice.identifier) or canonical_tag(voice.tags[0])
    entry = data["languages"].get(tag, {})
    return Language(
        tag=tag,
        library_voice=voice.identifier,
        description=voice.name,
        gender=voice.gender,
        scripts=frozenset(entry.get("scripts", _LATIN)),
        inline_latin=entry.get("inline_latin", False),
        rate=entry.get("rate", data["library"]["default_rate"]),
        pitch_shift=entry.get("pitch_shift", 0),
        respellings={
            character: phonemes
            for characters, phonemes in data["respellings"].get(tag, {}).items()
            for character in characters
        },
    )


def _tags(
    languages: Mapping[str, Language],
    library_voices: Sequence[LibraryVoice],
    additions: Mapping[str, str],
) -> dict[str, str]:
    """Map lower-case tags to languages: their own first, then ours, then the library's others."""
    found = {tag.lower(): tag for tag in languages} | dict(additions)
    by_identifier = {language.library_voice: tag for tag, language in languages.items()}
    for voice in library_voices:
        if (tag := by_identifier.get(voice.identifier)) is not None:
            for other in voice.tags:
                found.setdefault(other.lower(), tag)
    return found
