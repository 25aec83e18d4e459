"""Cloned voices on disk: one directory each, written at once or not at all, checked when read.

    <directory>/clone-0123456789ab/voice.json            what the voice is, and hashes of the rest
                                   recording.wav         what it was made of
                                   features.safetensors  what models speak it from

A directory is written under another name, synchronised and renamed, and never changed afterwards.
Several processes may share the store: a lock file lets one write at a time, readers need none. What
a voice was made of is somebody's voice, so nobody but the server's own user may read it.

Everything here blocks; call it from a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import structlog

from server.errors import ErrorCode, SpeechError
from server.speech import durable_files
from server.speech.cloned_voice import (
    ClonedVoice,
    DamagedVoice,
    VoiceFacts,
    fold_name,
    is_id,
    make_id,
    parse_facts,
)

DIRECTORY_NAME = "voices"
"""In `Settings.data_path`."""
MAX_VOICES = 1000
MAX_FEATURES_BYTES = 7 << 20

_FACTS, _RECORDING, _FEATURES = "voice.json", "recording.wav", "features.safetensors"
_MAX_FILE_BYTES = {_FACTS: 1 << 16, _RECORDING: 8 << 20, _FEATURES: MAX_FEATURES_BYTES}
_UNFINISHED, _REMOVED, _LOCK = ".new-", ".old-", ".lock"

_log = structlog.get_logger(__name__)


class VoiceStore:
    """The cloned voices of a directory, which need not exist yet.

    Args:
        directory: where they lie.
        tell: called with each damaged voice when it is first found; by default the log.

    Attributes:
        voices: oldest first, as of the last `load`, `add` or `remove`; replaced, never changed.
        damaged: what was found beside them.
    """

    def __init__(
        self, directory: Path, *, tell: Callable[[DamagedVoice], None] | None = None
    ) -> None:
        self.directory = directory
        self._tell = tell or _log_damage
        self.voices: tuple[ClonedVoice, ...] = ()
        self.damaged: tuple[DamagedVoice, ...] = ()
        self._stamps: dict[str, tuple[int, int]] = {}
        self._replaced: tuple[str, ...] = ()
        """Whose place others have taken, by a writer who died before they were deleted."""
        self._guard = threading.Lock()

    def find(self, name: str) -> ClonedVoice | None:
        """A voice by its id, or by its name without regard to case."""
        folded = fold_name(name)
        for voice in self.voices:
            if name == voice.facts.id or folded == fold_name(voice.facts.name):
                return voice
        return None

    def load(self) -> None:
        """Read what has come since the last time, and forget what has gone.

        Whatever is wrong becomes an entry of `damaged`, and is told.
        """
        with self._guard:
            self._load()

    def _load(self) -> None:
        known = {voice.facts.id: voice for voice in self.voices}
        voices: list[ClonedVoice] = []
        damaged: list[DamagedVoice] = []
        for voice_id in self._ids(damaged):
            try:
                voices.append(self._read(voice_id, known.get(voice_id)))
            except FileNotFoundError as error:
                # Another process may have removed it a moment ago.
                if (self.directory / voice_id).is_dir():
                    damaged.append(DamagedVoice(voice_id, f"{_name_of(error)} is missing"))
            except OSError as error:
                damaged.append(DamagedVoice(voice_id, f"{_name_of(error)}: {error.strerror}"))
            except ValueError as error:
                damaged.append(DamagedVoice(voice_id, str(error)))
        # Of one voice's recordings the newest goes first.
        voices.sort(key=lambda voice: (voice.facts.changed_at, voice.facts.id), reverse=True)
        voices.sort(key=lambda voice: voice.facts.created_at)
        replaced: list[str] = []
        self.voices = tuple(_with_names_of_their_own(voices, damaged, replaced))
        self._replaced = tuple(replaced)
        for one in damaged:
            if one not in self.damaged:
                self._tell(one)
        self.damaged = tuple(damaged)

    def _load_to_write(self) -> None:
        """Load, and delete what was replaced: nobody shall hear it again. Under the lock."""
        self._load()
        for voice_id in self._replaced:
            self._delete(voice_id)

    def add(self, facts: VoiceFacts, recording: bytes, features: bytes) -> ClonedVoice:
        """Keep a new voice.

        Args:
            facts: with a name that `checked_name` has passed; `sha256` is filled in here.
            recording: a WAV file.
            features: what a model made of it.

        Raises:
            SpeechError: VOICE_EXISTS: its name or its recording is another's; CAPACITY_EXCEEDED:
                there are MAX_VOICES.
            OSError: it cannot be written, or another process holds the lock.
            ValueError: a file is too large to be read again.
        """
        with self._guard, self._locked():
            self._load_to_write()
            self.check_free(facts.name, facts.id)
            if len(self.voices) >= MAX_VOICES:
                message = f"There are {MAX_VOICES} cloned voices, as many as there may be!"
                raise SpeechError(ErrorCode.CAPACITY_EXCEEDED, message)
            self._write(facts, recording, features)
            self._load()
            return self._written(facts.id)

    def replace(
        self, voice_id: str, facts: VoiceFacts, recording: bytes, features: bytes
    ) -> ClonedVoice:
        """Keep a voice in the place of another, whose name it may have.

        If the process dies in between, both are there: the newer one counts, and whoever writes
        next deletes the other.

        Args:
            voice_id: of the one that goes.
            facts: with its `created_at`, and a `changed_at`; else see `add`.
            recording: see `add`.
            features: see `add`.

        Raises:
            SpeechError: VOICE_UNKNOWN: the other one is gone; VOICE_EXISTS: see `add`.
            OSError: see `add` and `remove`.
            ValueError: see `add`.
        """
        with self._guard, self._locked():
            self._load_to_write()
            if all(voice.facts.id != voice_id for voice in self.voices):
                message = f"The voice '{facts.name}' has been removed!"
                raise SpeechError(ErrorCode.VOICE_UNKNOWN, message)
            self.check_free(facts.name, facts.id, but=voice_id)
            self._write(facts, recording, features)
            self._delete(voice_id)
            self._load()
            return self._written(facts.id)

    def _written(self, voice_id: str) -> ClonedVoice:
        for voice in self.voices:
            if voice.facts.id == voice_id:
                return voice
        raise OSError(f"{voice_id} cannot be read again")

    def check_free(self, name: str, voice_id: str, *, but: str = "") -> None:
        """Make sure that there is no such voice.

        Args:
            name: what nobody else may have.
            voice_id: the same.
            but: the id of a voice that may.

        Raises:
            SpeechError: VOICE_EXISTS, with what is in the way.
        """
        for voice in self.voices:
            if voice.facts.id == but:
                continue
            if fold_name(voice.facts.name) == fold_name(name):
                message = f"There is a cloned voice '{voice.facts.name}' already!"
                raise SpeechError(ErrorCode.VOICE_EXISTS, message)
            if voice.facts.id == voice_id:
                message = f"The voice '{voice.facts.name}' was made of this very recording!"
                raise SpeechError(ErrorCode.VOICE_EXISTS, message)
        if any(one.id == voice_id for one in self.damaged):
            message = f"The voice {voice_id} of this very recording is damaged: delete its files!"
            raise SpeechError(ErrorCode.VOICE_EXISTS, message)

    def remove(self, voice_id: str) -> None:
        """Delete a voice, all its files included; one that is gone already is no error.

        Raises:
            OSError: it cannot be deleted, or another process holds the lock.
        """
        if not is_id(voice_id):
            raise ValueError(f"{voice_id!r} is no id of a cloned voice")
        with self._guard, self._locked():
            self._load_to_write()
            self._delete(voice_id)
            self._load()

    def _delete(self, voice_id: str) -> None:
        aside = Path(tempfile.mkdtemp(prefix=_REMOVED, dir=self.directory))
        with contextlib.suppress(FileNotFoundError):
            (self.directory / voice_id).rename(aside / voice_id)
            durable_files.sync(self.directory)
        shutil.rmtree(aside)
        if any(self.directory.glob(f"{_REMOVED}*/{voice_id}")):
            # An earlier try came as far as this; whoever asks again shall not be told that
            # nothing is left.
            raise OSError(f"files of {voice_id} cannot be deleted")

    # --- Files -------------------------------------------------------------------------------

    def _ids(self, damaged: list[DamagedVoice]) -> list[str]:
        try:
            names = [path.name for path in self.directory.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            damaged.append(DamagedVoice(str(self.directory), error.strerror or str(error)))
            return []
        return sorted(name for name in names if is_id(name))

    def _read(self, voice_id: str, known: ClonedVoice | None) -> ClonedVoice:
        """Read and check one directory, unless it is `known` and was not touched since.

        Raises:
            FileNotFoundError: a file is missing.
            OSError: it cannot be read.
            ValueError: its content is wrong; the message says how.
        """
        folder = self.directory / voice_id
        status = (folder / _FACTS).stat()
        stamp = (status.st_ino, status.st_mtime_ns)
        if known is not None and self._stamps.get(voice_id) == stamp:
            return known
        facts = parse_facts(_read_file(folder / _FACTS))
        contents = {}
        for name in (_RECORDING, _FEATURES):
            contents[name] = _read_file(folder / name)
            if _digest(contents[name]) != facts.sha256.get(name):
                raise ValueError(f"{name} is not the file that was written")
        recording, features = contents[_RECORDING], contents[_FEATURES]
        if (
            not voice_id
            == facts.id
            == make_id(recording, facts.transcript, facts.clone_format, facts.mark)
        ):
            raise ValueError(f"{_FACTS} belongs to another voice, or was changed")
        self._stamps[voice_id] = stamp
        return ClonedVoice(facts, features)

    def _write(self, facts: VoiceFacts, recording: bytes, features: bytes) -> None:
        files = {_RECORDING: recording, _FEATURES: features}
        sha256 = {name: _digest(data) for name, data in files.items()}
        files[_FACTS] = msgspec.json.encode(msgspec.structs.replace(facts, sha256=sha256))
        for name, data in files.items():
            if len(data) > _MAX_FILE_BYTES[name]:
                raise ValueError(f"{name} would have {len(data)} bytes, too many")
        folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.directory))
        try:
            for name, data in files.items():
                durable_files.write(folder / name, data)
            durable_files.sync(folder)
            folder.rename(self.directory / facts.id)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        durable_files.sync(self.directory)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of all processes; what writers left behind who died is cleared away.

        Raises:
            OSError: it cannot be had.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with durable_files.locked(self.directory / _LOCK):
            for left in self.directory.iterdir():
                if left.name.startswith((_UNFINISHED, _REMOVED)):
                    shutil.rmtree(left, ignore_errors=True)
                    if left.exists():
                        _log.warning("files of a voice cannot be deleted", path=str(left))
            yield


def _log_damage(damaged: DamagedVoice) -> None:
    _log.warning("cloned voice damaged, left as it is", voice=damaged.id, reason=damaged.reason)


def _with_names_of_their_own(
    voices: list[ClonedVoice], damaged: list[DamagedVoice], replaced: list[str]
) -> Iterator[ClonedVoice]:
    """Of two voices with one name, as copied directories may have it, the older one has it.

    Two that were made at the same moment are one voice, of which `replace` left both.
    """
    owners: dict[str, VoiceFacts] = {}
    for voice in voices:
        facts = voice.facts
        owner = owners.setdefault(fold_name(facts.name), facts)
        if owner is facts:
            yield voice
        elif owner.created_at == facts.created_at:
            replaced.append(facts.id)
        else:
            reason = f"another voice has its name, '{facts.name}'"
            damaged.append(DamagedVoice(facts.id, reason))


def _read_file(path: Path) -> bytes:
    most = _MAX_FILE_BYTES[path.name]
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{path.name} has more than {most} bytes")
    return data


def _name_of(error: OSError) -> str:
    return Path(str(error.filename)).name


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
