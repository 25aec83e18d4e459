"""A checkpoint directory of CosyVoice 1, 2 or 3, looked through before anything of it is run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from models.base import Capabilities, Voice
from models.cosyvoice.byte_pieces import BytePieces
from models.cosyvoice.checkpoint_files import check_file, require_files
from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.features import VoiceFeatures
from models.cosyvoice.speakers import Decoder, preset_voice, read_speakers
from models.cosyvoice.special_tokens import SPECIAL_TOKENS
from models.cosyvoice.state_dicts import Version, Views, read_weights
from models.cosyvoice.user_text import known_marks
from models.cosyvoice.yaml_tags import check_yaml_tags

__all__ = ["Checkpoint", "CheckpointError", "Description", "Variant", "check_yaml_tags"]

Variant: TypeAlias = Literal["base", "sft", "instruct"]

BLANK_MODEL = "CosyVoice-BlankEN"
_BLANK_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
)
_WEIGHTS = ("llm.pt", "flow.pt", "hift.pt")
_END_OF_PROMPT_ID = 151646


@dataclass(frozen=True, slots=True)
class _Official:
    """What all official checkpoints of a version have in common."""

    yaml_name: str
    sample_rate_hz: int
    token_rate_hz: int


_OFFICIAL: Mapping[Version, _Official] = {
    1: _Official("cosyvoice.yaml", 22050, 50),
    2: _Official("cosyvoice2.yaml", 24000, 25),
    3: _Official("cosyvoice3.yaml", 24000, 25),
}


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What can be told of a model that is not loaded; its worker reports the same."""

    name: str
    sample_rate_hz: int
    capabilities: Capabilities
    voices: tuple[Voice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint that has everything, as far as can be seen without torch.

    Weights are not read, but every one is known to be there in its full size.
    """

    directory: Path
    version: Version
    variant: Variant
    """Of version 1, which was released in three; versions 2 and 3 are `base`."""
    sample_rate_hz: int
    token_rate_hz: int
    """Speech tokens per second of speech."""
    text_vocabulary: int
    """Rows of the language model's text embedding; ids from here on would break it."""
    speakers: Mapping[str, VoiceFeatures]
    """The presets of spk2info.pt, by name; versions 2 and 3 are released without."""

    @classmethod
    def open(cls, directory: Path | str, *, variant: Variant | None = None) -> Checkpoint:
        """Look a directory through.

        Args:
            directory: as an official download has it.
            variant: of version 1; without it, by the directory's name: `...-SFT`, `...-Instruct`.

        Raises:
            CheckpointError: it is none, or incomplete, damaged, mixed of several versions. The
                message names the file and the remedy.
        """
        path = Path(directory).expanduser()
        try:
            return cls._open(path, variant)
        except OSError as error:
            name = error.filename or path
            raise CheckpointError(f"{name}: cannot be read ({error.strerror})") from None

    @classmethod
    def _open(cls, directory: Path, variant: Variant | None) -> Checkpoint:
        version = _find_version(directory)
        _check_rates(directory / _OFFICIAL[version].yaml_name, _OFFICIAL[version])
        _check_files(directory, version)
        weights = {name: read_weights(directory / name, version) for name in _WEIGHTS}
        if version != 1:
            _check_blank_model(directory / BLANK_MODEL, weights["llm.pt"])
        if variant is not None and version != 1:
            raise CheckpointError(f"{directory}: only version 1 comes in variants")
        table = "text_embedding.weight" if version == 1 else "llm.model.model.embed_tokens.weight"
        return cls(
            directory=directory,
            version=version,
            variant=variant or (_variant_by_name(directory) if version == 1 else "base"),
            sample_rate_hz=_OFFICIAL[version].sample_rate_hz,
            token_rate_hz=_OFFICIAL[version].token_rate_hz,
            text_vocabulary=_rows(weights["llm.pt"], table, directory / "llm.pt"),
            speakers=_read_speakers(directory, version),
        )

    @property
    def yaml_path(self) -> Path:
        """Its configuration, by which upstream builds the model: see `check_yaml_tags`."""
        return self.directory / _OFFICIAL[self.version].yaml_name

    @property
    def blank_model_path(self) -> Path:
        """The directory with tokenizer and sizes, in versions 2 and 3."""
        return self.directory / BLANK_MODEL

    @property
    def features_format(self) -> str:
        """Of the features of its voices, a key of `models.cosyvoice.features.FORMATS`."""
        return f"cosyvoice{self.version}"

    @property
    def clones(self) -> bool:
        """It was trained to speak as a recording does."""
        return self.variant == "base"

    def capabilities(self, *, slots: int = 1, text_stream: bool = True) -> Capabilities:
        """What it can do.

        Args:
            slots: streams that are to be computed at once.
            text_stream: whether text may come piece by piece, where the version can do it; vLLM
                cannot.
        """
        return Capabilities(
            slots=slots,
            text_stream=text_stream and self.version != 1,
            instruction=self.version != 1 or self.variant == "instruct",
            marks=known_marks(self.version, self.variant, SPECIAL_TOKENS.get(self.version, ())),
            sampling=True,
            cloning=self.clones,
            clone_format=self.features_format if self.clones else "",
        )

    def describe(self, name: str, *, slots: int = 1, text_stream: bool = True) -> Description:
        """What the front needs before the model is loaded; see `capabilities` for the arguments."""
        return Description(
            name=name,
            sample_rate_hz=self.sample_rate_hz,
            capabilities=self.capabilities(slots=slots, text_stream=text_stream),
            voices=tuple(preset_voice(*item) for item in self.speakers.items()),
        )


def _find_version(directory: Path) -> Version:
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: is no directory")
    names = {official.yaml_name: version for version, official in _OFFICIAL.items()}
    found = [name for name in names if (directory / name).is_file()]
    if not found:
        raise CheckpointError(
            f"{directory}: is no CosyVoice checkpoint, it has none of {', '.join(names)}"
        )
    if len(found) > 1:
        raise CheckpointError(
            f"{directory}: has {' and '.join(found)}, of different versions; "
            "keep each checkpoint in a directory of its own"
        )
    return names[found[0]]


def _check_rates(path: Path, official: _Official) -> None:
    """See that the model counts as the rest of the server does. No YAML is built for that."""
    check_file(path)
    text = path.read_text(encoding="utf-8", errors="replace")
    rate_hz = _number(text, "sample_rate")
    if rate_hz is None:
        raise CheckpointError(f"{path}: does not say sample_rate; fetch it again")
    for key, found, expected in (
        ("sample_rate", rate_hz, official.sample_rate_hz),
        # Of these two, each version of upstream's files has one or both.
        ("token_frame_rate", _number(text, "token_frame_rate"), official.token_rate_hz),
        ("input_frame_rate", _number(text, "input_frame_rate"), official.token_rate_hz),
    ):
        if found not in (None, expected):
            raise CheckpointError(
                f"{path}: {key} is {found}, and only models with {expected} are supported"
            )


def _number(text: str, key: str) -> int | None:
    match = re.search(rf"^ *{key}: *(\d+) *(?:#.*)?$", text, re.MULTILINE)
    return int(match[1]) if match else None


def _check_files(directory: Path, version: Version) -> None:
    names = [*_WEIGHTS, "campplus.onnx", f"speech_tokenizer_v{version}.onnx"]
    if version != 1:
        names += [f"{BLANK_MODEL}/{name}" for name in _BLANK_FILES]
    require_files(directory, names)
    for name in names:
        check_file(directory / name)


def _check_blank_model(directory: Path, llm: Views) -> None:
    """The body that config.json describes is the one whose weights llm.pt has."""
    path = directory / "config.json"
    try:
        config = json.loads(path.read_bytes())
        sizes = config["vocab_size"], config["hidden_size"]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path}: is no configuration of a model; fetch it again") from None
    table = llm.get("llm.model.model.embed_tokens.weight")
    if table is None or table.shape != sizes:
        raise CheckpointError(
            f"{path}: describes a vocabulary and width of {sizes}, and llm.pt has "
            f"{table.shape if table else 'none'}; they are not of the same checkpoint"
        )


