"""Aliyun NLS, namespace `FlowingSpeechSynthesizer`: text streams in, audio streams out.

One task, without I/O. Sources: Aliyun's "streaming-text-tts-wss" page and the SDKs that
`docs/protocols/aliyun.md` names.
"""

from __future__ import annotations

from typing import Any

from server import limits
from server.errors import ErrorCode, SpeechError
from server.protocols.fields import Fields
from server.protocols.nls_options import check_task_length, count_characters, read_options
from server.protocols.nls_parameters import SpeechParameters
from server.protocols.nls_task import START, STOP, SpeechTask, StartTask, place
from server.protocols.task import FeedText, FlushText, TaskCommand
from server.speech.types import (
    AudioProduced,
    SentenceFinished,
    SentenceStarted,
    SentenceSubtitle,
    SessionEvent,
    SessionFinished,
    SubtitleProduced,
    WordSubtitle,
)

NAMESPACE = "FlowingSpeechSynthesizer"
_FIELDS = Fields(SpeechParameters)
_RUN, _FLUSH = "RunSynthesis", "FlushText"


class FlowingTask(SpeechTask):
    """A task whose text comes in pieces of any size."""

    protocol = "nls-flowing"
    directives = frozenset({START, _RUN, _FLUSH, STOP})

    def start(self, payload: dict[str, Any]) -> StartTask:
        """Take the parameters. A `text` is not ours: the C++ SDK repeats its last task's."""
        return StartTask(read_options(payload, _FIELDS))

    def receive(self, name: str, payload: dict[str, Any]) -> TaskCommand | None:
        """Take RunSynthesis or FlushText.

        Raises:
            SpeechError: there is no text, or too much.
        """
        return self._run(payload) if name == _RUN else FlushText()

    def _run(self, payload: dict[str, Any]) -> FeedText | None:
        text = payload.get("text")
        if not isinstance(text, str):
            raise SpeechError(ErrorCode.TEXT_MISSING, "No text specified!")
        characters = count_characters(text)
        if characters > limits.MAX_PIECE_CHARACTERS:
            raise SpeechError(
                ErrorCode.TEXT_TOO_LONG,
                f"Text of {characters} characters is over the {limits.MAX_PIECE_CHARACTERS} "
                "of one message!",
            )
        self._characters += characters
        check_task_length(self._characters)
        if not text:
            return None
        return FeedText(text)

    def send(self, event: SessionEvent) -> str | bytes:
        """The frame for an event of the session."""
        match event:
            case AudioProduced(data):
                return data
            case SentenceStarted(index):
                payload = {"session_id": self._session_id, "index": index}
                return self._render("SentenceBegin", payload)
            case SubtitleProduced(index, subtitle):
                return self._render("SentenceSynthesis", _subtitles(index, subtitle))
            case SentenceFinished(index, subtitle):
                return self._render("SentenceEnd", _subtitles(index, subtitle))
            case SessionFinished(summary):
                return self._completed(summary)


def _subtitles(index: int, subtitle: SentenceSubtitle | None) -> dict[str, Any]:
    """Timestamps in the gateway's form: the sentence first, then its words."""
    if subtitle is None:
        return {"index": index, "subtitles": []}
    sentence = {**place(subtitle), "sentence": True, "phoneme_list": []}
    if subtitle.words:
        # As in Aliyun's messages: clients join the texts of all items to a transcript.
        sentence["text"] = ""
    return {"index": index, "subtitles": [sentence, *map(_word, subtitle.words)]}


def _word(word: WordSubtitle) -> dict[str, Any]:
    fields = {**place(word), "sentence": False, "phoneme_list": []}
    return {**fields, "estimated": True} if word.estimated else fields
