"""Which text is synthesised when: whole sentences, and sentences that are still being written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from models.base import Capabilities, SynthesisRequest, Voice
from server.pool.options import ModelInfo
from server.settings import ModelSettings, TextStreamMode
from server.speech.lookahead import SOON_DRY_S, Lookahead
from server.speech.playback import PlaybackClock
from server.speech.speaker import Speaker
from server.speech.tally import Tally
from server.speech.text_streams import TextStreams
from server.speech.types import SpeechOptions
from server.speech.utterance import Utterance
from server.speech.utterances import UtteranceReader
from server.speech.voices import VoiceEntry

OPTIONS = SpeechOptions(voice="x", instruction="happy", seed=7)
VOICE = VoiceEntry(
    name="model/x", model="model", voice=Voice(name="x", language="cmn"), sample_rate_hz=24000
)


@dataclass
class FakeStream:
    request: SynthesisRequest
    pieces: list[str]
    deadline_s: float
    text_ended: bool
    in_pieces: bool
    ended: bool = False
    cancelled: bool = False

    def append_text(self, text: str, *, last: bool = False) -> None:
        assert not self.text_ended
        self.pieces.append(text)
        self.text_ended = last

    def reprioritize(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s

    def cancel(self) -> None:
        self.ended = self.cancelled = True


@dataclass
class Desk:
    """A lookahead on a pool that only takes notes, and a clock that stands still."""

    mode: TextStreamMode
    now_s: float = 100.0
    streams: list[FakeStream] = field(default_factory=list)
    playback: PlaybackClock = field(default_factory=PlaybackClock)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.reader = UtteranceReader(OPTIONS, language="cmn")
        self.ahead = Lookahead(
            self.reader,
            Speaker(self.open, voice=VOICE, options=OPTIONS, tenant="t"),
            playback=self.playback,
            tally=self.tally,
            mode=self.mode,
            clock=lambda: self.now_s,
        )

    def open(self, **order: Any) -> Any:
        assert (order["model"], order["clone"]) == ("model", None)
        stream = FakeStream(
            order["request"],
            [order["text"]],
            order["deadline_s"],
            not order["more_text"],
            order["more_text"],
        )
        self.streams.append(stream)
        return stream

    def feed(self, *pieces: str) -> None:
        for piece in pieces:
            self.reader.feed(piece)
            assert self.ahead.fill()

    def speak_next(self) -> Any:
        sentence = self.ahead.next()
        assert self.ahead.fill()
        return sentence

    def hear(self, audio_s: float) -> None:
        """Send audio to the listener."""
        self.playback.sent(audio_s, now_s=self.now_s, asked_s=self.now_s, text_ready_s=self.now_s)

    @property
    def texts(self) -> list[list[str]]:
        return [stream.pieces for stream in self.streams]


def test_never_waits_for_whole_sentences() -> None:
    desk = Desk("never")
    desk.feed("今天天气真的", "很好")
    assert desk.texts == []
    desk.feed("。")
    assert desk.texts == [["今天天气真的很好。"]]
    assert desk.streams[0].text_ended
    request = desk.streams[0].request
    assert request == SynthesisRequest(
        voice="x", instruction="happy", seed=7, tenant=request.tenant
    )


def test_models_learn_who_is_the_same_and_not_who_it_is() -> None:
    desk = Desk("never")
    utterance = Utterance(text="好。", text_begin=0, text_end=2, spoken="好。")
    for tenant in ("key-anna", "key-anna", "key-ben", ""):
        speaker = Speaker(desk.open, voice=VOICE, options=OPTIONS, tenant=tenant)
        speaker.speak(utterance, deadline_s=0.0)
    first, again, other, nobody = (stream.request.tenant for stream in desk.streams)
    assert first == again
    assert len({first, other, nobody}) == 3
    assert "anna" not in first


def test_auto_begins_at_once_while_nothing_is_heard() -> None:
    desk = Desk("auto")
    desk.feed("今", "天天", "气，")
    assert desk.texts == [["今", "天天", "气，"]]
    assert desk.streams[0].text_ended


def test_auto_does_not_begin_beside_a_synthesis() -> None:
    desk = Desk("auto")
    desk.feed("今天天气很好。我们去")
    assert desk.speak_next() is not None
    desk.feed("公园")
    assert desk.texts == [["今天天气很好。"]]
    desk.streams[0].ended = True
    desk.feed("玩")
    assert desk.texts[1:] == [["我们去公园玩"]]
    assert not desk.streams[1].text_ended


def test_auto_does_not_begin_while_much_is_left_to_hear() -> None:
    desk = Desk("auto")
    desk.feed("今天天气很好。我们去")
    desk.speak_next()
    desk.hear(5.0)
    desk.streams[0].ended = True
    assert desk.speak_next() is None
    assert len(desk.streams) == 1
    desk.now_s += 5.0 - SOON_DRY_S
    desk.feed("公")
    assert len(desk.streams) == 1
    desk.now_s += 0.01
    desk.feed("园")
    assert desk.texts[1:] == [["我们去公园"]]
    assert desk.streams[1].deadline_s == pytest.approx(105.0)


def test_always_begins_ahead_and_takes_whole_sentences_in_pieces_too() -> None:
    desk = Desk("always")
    desk.feed("今天天气很好。我们去", "公园散步，")
    assert desk.texts == [["今天天气很好。", ""], ["我们去", "公园散步"]]
    assert [stream.text_ended for stream in desk.streams] == [True, False]
    assert all(stream.in_pieces for stream in desk.streams)


def test_what_is_being_written_is_read_on_though_others_wait() -> None:
    desk = Desk("always")
    desk.feed("今天天气很好。我们去")
    desk.feed("公园散步吧。明天也去公园散步。后天")
    assert desk.texts == [["今天天气很好。", ""], ["我们去", "公园散步吧。"]]
    assert desk.speak_next().utterance.text == "今天天气很好。"
    assert len(desk.streams) == 2
    grown = desk.speak_next()
    assert grown.utterance.text == "我们去公园散步吧。"
    assert (grown.utterance.text_begin, grown.utterance.text_end) == (7, 16)
    assert desk.texts[2:] == [["明天也去公园散步。", ""]]


def test_when_a_sentence_counts_as_written() -> None:
    desk = Desk("auto")
    desk.tally.text_came("今", desk.now_s)
    desk.feed("今天")
    sentence = desk.speak_next()
    assert not sentence.is_written
    assert desk.tally.first_ready_s is None
    desk.now_s += 2.0
    desk.feed("天气很好。")
    assert (sentence.begun_s, sentence.written_s) == (100.0, 102.0)
    assert desk.tally.summary(0.0, 0).text_wait_s == 2.0


def test_what_is_heard_before_it_is_written_was_not_waited_for() -> None:
    tally = Tally()
    tally.text_came("今", 1.0)
    tally.audio_left(b"..", lambda: 1.5)
    tally.text_ready(3.0)
    summary = tally.summary(0.1, 0)
    assert (summary.first_audio_s, summary.text_wait_s) == (0.5, 0.5)


def test_text_that_says_nothing_is_read_in_turns() -> None:
    desk = Desk("auto")
    desk.reader.feed("```\n" + "x = 1\n" * 1000 + "```\n今天天气很好。")
    assert not desk.ahead.fill()
    assert not desk.ahead.waiting
    assert not desk.ahead.exhausted
    while not desk.ahead.fill():
        pass
    assert len(desk.streams) == 1


def test_a_cancel_reaches_what_is_being_written() -> None:
    desk = Desk("always")
    desk.feed("今天天气很好。我们去")
    desk.ahead.cancel()
    assert all(stream.cancelled for stream in desk.streams)
    assert not desk.ahead.waiting


# --- Settings --------------------------------------------------------------------------------

ABLE, UNABLE = Capabilities(text_stream=True), Capabilities()


@pytest.mark.parametrize(
    ("settings", "capabilities", "ssml", "mode"),
    [
        ({}, ABLE, False, "auto"),
        ({}, UNABLE, False, "never"),
        ({}, ABLE, True, "never"),
        ({"text_stream": "always"}, ABLE, False, "always"),
        ({"text_stream": "always"}, UNABLE, False, "never"),
        ({"text_stream": "never", "voice_text_stream": {"x": "always"}}, ABLE, False, "always"),
        ({"voice_text_stream": {"model/x": "never"}}, ABLE, False, "never"),
        ({"voice_text_stream": {"y": "never"}}, ABLE, False, "auto"),
    ],
)
def test_modes(
    settings: dict[str, Any], capabilities: Capabilities, ssml: bool, mode: TextStreamMode
) -> None:
    streams = TextStreams([ModelSettings(name="model", **settings)])
    options = SpeechOptions(voice="x", ssml=ssml)
    assert streams.mode(VOICE, capabilities, options) == mode


def test_wishes_that_have_no_effect() -> None:
    streams = TextStreams(
        [
            ModelSettings(name="model", voice_text_stream={"x": "always", "nobody": "auto"}),
            ModelSettings(name="unknown", text_stream="always"),
            ModelSettings(name="able", text_stream="always"),
        ]
    )
    infos = {
        name: ModelInfo(name=name, sample_rate_hz=1, capabilities=capabilities, voices=())
        for name, capabilities in {"model": UNABLE, "able": ABLE}.items()
    }
    nobody, unable = streams.problems(infos, [VOICE])
    assert "'nobody'" in nobody
    assert "'model'" in unable
    assert "whole sentences" in unable