def _rows(views: Views, name: str, path: Path) -> int:
    if name not in views or not views[name].shape:
        raise CheckpointError(f"{path}: lacks {name}; fetch it again")
    return views[name].shape[0]


def _variant_by_name(directory: Path) -> Variant:
    """The nearest name that tells; a hub's cache has the model's name some levels up."""
    for path in (directory.absolute(), directory.resolve()):
        for name in reversed(path.parts[-3:]):
            words: Sequence[str] = re.split(r"[-_. ]+", name.lower())
            if "instruct" in words:
                return "instruct"
            if "sft" in words:
                return "sft"
            if "300m" in words:
                return "base"
    return "base"


def _read_speakers(directory: Path, version: Version) -> dict[str, VoiceFeatures]:
    path = directory / "spk2info.pt"
    if not path.exists():
        return {}
    check_file(path)
    vocabulary = directory / BLANK_MODEL / "vocab.json"
    return read_speakers(
        path, f"cosyvoice{version}", None if version == 1 else _transcript_decoder(vocabulary)
    )


def _transcript_decoder(vocabulary: Path) -> Decoder:
    pieces: list[BytePieces] = []

    def decode(token_ids: Sequence[int]) -> str:
        if not pieces:  # some megabytes, which most checkpoints do not need
            pieces.append(BytePieces(vocabulary))
        ids = list(token_ids)
        while _END_OF_PROMPT_ID in ids:  # what stands before is version 3's own, and not spoken
            ids = ids[ids.index(_END_OF_PROMPT_ID) + 1 :]
        return pieces[0].decode(ids)

    return decode
