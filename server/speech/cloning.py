"""From an upload to a voice: recording, report, features, store; and the way back.

All protocols that enroll voices come here. What takes long happens in threads and workers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
import soxr
import structlog

from models.recognition import RecognitionRequest
from server.errors import ErrorCode, SpeechError
from server.pool.pool import WorkerPool
from server.speech import transcript
from server.speech.clone_request import CloneRequest, Dictation, RecordingRefusedError
from server.speech.cloned_voice import (
    ClonedVoice,
    VoiceFacts,
    checked_name,
    fold_name,
    make_id,
    now,
)
from server.speech.heard_recording import HeardRecording, listen
from server.speech.recognition import MODEL
from server.speech.recording_report import RecordingReport
from server.speech.voice_store import VoiceStore
from server.speech.voices import VoiceCatalog

MAX_AT_ONCE = 4
"""Uploads in hand; each may hold some 60 MB for a moment."""

_Result = TypeVar("_Result")
_THREADS = 2
_RETRY_AFTER_S = 5.0
_log = structlog.get_logger(__name__)


class VoiceCloning:
    """Makes cloned voices and takes them away.

    Args:
        pool: where models run.
        store: where voices are kept; to be loaded by the caller.
        catalog: the voices as they are now.
        dictation: for recordings that come without a text.
        timeout_s: for a model to make a voice's features, the wait for its worker included.
    """

    def __init__(
        self,
        pool: WorkerPool,
        store: VoiceStore,
        catalog: Callable[[], VoiceCatalog],
        *,
        dictation: Dictation,
        timeout_s: float,
    ) -> None:
        self._pool = pool
        self._dictation = dictation
        self._store = store
        self._catalog = catalog
        self._timeout_s = timeout_s
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="cloning")
        self._at_once = 0
        self._patiences: set[asyncio.Timeout] = set()
        """Of those who wait for features."""

    @property
    def in_hand(self) -> int:
        """Uploads that are being made into voices."""
        return self._at_once

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place among the uploads in hand, to be held from before the upload is read.

        Raises:
            SpeechError: CAPACITY_EXCEEDED: there is none.
        """
        if self._at_once >= MAX_AT_ONCE:
            message = "Other recordings are being listened to, try again!"
            raise SpeechError(ErrorCode.CAPACITY_EXCEEDED, message, retry_after_s=_RETRY_AFTER_S)
        self._at_once += 1
        try:
            yield
        finally:
            self._at_once -= 1

    async def add(self, wanted: CloneRequest) -> tuple[ClonedVoice, bool]:
        """Make a voice, which can be used when this returns.

        Returns:
            The voice, and whether it is new: asking twice for the same makes one.

        Raises:
            RecordingRefusedError: the recording is too bad.
            SpeechError: PARAMETER_INVALID, TEXT_MISSING, TEXT_TOO_LONG, VOICE_EXISTS, NOT_SUPPORTED
                (no such model clones), what the pool raises, or INTERNAL if it cannot be stored.
        """
        self.check(wanted)
        name = checked_name(wanted.name)
        if self._catalog().is_taken(name):
            message = f"'{name}' is the name of a voice that is no clone, or an alias!"
            raise SpeechError(ErrorCode.VOICE_EXISTS, message)
        facts, heard = await self._hear(wanted)
        known = self._same(facts)
        if known is not None:
            return known, False
        self._store.check_free(name, facts.id)
        try:
            voice = await self._enroll(facts, heard, self._store.add)
        except SpeechError as error:
            known = self._same(facts) if error.code is ErrorCode.VOICE_EXISTS else None
            if known is None:
                raise
            # Somebody asked for it twice, and the other request was first.
            return known, False
        return voice, True

    async def replace(self, voice: ClonedVoice, wanted: CloneRequest) -> ClonedVoice:
        """Give a clone another recording: its name and its mark stay, its id changes.

        Who speaks with it finishes with the old one, which stays if anything goes wrong.

        Raises:
            RecordingRefusedError: the recording is too bad.
            SpeechError: as `add`; VOICE_UNKNOWN if the clone has been removed meanwhile.
        """
        self.check(wanted)
        old = voice.facts
        facts, heard = await self._hear(wanted)
        facts = msgspec.structs.replace(facts, created_at=old.created_at, changed_at=now())
        if facts.id == old.id:
            return voice

        def keep(facts: VoiceFacts, recording: bytes, features: bytes) -> ClonedVoice:
            return self._store.replace(old.id, facts, recording, features)

        replacement = await self._enroll(facts, heard, keep)
        self._pool.remove_voice(old.id)
        return replacement

    def check(self, wanted: CloneRequest) -> None:
        """Find out whether a voice can be made, without its recording, which may be yet to come.

        Raises:
            SpeechError: PARAMETER_INVALID, TEXT_MISSING, TEXT_TOO_LONG, NOT_SUPPORTED or
                MODEL_UNAVAILABLE.
        """
        checked_name(wanted.name)
        transcript.checked_language(wanted.language)
        if wanted.transcript.strip() or not self._dictation.dictates:
            transcript.checked_transcript(wanted.transcript)
        self._choose_model(wanted.model)

    async def _hear(self, wanted: CloneRequest) -> tuple[VoiceFacts, HeardRecording]:
        """Listen to a recording, and find out what is said in it."""
        written = bool(wanted.transcript.strip())
        model, clone_format = self._choose_model(wanted.model)
        longest_s = None if written else wanted.longest_s
        heard = await self._in_thread(lambda: listen(wanted.audio, longest_s=longest_s))
        if heard.report.verdict == "refused":
            raise RecordingRefusedError(heard.report)
        said = wanted.transcript if written else await self._said(wanted, heard)
        text = transcript.checked_transcript(said)
        facts = VoiceFacts(
            id=make_id(heard.wav, text, clone_format, wanted.mark),
            name=checked_name(wanted.name),
            language=wanted.language or transcript.guess_language(text),
            model=model,
            clone_format=clone_format,
            transcript=text,
            created_at=now(),
            report=_with_remark_on_length(heard.report, text),
            mark=wanted.mark,
        )
        return facts, heard

    async def _said(self, wanted: CloneRequest, heard: HeardRecording) -> str:
        """What the recogniser understands of a recording."""
        recognition = self._dictation.open(
            MODEL,
            RecognitionRequest(language=wanted.language),
            tenant=wanted.tenant,
            protocol="voices",
            task_id=fold_name(wanted.name),
        )
        with contextlib.closing(recognition):
            rate_hz = recognition.sample_rate_hz
            samples = await self._in_thread(
                lambda: soxr.resample(heard.samples, heard.sample_rate_hz, rate_hz)
            )
            return await recognition.transcribe(samples)

    def _same(self, facts: VoiceFacts) -> ClonedVoice | None:
        """The voice of this recording, if it has this name."""
        known = self._store.find(facts.id)
        if known is not None and fold_name(known.facts.name) == fold_name(facts.name):
            return known
        return None

    async def _enroll(
        self,
        facts: VoiceFacts,
        heard: HeardRecording,
        keep: Callable[[VoiceFacts, bytes, bytes], ClonedVoice],
    ) -> ClonedVoice:
        features = await self._features(facts, heard)
        try:
            voice = await self._in_thread(lambda: keep(facts, heard.wav, features))
        except (OSError, ValueError) as error:
            _log.error("cloned voice not stored", voice=facts.id, reason=str(error))
            message = "The voice cannot be stored; the server's log says why!"
            raise SpeechError(ErrorCode.INTERNAL, message) from error
        _log.info("voice cloned", voice=facts.id, model=facts.model, verdict=facts.report.verdict)
        return voice

    async def _features(self, facts: VoiceFacts, heard: HeardRecording) -> bytes:
        patience = asyncio.timeout(None)
        self._patiences.add(patience)
        try:
            async with patience:
                return await self._pool.enroll(
                    facts.model,
                    heard.samples,
                    heard.sample_rate_hz,
                    facts.transcript,
                    self._timeout_s,
                )
        except TimeoutError:
            message = "Server is shutting down, connect again!"
            raise SpeechError(ErrorCode.SHUTTING_DOWN, message) from None
        finally:
            self._patiences.discard(patience)

    def abort(self) -> None:
        """Tell those who wait for a model that it will not come: the server ends."""
        for patience in self._patiences:
            patience.reschedule(asyncio.get_running_loop().time())

    async def remove(self, name: str) -> None:
        """Take a clone away; who speaks with it finishes.

        Args:
            name: its name or id.

        Raises:
            SpeechError: VOICE_UNKNOWN, NOT_SUPPORTED for other voices, INTERNAL if its files cannot
                be deleted.
        """
        voice_id = self.find(name).facts.id
        try:
            await self._in_thread(lambda: self._store.remove(voice_id))
        except OSError as error:
            _log.error("cloned voice not removed", voice=voice_id, reason=str(error))
            message = "The voice cannot be deleted; the server's log says why!"
            raise SpeechError(ErrorCode.INTERNAL, message) from error
        self._pool.remove_voice(voice_id)
        _log.info("cloned voice removed", voice=voice_id)

    def find(self, name: str) -> ClonedVoice:
        """A clone by its name or id, also one that no loaded model can speak.

        Raises:
            SpeechError: VOICE_UNKNOWN, or NOT_SUPPORTED for voices that are no clones.
        """
        voice = self._store.find(name)
        if voice is not None:
            return voice
        entry = self._catalog().resolve(name)
        if entry.clone is not None:
            message = f"'{name}' is another name of the cloned voice '{entry.name}'!"
            raise SpeechError(ErrorCode.VOICE_UNKNOWN, message)
        message = f"'{entry.name}' is no cloned voice, but the model's own!"
        raise SpeechError(ErrorCode.NOT_SUPPORTED, message)

    def close(self) -> None:
        """Take nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _choose_model(self, wanted: str) -> tuple[str, str]:
        """A model that clones, and its format."""
        models = self._pool.models
        if not models:
            message = "No model is loaded yet, try again!"
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message, retry_after_s=1.0)
        able = {
            name: info.capabilities.clone_format
            for name, info in models.items()
            if info.capabilities.cloning
        }
        if wanted and wanted not in models:
            message = f"There is no model {wanted[:64]!r}! {_advice(able)}"
            raise SpeechError(ErrorCode.PARAMETER_INVALID, message)
        if not able or (wanted and wanted not in able):
            which = f"The model '{wanted}' does not" if wanted else "No loaded model can"
            message = f"{which} clone voices! {_advice(able)}"
            raise SpeechError(ErrorCode.NOT_SUPPORTED, message)
        model = wanted or next(iter(able))
        return model, able[model]

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _with_remark_on_length(report: RecordingReport, text: str) -> RecordingReport:
    remark = transcript.remark_on_length(text, report.seconds * report.speech_share)
    if remark is None:
        return report
    return msgspec.structs.replace(report, remarks=(*report.remarks, remark), verdict="advice")


def _advice(able: dict[str, str]) -> str:
    if not able:
        return "CosyVoice 1, 2 and 3 can: the server has to be started with one of them."
    return f"Models that clone: {', '.join(able)}."
