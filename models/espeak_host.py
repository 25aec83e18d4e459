"""The process that hosts libespeak-ng: it loads it once and forks for every utterance.

A child speaks one utterance in a library that nobody has used, which makes its samples a function
of the utterance alone; what the library would leak goes with the child, and should the library
ever crash, that is the end of one utterance and not of a worker. A fork costs less than a
millisecond, because the host imports little and loads no model data but the library's own.

On the wire, host to parent: one length-prefixed JSON object, `{"sample_rate_hz", "voices"}` or
`{"error"}`. Parent to host, for each utterance: a length-prefixed JSON array (the fields of
`Utterance`), with the write end of a pipe as ancillary data. Child to parent, through that pipe:
frames, each a `FRAME_HEADER` and what it announces, up to an END or an ERROR. A parent that closes
its end of the pipe stops the child; one that closes the socket ends the host.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import struct
import traceback
from io import BufferedWriter
from typing import NoReturn

from models.espeak_library import EspeakError, EspeakLibrary, Utterance, WordEvent

LENGTH = struct.Struct("=I")
FRAME_HEADER = struct.Struct("=BII")
"""Kind; bytes of samples, or of an error's text; number of words."""
WORD = struct.Struct("=III")
"""A `WordEvent`."""
BLOCK, END, ERROR = range(3)


def main(socket_fd: int, library_path: str, data_path: str) -> None:
    """Serve until the parent goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end ends us
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children need no funeral
    with socket.socket(fileno=socket_fd) as parent:
        try:
            library = EspeakLibrary(library_path, data_path)
            _send(parent, {"sample_rate_hz": library.sample_rate_hz, "voices": library.voices()})
        except EspeakError as error:
            _send(parent, {"error": str(error)})
            return
        gc.freeze()  # children shall not copy pages only to look for garbage
        while (request := _receive(parent)) is not None:
            utterance, pipe_fd = request
            if os.fork() == 0:
                parent.close()
                _speak(library, utterance, pipe_fd)
            os.close(pipe_fd)


def _send(parent: socket.socket, message: dict[str, object]) -> None:
    encoded = json.dumps(message).encode()
    parent.sendall(LENGTH.pack(len(encoded)) + encoded)


def _receive(parent: socket.socket) -> tuple[Utterance, int] | None:
    """The next utterance and the pipe for it; None when the parent has gone."""
    head, fds, _, _ = socket.recv_fds(parent, LENGTH.size, 1, socket.MSG_WAITALL)
    if len(head) < LENGTH.size or not fds:
        return None
    (length,) = LENGTH.unpack(head)
    encoded = parent.recv(length, socket.MSG_WAITALL)
    return None if len(encoded) < length else (Utterance(*json.loads(encoded)), fds[0])


def _speak(library: EspeakLibrary, utterance: Utterance, pipe_fd: int) -> NoReturn:
    """Be a child: speak into the pipe, and end."""
    try:
        with open(pipe_fd, "wb") as pipe:
            _write_frames(library, utterance, pipe)
    except BrokenPipeError:
        pass  # the parent wants no more
    except BaseException:  # noqa: BLE001 - whatever it is, no child may return into the host's loop
        traceback.print_exc()
    os._exit(0)


def _write_frames(library: EspeakLibrary, utterance: Utterance, pipe: BufferedWriter) -> None:
    def receive(samples: bytes, words: list[WordEvent]) -> bool:
        pipe.write(FRAME_HEADER.pack(BLOCK, len(samples), len(words)))
        pipe.writelines(WORD.pack(*word) for word in words)
        pipe.write(samples)
        pipe.flush()
        return True

    try:
        library.speak(utterance, receive)
        pipe.write(FRAME_HEADER.pack(END, 0, 0))
    except EspeakError as error:
        text = str(error).encode()
        pipe.write(FRAME_HEADER.pack(ERROR, len(text), 0) + text)
