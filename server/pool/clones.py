"""Cloned voices on their way to the workers: each worker process is given each of them once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from models.base import Voice
from server.errors import ErrorCode, SpeechError
from server.pool.messages import MAX_PAYLOAD_BYTES, AddVoice, FrontMessage, RemoveVoice

log = structlog.get_logger()


class Clone(Protocol):
    """A cloned voice as the pool needs it; whoever keeps the voices makes one.

    A clone never changes: a voice that is replaced is another clone with the same name.
    """

    @property
    def voice(self) -> Voice:
        """The voice; requests name it by `voice.name`."""

    @property
    def features(self) -> bytes:
        """What `WorkerPool.enroll` made of the recording.

        Read once for each worker process and clone, on the event loop.

        Raises:
            SpeechError: the features cannot be had; the stream that needs them fails with it.
        """


@dataclass(frozen=True, slots=True)
class _Given:
    clone: Clone
    voice: Voice
    digest: bytes


class GivenVoices:
    """The clones that one worker process has been given.

    Args:
        send: puts a message on its channel.
    """

    def __init__(self, send: Callable[[FrontMessage], None]) -> None:
        self._send = send
        self._given: dict[str, _Given] = {}
        self._removed: set[str] = set()

    def give(self, clone: Clone) -> None:
        """Send a clone, unless the worker has just this one.

        Raises:
            SpeechError: the features cannot be had, or are too long for a message.
        """
        given = self._given.get(clone.voice.name)
        if given is not None and given.clone is clone:
            return
        features = _features(clone)
        fresh = _Given(clone, clone.voice, hashlib.sha256(features).digest())
        # Another object may be the same voice, read again.
        if given is None or (given.voice, given.digest) != (fresh.voice, fresh.digest):
            self._send(AddVoice(fresh.voice, features))
            self._removed.discard(fresh.voice.name)
        self._given[fresh.voice.name] = fresh

    def remove(self, name: str) -> None:
        """Have the worker forget a clone at the next `sweep` that finds it unused."""
        if name in self._given:
            self._removed.add(name)

    @property
    def to_sweep(self) -> bool:
        """Whether there is anything to forget."""
        return bool(self._removed)

    def sweep(self, used: Iterable[str]) -> None:
        """Have the worker forget what was removed, but for the voices in use."""
        for name in self._removed.difference(used):
            self._removed.remove(name)
            del self._given[name]
            self._send(RemoveVoice(name))


def _features(clone: Clone) -> bytes:
    try:
        features = clone.features
    except SpeechError:
        raise
    except Exception as error:
        # The pool serves other streams in the same call; they must not pay for this one.
        log.exception("clone_unreadable", voice=clone.voice.name)
        message = f"voice {clone.voice.name!r} cannot be read"
        raise SpeechError(ErrorCode.INTERNAL, message) from error
    if len(features) > MAX_PAYLOAD_BYTES:
        message = f"voice {clone.voice.name!r} is too large for a worker"
        raise SpeechError(ErrorCode.INTERNAL, message)
    return features
