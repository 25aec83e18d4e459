"""The worker process: one model, served to the front over one socket.

Started as `python -m server.pool.worker --fd N --order '{...}'`. The main thread loads the model
and then waits for the order to close; one thread reads the socket from the first moment on, so
that the end of the front is noticed even while a model loads; one thread per open stream pulls
the model's chunks, and of these as many at once as the model has slots (`server.pool.slots`).

The heartbeat is answered by the reading thread, so it shows that the process lives, not that the
model does: a model that never returns from computing a chunk is seen by its silence instead
(`PoolOptions.stall_timeout_s`).
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import sys
import threading
import traceback
from typing import Any, NoReturn, TypeAlias

import msgspec

from models.base import ModelError, SpeechModel
from models.recognition import SpeechRecognizer
from server.pool import messages
from server.pool.framing import ChannelError, FrameBuffer
from server.pool.hosted_model import HostedModel, load_model
from server.pool.hosted_recognizer import HostedRecognizer
from server.pool.hosted_stream import AnyTask, HostedRecognition, HostedStream, Stopwatch
from server.pool.outbox import Outbox
from server.pool.outlet import TranscriptOutlet
from server.pool.slots import Slots

_StreamOrder: TypeAlias = (
    messages.AppendText
    | messages.AppendAudio
    | messages.GrantCredit
    | messages.Cancel
    | messages.Recall
)
_Hosted: TypeAlias = HostedModel | HostedRecognizer

_CLOSE_WAIT_S = 1.0
_PR_SET_PDEATHSIG = 1


class LaunchOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line tells a worker, as JSON."""

    factory: str
    options: dict[str, Any]
    nice: int
    warm_up: bool


