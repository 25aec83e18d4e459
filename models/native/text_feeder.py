"""Reads a streamed text in a thread beside its speech."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import TypeAlias

from models.cosyvoice.request_text import StreamedText
from models.native.handle import SessionHandle

_Piece: TypeAlias = tuple[str, Sequence[int]]


class FedPassage:
    """A part of a text that is spoken in one go, as far as it has come.

    It can be spoken again from its beginning: it keeps its pieces, and gives them to whichever
    session is at it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pieces: list[_Piece] = []
        self._ended = False
        self._error: BaseException | None = None
        self._handle: SessionHandle | None = None

    def feed(self, handle: SessionHandle) -> None:
        """Give a session what has come, and what comes."""
        with self._lock:
            for piece in self._pieces:
                handle.append_text(*piece)
            if self._ended:
                handle.end_text(self._error)
            self._handle = handle

    def append(self, text: str, ids: Sequence[int]) -> None:
        """Add a piece."""
        with self._lock:
            self._pieces.append((text, ids))
            if self._handle is not None:
                self._handle.append_text(text, ids)

    def end(self, error: BaseException | None = None) -> None:
        """No more of it comes, perhaps because of an error."""
        with self._lock:
            self._ended, self._error = True, error
            if self._handle is not None:
                self._handle.end_text(error)


class TextFeeder:
    """A thread that reads a text while it is spoken, so that neither waits for the other.

    Args:
        text: nobody else reads it any more.
    """

    def __init__(self, text: StreamedText) -> None:
        self._text = text
        self._passages: queue.SimpleQueue[FedPassage | BaseException | None] = queue.SimpleQueue()
        self._stopped = False
        threading.Thread(target=self._read, name="text", daemon=True).start()

    def next_passage(self) -> FedPassage | None:
        """Wait until the next part has begun; None if the text has ended.

        Raises:
            ModelError: `text_unspeakable`, there is nothing to say in the whole text.
        """
        found = self._passages.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def stop(self) -> None:
        """Let the thread end when the next piece comes, which nobody needs."""
        self._stopped = True

    def _read(self) -> None:
        passage: FedPassage | None = None
        try:
            for streamed in self._text.passages():
                passage = FedPassage()
                self._passages.put(passage)
                for text, ids in streamed.pieces():
                    if self._stopped:
                        return
                    passage.append(text, ids)
                passage.end()
                passage = None
        except Exception as error:  # noqa: BLE001 - it is raised where the speech is pulled
            if passage is None:
                self._passages.put(error)
            else:
                passage.end(error)
        else:
            self._passages.put(None)
