"""Which voice a name means: models' own voices, cloned ones, and the names that clients bring.

Clients have vendors' voice names built in. `aliases.toml` beside this module, and a file of the
operator's that goes before it, say which of our voices these stand for; nothing else is guessed,
and a name that is nowhere is refused.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from models.base import Voice
from server.errors import ErrorCode, SpeechError
from server.pool.options import ModelInfo
from server.speech.cloned_voice import ClonedVoice, fold_name

_MAX_NAME_CHARACTERS = 200
_ECHOED_CHARACTERS = 50
_SUGGESTIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceEntry:
    """A voice, and the model that speaks it."""

    name: str
    """What it is listed as: the model's own name for it, or `model/voice` where another model,
    earlier in the order, has that name."""
    model: str
    voice: Voice
    sample_rate_hz: int
    aliases: tuple[str, ...] = ()
    clone: ClonedVoice | None = None
    """For `WorkerPool.open`, if it is a cloned voice; `voice` is its own then."""

    @property
    def id(self) -> str:
        """What always names it: of a clone its id, else its name."""
        return self.name if self.clone is None else self.clone.facts.id


@dataclass(frozen=True, slots=True)
class AliasTable:
    """Other names for voices.

    Attributes:
        targets: for each name, the voices or further aliases that it may stand for; the first
            that exists is taken.
        suffixes: endings that an unknown name may lose, such as a vendor's version marks.
    """

    targets: Mapping[str, tuple[str, ...]]
    suffixes: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str | Path = "") -> AliasTable:
        """Read the table that comes with this module, and a file that goes before it.

        Args:
            path: a TOML file with the same keys; empty for none.

        Raises:
            ValueError: a file is missing or wrong; the message names file and key.
        """
        own = resources.files("server.speech").joinpath("aliases.toml")
        table = cls.parse(own.read_text("utf-8"), "aliases.toml")
        if not path:
            return table
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: cannot be read: {error}") from error
        users = cls.parse(text, str(path))
        merged = cls({**table.targets, **users.targets}, users.suffixes + table.suffixes)
        merged.check_chains(str(path))
        return merged

    @classmethod
    def parse(cls, text: str, source: str) -> AliasTable:
        """Read a table; `source` names it in errors.

        Raises:
            ValueError: it is not TOML, or has a key or a type that is not known.
        """
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{source}: {error}") from error
        if unknown := data.keys() - {"aliases", "groups", "suffixes"}:
            raise ValueError(f"{source}: unknown key {min(unknown)!r}")
        targets = {
            name: _names(value, source, f"aliases.{name}")
            for name, value in _table(data, "aliases", source).items()
        }
        for target, names in _table(data, "groups", source).items():
            for name in _names(names, source, f"groups.{target}"):
                if name in targets:
                    raise ValueError(f"{source}: groups.{target}: {name!r} stands for two voices")
                targets[name] = (target,)
        table = cls(targets, _names(data.get("suffixes", []), source, "suffixes"))
        table.check_chains(source)
        return table

    def check_chains(self, source: str) -> None:
        """Refuse aliases that lead back to themselves.

        Raises:
            ValueError: naming one of them.
        """
        done: set[str] = set()
        for start in self.targets:
            self._walk(start, (), done, source)

    def _walk(self, name: str, chain: tuple[str, ...], done: set[str], source: str) -> None:
        if name in chain:
            circle = " -> ".join((*chain[chain.index(name) :], name))
            raise ValueError(f"{source}: aliases.{name} leads back to itself: {circle}")
        if name in done:
            return
        for target in self.targets.get(name, ()):
            self._walk(target, (*chain, name), done, source)
        done.add(name)


class VoiceCatalog:
    """All voices by all their names. Made by `build`; it does not change."""

    def __init__(
        self,
        entries: list[VoiceEntry],
        names: Mapping[str, VoiceEntry],
        suffixes: tuple[str, ...],
        silent: Sequence[ClonedVoice] = (),
    ) -> None:
        self.silent = tuple(silent)
        """Cloned voices that no model can speak."""
        self._entries = entries
        self._names = names
        self._folded: dict[str, VoiceEntry] = {}
        for name, entry in names.items():
            self._folded.setdefault(_fold(name), entry)
        self._own = {fold_name(entry.name) for entry in entries if entry.clone is None}
        self._own |= {fold_name(alias) for entry in entries for alias in entry.aliases}
        self._suffixes = suffixes

    @classmethod
    def build(
        cls,
        models: Mapping[str, ModelInfo],
        aliases: AliasTable,
        clones: Sequence[ClonedVoice] = (),
    ) -> VoiceCatalog:
        """Collect the voices of all models; where names collide, the earlier model has it.

        A clone is spoken by the model that it was made with, or else by the first one with its
        format. If a model's voice has its name, it has only its id.
        """
        entries = _entries(models)
        silent = [clone for clone in clones if not _add_clone(clone, models, entries)]
        names = _index(entries)
        aliases_of: dict[str, list[str]] = {}
        # A clone that cannot speak now is not replaced by somebody else.
        reserved = {fold_name(clone.facts.name) for clone in silent}
        for alias in aliases.targets:
            if fold_name(alias) in reserved:
                continue
            if alias not in names and (found := _follow(alias, names, aliases)) is not None:
                aliases_of.setdefault(found.name, []).append(alias)
        entries = [
            replace(entry, aliases=tuple(aliases_of.get(entry.name, ()))) for entry in entries
        ]
        entries.sort(key=lambda entry: entry.voice.kind != "preset")
        return cls(entries, _index(entries), aliases.suffixes, silent)

    def entries(self) -> list[VoiceEntry]:
        """Presets in the models' order, then clones."""
        return list(self._entries)

    def is_taken(self, name: str) -> bool:
        """Whether a model's voice, or an alias of any voice, has this name in any case."""
        return fold_name(name) in self._own

    def resolve(self, name: str) -> VoiceEntry:
        """Find the voice that a client means.

        A voice's own name comes first, then `model/voice`, then aliases, then the same without
        regard to case, then without what a vendor puts around names: `model:` before them, a
        version after them.

        Raises:
            SpeechError: VOICE_UNKNOWN, with names that look like it.
        """
        for candidate in self._readings(name[:_MAX_NAME_CHARACTERS]):
            entry = self._names.get(candidate) or self._folded.get(_fold(candidate))
            if entry is not None:
                return entry
        raise SpeechError(ErrorCode.VOICE_UNKNOWN, self._refusal(name))

    def _readings(self, name: str) -> Iterator[str]:
        yield name
        yield unicodedata.normalize("NFC", name)
        bare = name.strip().rpartition(":")[2]
        yield bare
        for suffix in self._suffixes:
            if bare.lower().endswith(suffix.lower()):
                yield bare[: -len(suffix)]

    def _refusal(self, name: str) -> str:
        shown = name if len(name) <= _ECHOED_CHARACTERS else name[:_ECHOED_CHARACTERS] + "…"
        message = f"Invalid voice name {shown!r}!"
        for clone in self.silent:
            if name == clone.facts.id or fold_name(shown) == fold_name(clone.facts.name):
                return f"{message} {why_silent(clone)}"
        near = get_close_matches(_fold(shown), self._folded, _SUGGESTIONS)
        if near:
            originals = {_fold(known): known for known in reversed(list(self._names))}
            return f"{message} Did you mean {' or '.join(originals[match] for match in near)}?"
        if self._entries:
            first = ", ".join(entry.name for entry in self._entries[:_SUGGESTIONS])
            return f"{message} There are {len(self._entries)} voices, such as {first}."
        return message


