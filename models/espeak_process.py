"""The parent's side of `models.espeak_host`: starts it, and reads what its children say."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from io import BufferedReader
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
import numpy.typing as npt

import models
from models.espeak_host import BLOCK, ERROR, FRAME_HEADER, LENGTH, WORD
from models.espeak_library import EspeakError, LibraryVoice, Utterance, WordEvent

Int16Samples = npt.NDArray[np.int16]

_BOOT = """
import sys
sys.path.append(sys.argv[1])
from models.espeak_host import main
main(int(sys.argv[2]), *sys.argv[3:])
"""
_EXIT_LIMIT_S = 5.0


class EspeakProcess:
    """A host process of libespeak-ng. Its methods may be called from any thread.

    Raises:
        EspeakError: it cannot be started, or cannot load the library.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()  # to send one request after the other
        description = self._start()
        self.sample_rate_hz = int(description["sample_rate_hz"])
        self.voices = [
            LibraryVoice(identifier, name, tuple(tags), gender)
            for identifier, name, tags, gender in description["voices"]
        ]

    def speak(
        self, utterance: Utterance
    ) -> Generator[tuple[Int16Samples, list[WordEvent]], None, None]:
        """Speak an utterance, block by block; closing the iterator stops the library.

        Raises:
            EspeakError: no such voice, the library failed, or its process ended.
        """
        request = json.dumps(utterance).encode()
        ours, theirs = os.pipe()
        with os.fdopen(ours, "rb") as pipe:
            try:
                self._send(request, theirs)
            finally:
                os.close(theirs)
            while (block := _read_frame(pipe)) is not None:
                yield block

    def close(self) -> None:
        """End the process. Utterances that are being read may be read to their end."""
        self._socket.close()
        try:
            self._process.wait(_EXIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> dict[str, Any]:
        """Start a host; returns its description of the library."""
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
                (
                    *(sys.executable, "-I", "-S", "-c", _BOOT),
                    str(Path(models.__path__[0]).resolve().parent),
                    str(theirs.fileno()),
                    espeakng_loader.get_library_path(),
                    espeakng_loader.get_data_path(),
                ),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
            )
        try:
            return _read_description(self._socket)
        except EspeakError:
            self.close()
            raise

    def _send(self, request: bytes, pipe_fd: int) -> None:
        """Hand a request over; a host that has been killed is replaced once."""
        with self._turn:
            try:
                _send_request(self._socket, request, pipe_fd)
            except OSError:
                self.close()
                self._start()
                _send_request(self._socket, request, pipe_fd)


def _send_request(host: socket.socket, request: bytes, pipe_fd: int) -> None:
    socket.send_fds(host, [LENGTH.pack(len(request))], [pipe_fd])
    host.sendall(request)


def _read_description(host: socket.socket) -> dict[str, Any]:
    """What a host says when it has loaded the library, or could not."""
    with host.makefile("rb") as stream:
        head = stream.read(LENGTH.size)
        if len(head) < LENGTH.size:
            raise EspeakError("the process of libespeak-ng did not start")
        description: dict[str, Any] = json.loads(stream.read(*LENGTH.unpack(head)))
    if "error" in description:
        raise EspeakError(description["error"])
    return description


def _read_frame(pipe: BufferedReader) -> tuple[Int16Samples, list[WordEvent]] | None:
    """One frame of a child; None at the end of its utterance."""
    header = pipe.read(FRAME_HEADER.size)
    if len(header) < FRAME_HEADER.size:
        raise EspeakError("libespeak-ng ended in the middle of an utterance")
    kind, n_bytes, n_words = FRAME_HEADER.unpack(header)
    if kind == ERROR:
        raise EspeakError(pipe.read(n_bytes).decode())
    if kind != BLOCK:
        return None
    words = [WordEvent(*fields) for fields in WORD.iter_unpack(pipe.read(n_words * WORD.size))]
    return np.frombuffer(pipe.read(n_bytes), np.int16), words
