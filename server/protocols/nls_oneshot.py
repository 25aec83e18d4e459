"""Aliyun NLS, namespaces `SpeechSynthesizer` and `SpeechLongSynthesizer`: all text at once.

One task, without I/O. StartSynthesis carries the text; the answers are SynthesisStarted, audio,
MetaInfo with the timestamps of each sentence that has left, and SynthesisCompleted.

Timestamps come by the sentence, as the C++ SDK's demo has it ("incrementally") and Aliyun's page on
the timestamps of long texts; all SDKs hand every MetaInfo to their user unread. That also keeps a
message below the 64 KiB that the Java SDK's Netty takes.
"""

from __future__ import annotations

from typing import Any

from server.protocols.fields import Fields
from server.protocols.nls_options import count_characters, read_options, read_text
from server.protocols.nls_parameters import TextParameters
from server.protocols.nls_task import SpeechTask, StartTask, place
from server.speech.types import (
    AudioProduced,
    SentenceFinished,
    SentenceSubtitle,
    SessionEvent,
    SessionFinished,
    WordSubtitle,
)

NAMESPACE = "SpeechSynthesizer"
LONG_NAMESPACE = "SpeechLongSynthesizer"
_FIELDS = Fields(TextParameters)


class OneShotTask(SpeechTask):
    """A task whose text came with StartSynthesis, of any length and in SSML if it likes."""

    protocol = "nls"

    def start(self, payload: dict[str, Any]) -> StartTask:
        """Take parameters and text.

        Raises:
            SpeechError: a parameter is wrong, or there is no text, or too much.
        """
        text = read_text(payload)
        self._characters = count_characters(text)
        return StartTask(read_options(payload, _FIELDS), text)

    def send(self, event: SessionEvent) -> str | bytes | None:
        """The frame for an event of the session; sentences are not told of."""
        match event:
            case AudioProduced(data):
                return data
            case SentenceFinished(_, SentenceSubtitle() as subtitle):
                items = self._subtitles(subtitle)
                return self._render("MetaInfo", {"subtitles": items}) if items else None
            case SessionFinished(summary):
                return self._completed(summary)
            case _:
                return None

    def _subtitles(self, subtitle: SentenceSubtitle) -> list[dict[str, Any]]:
        return [_item(word) for word in subtitle.words]


class LongTask(OneShotTask):
    """The same with another form of timestamps: the sentence stands before its words."""

    protocol = "nls-long"

    def _subtitles(self, subtitle: SentenceSubtitle) -> list[dict[str, Any]]:
        # As in Aliyun's messages: clients join the texts of all items to a transcript.
        text = "" if subtitle.words else subtitle.text
        sentence = {**_item(subtitle), "text": text, "sentence": True}
        return [sentence, *({**_item(word), "sentence": False} for word in subtitle.words)]


def _item(item: SentenceSubtitle | WordSubtitle) -> dict[str, Any]:
    # The gateway has this word there, not null.
    return {**place(item), "phoneme": "null"}
