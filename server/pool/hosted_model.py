"""The model as its worker has it beside the streams: clones, recordings, incidents."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from models.base import ModelError, SpeechModel
from models.recognition import SpeechRecognizer
from server.pool.messages import (
    MAX_PAYLOAD_BYTES,
    AddVoice,
    Enroll,
    Enrolled,
    EnrollFailed,
    Failed,
    Incidents,
    Synthesize,
    WorkerMessage,
)

_SAMPLE_DTYPE = np.dtype("<f4")


class HostedModel:
    """A loaded model, and what the front wants of it besides speech.

    Args:
        model: the model.
        send: puts a message on the socket.
    """

    def __init__(self, model: SpeechModel, send: Callable[[WorkerMessage], None]) -> None:
        self.model = model
        self._send = send
        self._new_voices: dict[str, AddVoice] = {}
        self._enrolling: threading.Thread | None = None
        self._incidents_lock = threading.Lock()

    # --- Clones, on the reader's thread ----------------------------------------------------

    def add_voice(self, order: AddVoice) -> None:
        """Keep a clone until a stream names it, which then learns what the model says to it."""
        self._new_voices[order.voice.name] = order

    def take_up_voice(self, order: Synthesize) -> Failed | None:
        """Give the model the clone that a stream names, if it does not have it.

        Returns:
            The stream's end if the model does not take the clone; the next stream tries again.
        """
        new = self._new_voices.get(order.request.voice)
        if new is None:
            return None
        try:
            self.model.add_voice(new.voice, new.features)
        except ModelError as error:
            code = "failed" if error.code == "text_unspeakable" else error.code
            return Failed(order.stream, code, error.message, "")
        except Exception:  # noqa: BLE001 - what a model raises ends the stream, not the worker
            detail = _told_traceback()
            return Failed(order.stream, "failed", "the model failed to take the voice up", detail)
        del self._new_voices[order.request.voice]
        return None

    def remove_voice(self, name: str) -> None:
        """Have the model forget a clone."""
        self._new_voices.pop(name, None)
        try:
            self.model.remove_voice(name)
        except Exception:  # noqa: BLE001 - nobody waits for an answer, and the worker works on
            _told_traceback()

    # --- Recordings, on a thread of their own ----------------------------------------------

    def enroll(self, order: Enroll) -> None:
        """Begin to make a voice of a recording, beside the streams."""
        self._enrolling = threading.Thread(
            target=self._serve_enrollment, args=(order,), name="enrollment", daemon=True
        )
        self._enrolling.start()

    def wait_enrolled(self, timeout_s: float) -> bool:
        """Wait for the recording under way; False if that took too long."""
        if self._enrolling is None:
            return True
        self._enrolling.join(timeout_s)
        return not self._enrolling.is_alive()

    def _serve_enrollment(self, order: Enroll) -> None:
        try:
            answer = self._enroll(order)
            self.tell_incidents()
            self._send(answer)
        except BaseException:  # noqa: BLE001 - a call without an answer must not look alive
            _told_traceback()
            os._exit(1)

    def _enroll(self, order: Enroll) -> Enrolled | EnrollFailed:
        # A copy, because a model may want to write where it reads.
        samples = np.frombuffer(order.samples, _SAMPLE_DTYPE).copy()
        try:
            features = self.model.enroll(samples, order.sample_rate_hz, order.transcript)
        except ModelError as error:
            return EnrollFailed(order.call, error.code, error.message, "")
        except Exception:  # noqa: BLE001 - whatever a model raises ends the call, not the worker
            return EnrollFailed(order.call, "failed", "the model failed", _told_traceback())
        if len(features) > MAX_PAYLOAD_BYTES:
            message = f"the voice's features are longer than {MAX_PAYLOAD_BYTES} bytes"
            return EnrollFailed(order.call, "failed", message, "")
        return Enrolled(order.call, features)

    # --- Figures ---------------------------------------------------------------------------

    def tell_incidents(self) -> None:
        """Send what the model's guards have met since the last time."""
        try:
            with self._incidents_lock:
                counts = {name: n for name, n in self.model.take_incidents().items() if n > 0}
        except Exception:  # noqa: BLE001 - a figure less is no reason to lose speech
            _told_traceback()
            return
        if counts:
            self._send(Incidents(counts))

    def capacity(self) -> int:
        """How many streams may compute at once now, one at least."""
        slots = self.model.capabilities.slots
        try:
            return min(max(1, self.model.capacity()), slots)
        except Exception:  # noqa: BLE001 - a worker without this figure is better than none
            _told_traceback()
            return slots

    def holdings(self) -> dict[str, int]:
        """What the model holds now."""
        try:
            return dict(self.model.holdings())
        except Exception:  # noqa: BLE001 - a figure less is no reason to lose speech
            _told_traceback()
            return {}


def _told_traceback() -> str:
    """The exception that is being handled, also written to stderr."""
    detail = traceback.format_exc()
    sys.stderr.write(detail)
    sys.stderr.flush()
    return detail


def load_model(factory: str, options: dict[str, Any]) -> SpeechModel | SpeechRecognizer:
    """Import `package.module:Name` and call it with `options`.

    Raises:
        ValueError: `factory` is not of that form.
        TypeError: what it made is neither `SpeechModel` nor `SpeechRecognizer`.
    """
    module_name, separator, attribute = factory.partition(":")
    if not separator:
        raise ValueError(f"factory {factory!r} is not of the form 'package.module:Name'")
    model = getattr(importlib.import_module(module_name), attribute)(**options)
    if not isinstance(model, SpeechModel | SpeechRecognizer):
        made = type(model).__name__
        raise TypeError(f"{factory} made a {made}, not a SpeechModel or SpeechRecognizer")
    return model
