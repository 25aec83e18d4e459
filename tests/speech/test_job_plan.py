"""From a text to a job's segments."""

from __future__ import annotations

from typing import Any

import pytest
from job_orders import RATE_HZ, segment

from server.errors import ErrorCode, SpeechError
from server.speech import prosody
from server.speech.jobs.plan import check_sound
from server.speech.types import AudioFormat, Prosody, SpeechOptions


class _Voice:
    sample_rate_hz = RATE_HZ


VOICE: Any = _Voice()


def test_a_thousand_ways_to_speak_make_no_filter_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prosody, "Tempo", None)
    segments = [segment(n, prosody=Prosody(speed=1 + n / 1000)) for n in range(1000)]
    check_sound(SpeechOptions(voice="sine"), VOICE, segments)


@pytest.mark.parametrize(
    ("options", "shape", "code"),
    [
        ({"prosody": Prosody(speed=3.0)}, Prosody(speed=2.0), ErrorCode.PARAMETER_INVALID),
        ({"sample_rate_hz": 12_345}, Prosody(), ErrorCode.SAMPLE_RATE_UNSUPPORTED),
        (
            {"audio_format": AudioFormat.MP3, "bit_rate": 1},
            Prosody(),
            ErrorCode.PARAMETER_INVALID,
        ),
    ],
)
def test_what_cannot_be_made_is_refused(
    options: dict[str, Any], shape: Prosody, code: ErrorCode
) -> None:
    with pytest.raises(SpeechError) as refused:
        check_sound(SpeechOptions(voice="sine", **options), VOICE, [segment(0, prosody=shape)])
    assert refused.value.code is code
