"""A cloned voice: what is known of it, its name and its id."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from models.base import Voice
from server.errors import ErrorCode, SpeechError
from server.speech.recording_report import RecordingReport

MAX_NAME_CHARACTERS = 64

_FORMAT_VERSION = 1
_ID = re.compile(r"clone-[0-9a-f]{12}")
_NAME_MARKS = " ._-"


class VoiceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a voice besides sound: the content of voice.json."""

    version: int = _FORMAT_VERSION
    id: str
    name: str
    language: str
    """BCP 47 tag."""
    model: str
    """Which one made the features."""
    clone_format: str
    """`Capabilities.clone_format` of the models that can speak it."""
    transcript: str
    created_at: str
    """ISO 8601, UTC."""
    changed_at: str = ""
    """When another recording took the place of the first; empty if none did."""
    mark: str = ""
    """Goes into the id, so that several voices can be made of one recording; empty for the one that
    has none."""
    report: RecordingReport
    sha256: dict[str, str] = {}
    """Of the other files, by name."""


@dataclass(frozen=True, slots=True, eq=False)
class ClonedVoice:
    """A voice of the store, as the pool takes it (`server.pool.clones.Clone`); equal to itself."""

    facts: VoiceFacts
    features: bytes
    """For `SpeechModel.add_voice`; nothing else looks into them."""

    @property
    def voice(self) -> Voice:
        """What models know it as; requests to them name it by its id."""
        return Voice(name=self.facts.id, language=self.facts.language, kind="clone")


@dataclass(frozen=True, slots=True)
class DamagedVoice:
    """A directory of the store that cannot be used; it is left as it is."""

    id: str
    reason: str


def is_id(text: str) -> bool:
    """Whether this has the form of a cloned voice's id."""
    return _ID.fullmatch(text) is not None


def make_id(recording: bytes, transcript: str, clone_format: str, mark: str = "") -> str:
    """`clone-` and 12 hexadecimal digits, the same for the same content."""
    parts = [recording, transcript.encode(), clone_format.encode()]
    parts += [mark.encode()] if mark else []
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return f"clone-{digest.hexdigest()[:12]}"


def checked_name(name: str) -> str:
    """The name as it is kept (NFC, without blanks around it).

    Raises:
        SpeechError: PARAMETER_INVALID, with what a name may be.
    """
    name = unicodedata.normalize("NFC", name).strip()
    if not name:
        raise SpeechError(ErrorCode.PARAMETER_INVALID, "The voice needs a name!")
    letters = all(unicodedata.category(c)[0] in "LMN" or c in _NAME_MARKS for c in name)
    begins_well = unicodedata.category(name[0])[0] in "LN"
    if not letters or not begins_well or len(name) > MAX_NAME_CHARACTERS or is_id(name):
        raise SpeechError(
            ErrorCode.PARAMETER_INVALID,
            f"Invalid name: 1 to {MAX_NAME_CHARACTERS} letters, digits, blanks, dots, underscores "
            "and hyphens, a letter or digit first, and not of the form of an id!",
        )
    return name


def fold_name(name: str) -> str:
    """Two names with one folded form are one name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def now() -> str:
    """For `VoiceFacts.created_at`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def parse_facts(data: bytes) -> VoiceFacts:
    """Read a voice.json.

    Raises:
        ValueError: it is none, of another version, or has a name that no voice may have.
    """
    try:
        facts = msgspec.json.decode(data, type=VoiceFacts)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"voice.json cannot be read: {error}") from error
    if facts.version != _FORMAT_VERSION:
        raise ValueError(f"voice.json has version {facts.version}, which this server does not know")
    try:
        is_name = checked_name(facts.name) == facts.name
    except SpeechError:
        is_name = False
    if not is_name:
        raise ValueError("voice.json has a name that no voice may have")
    return facts