def _entries(models: Mapping[str, ModelInfo]) -> list[VoiceEntry]:
    """All voices without their aliases, each under a name that no other has."""
    entries: dict[str, VoiceEntry] = {}
    for model, info in models.items():
        for voice in info.voices:
            name = f"{model}/{voice.name}" if voice.name in entries else voice.name
            entries[name] = VoiceEntry(
                name=name, model=model, voice=voice, sample_rate_hz=info.sample_rate_hz
            )
    return list(entries.values())


def _add_clone(
    clone: ClonedVoice, models: Mapping[str, ModelInfo], entries: list[VoiceEntry]
) -> bool:
    """Add a clone's entry if a model can speak it."""
    facts = clone.facts
    able = [
        name
        for name, info in models.items()
        if info.capabilities.cloning and info.capabilities.clone_format == facts.clone_format
    ]
    if not able:
        return False
    model = facts.model if facts.model in able else able[0]
    taken = any(entry.name == facts.name for entry in entries)
    entries.append(
        VoiceEntry(
            name=facts.id if taken else facts.name,
            model=model,
            voice=clone.voice,
            sample_rate_hz=models[model].sample_rate_hz,
            clone=clone,
        )
    )
    return True


def why_silent(clone: ClonedVoice) -> str:
    """What to tell of a clone that no model can speak."""
    facts = clone.facts
    return (
        f"It was cloned with the model '{facts.model}', and no model is loaded that speaks "
        f"'{facts.clone_format}' clones!"
    )


def _index(entries: list[VoiceEntry]) -> dict[str, VoiceEntry]:
    """Voices by all names that they have: names before ids and paths, these before aliases."""
    index = {entry.name: entry for entry in entries}
    for entry in entries:
        index.setdefault(entry.id, entry)
        index.setdefault(f"{entry.model}/{entry.voice.name}", entry)
    for entry in entries:
        for alias in entry.aliases:
            index.setdefault(alias, entry)
    return index


def _follow(name: str, names: Mapping[str, VoiceEntry], aliases: AliasTable) -> VoiceEntry | None:
    """The first voice that a name leads to; chains are known to end."""
    if (entry := names.get(name)) is not None:
        return entry
    for target in aliases.targets.get(name, ()):
        if (entry := _follow(target, names, aliases)) is not None:
            return entry
    return None


def _fold(name: str) -> str:
    """Lower case for ASCII letters only: elsewhere it is not a matter of spelling."""
    return "".join(character.lower() if character.isascii() else character for character in name)


def _table(data: Mapping[str, Any], key: str, source: str) -> dict[str, Any]:
    table = data.get(key, {})
    if not isinstance(table, dict):
        raise ValueError(f"{source}: {key!r} must be a table")  # noqa: TRY004 - of a file
    return table


def _names(value: Any, source: str, key: str) -> tuple[str, ...]:  # noqa: ANN401 - TOML has any
    """A name, or a list of names."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{source}: {key} must be a name or a list of names")
    return tuple(names)
