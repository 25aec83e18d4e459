"""Recordings that are longer than what a voice is made of."""

from __future__ import annotations

import numpy as np
import pytest
from clone_model import syllables, wav_file

from server.speech.heard_recording import listen

RATE_HZ = 24_000


def spoken(*parts_s: float) -> bytes:
    """Sound of these lengths, in seconds, with a quarter of a second of silence between them."""
    pause = np.zeros(RATE_HZ // 4, np.float32)
    parts = [piece for part_s in parts_s for piece in (syllables(200, part_s), pause)]
    return wav_file(np.concatenate(parts[:-1]))


def test_what_is_short_enough_stays_whole() -> None:
    heard = listen(spoken(8), longest_s=10)
    assert heard.report.seconds == pytest.approx(8, abs=0.2)
    assert heard.samples.size == round(heard.report.seconds * RATE_HZ)


def test_a_long_one_is_cut_where_it_is_quiet() -> None:
    heard = listen(spoken(7.9, 2.3, 30), longest_s=10)
    # The pauses of the syllables are shorter than the one after 7.9 s.
    assert heard.report.seconds == pytest.approx(8.0, abs=0.15)
    assert heard.report.recorded_s == pytest.approx(40.7, abs=0.05)
    assert heard.report.verdict == "ok"


def test_without_a_bound_it_is_refused() -> None:
    assert listen(spoken(7, 3, 30)).report.verdict == "refused"
