"""Opens speech sessions: voice, admission, encoder and pool put together, and the books kept."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from server.accounts import Accounts
from server.errors import SERVER_FAULTS, ErrorCode, SpeechError
from server.metrics import Metrics
from server.pool.admission import Admission, Lease
from server.pool.pool import WorkerPool
from server.settings import Settings
from server.speech import voice_store
from server.speech.audio_track import AudioTrack
from server.speech.cloned_voice import ClonedVoice
from server.speech.encoder import Encoder
from server.speech.session import SessionParts, SpeechSession
from server.speech.speaker import Speaker
from server.speech.text_streams import TextStreams
from server.speech.types import SpeechOptions
from server.speech.utterances import UtteranceReader
from server.speech.voice_store import VoiceStore
from server.speech.voices import AliasTable, VoiceCatalog, VoiceEntry

_ENCODER_THREADS = 4
_log = structlog.get_logger(__name__)


class SpeechService:
    """What every endpoint asks for speech.

    Args:
        pool: where models run; started by the caller.
        accounts: what tenants may do, and where their text is charged.
    """

    def __init__(
        self,
        settings: Settings,
        pool: WorkerPool,
        aliases: AliasTable,
        metrics: Metrics,
        accounts: Accounts,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._aliases = aliases
        self._metrics = metrics
        self._accounts = accounts
        self._text_streams = TextStreams(settings.models)
        self._executor = ThreadPoolExecutor(_ENCODER_THREADS, thread_name_prefix="encoder")
        self.voice_store = VoiceStore(settings.data_path / voice_store.DIRECTORY_NAME)
        """The cloned voices; to be loaded by the caller."""
        self._catalog = VoiceCatalog.build({}, aliases)
        self._catalog_of: object = None
        self._clone_ids: set[str] = set()
        self._catalogs: dict[str, VoiceCatalog] = {}
        self.admission = Admission(
            max_sessions=settings.max_sessions,
            max_sessions_per_tenant=settings.max_sessions_per_token or settings.max_sessions,
            max_queued=settings.max_queued_segments,
            queued=lambda: pool.queued,
        )

    @property
    def catalog(self) -> VoiceCatalog:
        """The voices of all models that are known so far, and the clones that they can speak."""
        models, clones, aliases = self._pool.models, self.voice_store.voices, self._aliases
        if (models, clones, aliases) != self._catalog_of:
            self._catalog = VoiceCatalog.build(models, aliases, clones)
            self._catalog_of = (dict(models), clones, aliases)
            self._catalogs = {}
            self._forget_removed(clones)
        return self._catalog

    def _forget_removed(self, clones: Sequence[ClonedVoice]) -> None:
        """Take from the workers what this server, or another of the same directory, has removed."""
        ids = {clone.facts.id for clone in clones}
        for gone in self._clone_ids - ids:
            self._pool.remove_voice(gone)
        self._clone_ids = ids

    def catalog_of(self, model: str) -> VoiceCatalog:
        """The voices of one loaded model: what an alias stands for is found among them."""
        voices = self.catalog.entries()
        if model not in self._catalogs:
            clones = [one.clone for one in voices if one.clone is not None and one.model == model]
            info = {model: self._pool.models[model]}
            self._catalogs[model] = VoiceCatalog.build(info, self._aliases, clones)
        return self._catalogs[model]

    async def check_settings(self) -> None:
        """Log what of the settings the models cannot do, as soon as they are ready."""
        with contextlib.suppress(SpeechError):
            # A model that is late has its own lines in the log, and is not checked.
            await self._pool.wait_ready(self._settings.worker_start_timeout_s)
        for problem in self._text_streams.problems(self._pool.models, self.catalog.entries()):
            _log.warning("setting without effect", problem=problem)

    def refresh(self) -> None:
        """Read alias files and cloned voices again; in any thread.

        Raises:
            ValueError: an alias file cannot be used.
        """
        self.voice_store.load()
        self._aliases = AliasTable.load(self._settings.voice_aliases)

    def open(
        self, options: SpeechOptions, *, tenant: str, protocol: str, task_id: str
    ) -> SpeechSession:
        """Admit a task and make its session, which the caller must close.

        Raises:
            SpeechError: VOICE_UNKNOWN, CAPACITY_EXCEEDED, QUOTA_EXCEEDED, TOKEN_INVALID,
                SHUTTING_DOWN, MODEL_UNAVAILABLE, or what the encoder or the model cannot do.
        """
        try:
            return self._open(options, tenant, protocol, task_id)
        except SpeechError as error:
            self._metrics.session_refused(error.code)
            raise

    def find_voice(self, options: SpeechOptions) -> VoiceEntry:
        """The voice that a task asks for.

        Raises:
            SpeechError: VOICE_UNKNOWN, NOT_SUPPORTED (it does not take an instruction) or
                MODEL_UNAVAILABLE.
        """
        if not self._pool.models:
            raise SpeechError(
                ErrorCode.MODEL_UNAVAILABLE, "No model is loaded yet, try again!", retry_after_s=1.0
            )
        voice = self.catalog.resolve(options.voice)
        if options.instruction and not self._pool.models[voice.model].capabilities.instruction:
            raise SpeechError(
                ErrorCode.NOT_SUPPORTED, f"Voice '{voice.name}' does not take an instruction!"
            )
        return voice

    def _open(
        self, options: SpeechOptions, tenant: str, protocol: str, task_id: str
    ) -> SpeechSession:
        voice = self.find_voice(options)
        capabilities = self._pool.models[voice.model].capabilities
        lease = self.admission.admit(tenant, self._accounts.admit(tenant))
        try:
            session = SpeechSession(
                SessionParts(
                    voice_name=voice.name,
                    options=options,
                    reader=UtteranceReader(
                        options, language=voice.voice.language, capabilities=capabilities
                    ),
                    audio=self._make_audio(options, voice),
                    speaker=Speaker(self._pool.open, voice=voice, options=options, tenant=tenant),
                    observer=self._metrics,
                    linger_s=self._settings.linger_ms / 1000,
                    text_stream=self._text_streams.mode(voice, capabilities, options),
                    keep_text=self._settings.log_texts,
                    release=lease.release,
                    charge=functools.partial(self._accounts.charge, tenant),
                    on_close=functools.partial(
                        self._close, lease, protocol, task_id, time.monotonic()
                    ),
                )
            )
        except SpeechError:
            lease.release()
            raise
        self._metrics.session_started()
        return session

    def _make_audio(self, options: SpeechOptions, voice: VoiceEntry) -> AudioTrack:
        encoder = Encoder(
            options.audio_format,
            model_rate_hz=voice.sample_rate_hz,
            sample_rate_hz=options.sample_rate_hz or voice.sample_rate_hz,
            prosody=options.prosody,
            bit_rate=options.bit_rate,
        )
        return AudioTrack(
            encoder,
            model_rate_hz=voice.sample_rate_hz,
            prosody=options.prosody,
            executor=self._executor,
        )

    def _close(
        self, lease: Lease, protocol: str, task_id: str, began_s: float, session: SpeechSession
    ) -> None:
        """One line and one set of figures for every task, however it ended."""
        lease.release()
        summary = session.summary()
        self._metrics.session_ended(protocol, session.outcome, summary)
        level = _log.error if session.outcome in SERVER_FAULTS else _log.info
        facts = {
            "protocol": protocol,
            "task_id": task_id,
            "voice": session.voice_name,
            "sentences": summary.sentences,
            "characters": summary.characters,
            "audio_s": round(summary.audio_s, 2),
            "bytes": summary.audio_bytes,
            "first_audio_ms": _ms(summary.first_audio_s),
            "added_ms": _ms(summary.added_latency_s),
            "queue_ms": _ms(summary.queue_wait_s),
            "wall_s": round(time.monotonic() - began_s, 2),
            "underruns": summary.underruns,
        }
        if session.failure is not None:
            facts["reason"] = session.failure.message
        if self._settings.log_texts:
            facts["text"] = session.text
        level(f"task {session.outcome}", **facts)

    def close(self) -> None:
        """Stop the encoder threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
