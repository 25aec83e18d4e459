"""From a job's text to its segments, all of them before the first one is spoken.

They are stored with the job, so that a server that goes on with it, of a later version perhaps,
neither repeats nor leaves out anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from models.base import Capabilities
from server.errors import ErrorCode, SpeechError
from server.speech.encoder import Encoder
from server.speech.jobs.types import Segment
from server.speech.prosody import check_prosody, combined
from server.speech.subtitles import SentenceTrack
from server.speech.types import SpeechOptions
from server.speech.utterance import Utterance
from server.speech.utterances import UtteranceReader
from server.speech.voices import VoiceEntry


async def read_segments(
    text: str, options: SpeechOptions, *, language: str, capabilities: Capabilities
) -> list[Segment]:
    """Read a whole text, in turns with whoever else is on the event loop.

    Raises:
        SpeechError: SSML_INVALID, or TEXT_MISSING if there is nothing to speak.
    """
    reader = UtteranceReader(options, language=language, capabilities=capabilities)
    reader.feed(text)
    reader.finish()
    segments: list[Segment] = []
    while True:
        utterance = reader.read()
        if utterance is not None:
            segments.append(_segment(len(segments), utterance))
        elif not reader.unread:
            break
        await asyncio.sleep(0)
    if not any(segment.spoken for segment in segments):
        raise SpeechError(ErrorCode.TEXT_MISSING, "No text specified that can be spoken!")
    return segments


def check_sound(options: SpeechOptions, voice: VoiceEntry, segments: Sequence[Segment]) -> None:
    """Find out whether the file can be made.

    Raises:
        SpeechError: FORMAT_UNSUPPORTED, SAMPLE_RATE_UNSUPPORTED or PARAMETER_INVALID.
    """
    make_encoder(options, voice.sample_rate_hz)
    for prosody in {segment.prosody for segment in segments}:
        # Only looked at: filters for thousands of documents would take seconds to make.
        check_prosody(combined(options.prosody, prosody))


def make_encoder(options: SpeechOptions, model_rate_hz: int) -> Encoder:
    """The encoder of a job's file."""
    return Encoder(
        options.audio_format,
        model_rate_hz=model_rate_hz,
        sample_rate_hz=options.sample_rate_hz or model_rate_hz,
        prosody=options.prosody,
        bit_rate=options.bit_rate,
    )


def _segment(number: int, utterance: Utterance) -> Segment:
    shown = SentenceTrack(utterance, begin_s=0.0).snapshot(0.0).text if utterance.announced else ""
    return Segment(
        number=number,
        text=shown,
        spoken=utterance.spoken,
        instruction=utterance.instruction,
        pause_s=utterance.pause_s,
        prosody=utterance.prosody,
    )