class Worker:
    """Serves one model over one socket.

    Args:
        sock: the stream socket whose other end is the front.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._send_lock = threading.Lock()
        self._hosted: _Hosted | None = None
        self._streams: dict[int, AnyTask] = {}
        self._slots = Slots(start_thread=self._start_thread, send=self._send)
        self._close_asked = threading.Event()

    def serve(self, order: LaunchOrder) -> None:
        """Load the model and serve it until the front says `Close`."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        try:
            model = load_model(order.factory, order.options)
            if order.warm_up:
                model.warm_up()
            hosted: _Hosted = (
                HostedModel(model, self._send)
                if isinstance(model, SpeechModel)
                else HostedRecognizer(model)
            )
            ready = _ready(hosted)
        except Exception as error:
            self._send(messages.StartFailed(f"{type(error).__name__}: {error}"))
            raise
        self._hosted = hosted
        self._slots.open(model.capabilities)
        self._take_capacity(hosted)
        self._send(ready)
        self._close_asked.wait()
        self._close(hosted)

    def _close(self, hosted: _Hosted) -> None:
        self._slots.close()
        for stream in list(self._streams.values()):
            stream.cancel()
        self._slots.note_cancelled()
        # A model must not be freed under a thread that is still inside it.
        if self._slots.wait_idle(_CLOSE_WAIT_S) and hosted.wait_enrolled(_CLOSE_WAIT_S):
            hosted.model.close()

    def _send(self, message: messages.WorkerMessage) -> None:
        frame = messages.encode(message)
        with self._send_lock:
            self._sock.sendall(frame)

    # --- What the front asks for -----------------------------------------------------------

    def _read(self) -> NoReturn:
        """Handle the front's messages; its end is the process's end, whatever else goes on."""
        buffer = FrameBuffer()
        status = 0
        try:
            while n_bytes := self._sock.recv_into(buffer.writable()):
                for payload in buffer.received(n_bytes):
                    self._receive(messages.decode_from_front(payload))
        except ConnectionError:
            status = 1
        except BaseException:  # noqa: BLE001 - a worker without a reader would never end
            traceback.print_exc()
            status = 1
        sys.stderr.flush()
        os._exit(status)

    def _receive(self, message: messages.FrontMessage) -> None:
        match message:
            case messages.Synthesize():
                self._speak(message)
            case messages.Recognize():
                self._listen(message)
            case messages.Ping():
                self._send(self._pong())
            case messages.Close():
                self._close_asked.set()
            case messages.AddVoice():
                self._speaker().add_voice(message)
            case messages.RemoveVoice():
                self._speaker().remove_voice(message.name)
            case messages.Enroll():
                self._speaker().enroll(message)
            case _:
                # A stream that is not here any more has ended while the message was under way.
                if (hosted := self._streams.get(message.stream)) is not None:
                    self._receive_for(hosted, message)

    def _receive_for(self, hosted: AnyTask, message: _StreamOrder) -> None:
        match message, hosted:
            case messages.GrantCredit(), HostedStream():
                hosted.outbox.grant(message.samples)
            case messages.AppendText(), HostedStream():
                hosted.append_text(message.text, last=message.last)
            case messages.AppendAudio(), HostedRecognition():
                hosted.append_audio(message.samples, last=message.last)
            case messages.Cancel(), _:
                if not self._give_back(hosted):
                    hosted.cancel()
                    self._slots.note_cancelled()
            case messages.Recall(), _:
                self._give_back(hosted)
            case _:
                raise ChannelError(f"{type(message).__name__} for another kind of stream")

    def _pong(self) -> messages.Pong:
        hosted = self._hosted
        if hosted is None or self._close_asked.is_set():
            return messages.Pong()  # it may be loading, or being freed
        return messages.Pong(hosted.holdings(), self._take_capacity(hosted))

    def _take_capacity(self, hosted: _Hosted) -> int:
        capacity = hosted.capacity()
        self._slots.limit(capacity)
        return capacity

    def _loaded(self) -> _Hosted:
        if self._hosted is None:
            raise ChannelError("work came before the worker was ready")
        return self._hosted

    def _speaker(self) -> HostedModel:
        hosted = self._loaded()
        if not isinstance(hosted, HostedModel):
            raise ChannelError("a recogniser was asked to speak")
        return hosted

    def _speak(self, order: messages.Synthesize) -> None:
        speaker = self._speaker()
        if (refusal := speaker.take_up_voice(order)) is not None:
            self._send(refusal)
            return
        outbox = Outbox(
            order.stream,
            sample_rate_hz=speaker.model.sample_rate_hz,
            credit_samples=order.credit_samples,
            send=self._send,
            forget=self._forget,
        )
        self._accept(HostedStream(order, outbox, self._slots.parked))

    def _listen(self, order: messages.Recognize) -> None:
        hosted = self._loaded()
        if not isinstance(hosted, HostedRecognizer):
            raise ChannelError("a speech model was asked to listen")
        outlet = TranscriptOutlet(order.stream, send=self._send, forget=self._forget)
        rate_hz = hosted.model.sample_rate_hz
        self._accept(
            HostedRecognition(order, outlet, sample_rate_hz=rate_hz, park=self._slots.parked)
        )

    def _accept(self, stream: AnyTask) -> None:
        self._streams[stream.id] = stream
        self._slots.enter(stream)

    def _give_back(self, hosted: AnyTask) -> bool:
        """Drop a stream that no slot has taken up yet."""
        if not self._slots.leave(hosted):
            return False
        self._forget(hosted.id)
        self._send(messages.Cancelled(hosted.id))
        return True

    def _forget(self, stream: int) -> None:
        self._streams.pop(stream, None)

    # --- What the model does ---------------------------------------------------------------

    def _start_thread(self) -> None:
        threading.Thread(target=self._serve_streams, name="stream", daemon=True).start()

    def _serve_streams(self) -> NoReturn:
        try:
            while True:
                self._serve_one(self._loaded())
        except BaseException:  # noqa: BLE001 - a process without its slots must not look alive
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)

    def _serve_one(self, hosted: _Hosted) -> None:
        stream = self._slots.next_stream()
        self._send(messages.Started(stream.id))
        self._compute(hosted, stream)
        self._slots.end(stream)

    def _compute(self, hosted: _Hosted, stream: AnyTask) -> None:
        """Run one stream to its end; nothing that the model raises leaves here."""
        outlet = stream.outlet
        stopwatch = Stopwatch(stream.feed)
        try:
            try:
                stream.pull(hosted.model, stopwatch)
            finally:
                # Before the stream's last message, so that whoever has heard it finds them counted.
                hosted.tell_incidents()
        except ModelError as error:
            if error.code == "text_unspeakable":
                outlet.complete(stopwatch.compute_s)
            else:
                outlet.fail(error.code, error.message)
        except Exception:  # noqa: BLE001 - whatever a model raises ends its stream, not the worker
            detail = "" if outlet.cancelled else traceback.format_exc()
            sys.stderr.write(detail)
            outlet.fail("failed", "the model failed", detail)
        else:
            outlet.complete(stopwatch.compute_s)


def _ready(hosted: _Hosted) -> messages.Ready | messages.RecognizerReady:
    model = hosted.model
    if isinstance(model, SpeechRecognizer):
        return messages.RecognizerReady(model.sample_rate_hz, model.capabilities)
    voices = tuple(model.voices())
    return messages.Ready(model.sample_rate_hz, model.capabilities, voices, hosted.capacity())


def main() -> None:
    """Run a worker on the socket and the order that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m server.pool.worker")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--order", required=True)
    arguments = parser.parse_args()
    order = msgspec.json.decode(arguments.order, type=LaunchOrder)
    # Ctrl-C goes to the whole process group, and a service manager may tell all processes to
    # terminate; the front decides when a worker ends, and its own end is seen on the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        # For the case that the model holds the GIL, so that the reader cannot see the front's end.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(order.nice)
    # What a model prints must not be lost, and must not be taken for anything else.
    os.dup2(2, 1)
    Worker(socket.socket(fileno=arguments.fd)).serve(order)
    sys.stdout.flush()
    sys.stderr.flush()
    # Slot threads may still be inside native code, which an ordinary exit would pull away.
    os._exit(0)


if __name__ == "__main__":
    main()
