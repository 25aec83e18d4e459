"""The playback clock: what counts as running dry."""

from __future__ import annotations

import pytest

from server.speech.playback import PlaybackClock


def play(*sends: tuple[float, float, float]) -> PlaybackClock:
    """Each send is (now, asked, text ready) and carries one second."""
    clock = PlaybackClock()
    for now_s, asked_s, text_ready_s in sends:
        clock.sent(1.0, now_s=now_s, asked_s=asked_s, text_ready_s=text_ready_s)
    return clock


@pytest.mark.parametrize(
    ("sends", "dry_s", "underruns"),
    [
        ([], None, 0),
        ([(10.0, 0.0, 0.0)], 11.0, 0),
        ([(10.0, 0.0, 0.0), (10.5, 10.0, 0.0)], 12.0, 0),
        ([(10.0, 0.0, 0.0), (13.0, 10.0, 0.0)], 14.0, 1),
        # The client did not take it earlier.
        ([(10.0, 0.0, 0.0), (13.0, 12.0, 0.0)], 14.0, 0),
        # There was nothing to say.
        ([(10.0, 0.0, 0.0), (13.0, 10.0, 12.5)], 14.0, 0),
        ([(10.0, 0.0, 0.0), (13.0, 10.0, 0.0), (14.5, 13.0, 0.0)], 15.5, 2),
    ],
)
def test_dry_time(
    sends: list[tuple[float, float, float]], dry_s: float | None, underruns: int
) -> None:
    clock = play(*sends)
    assert (clock.dry_s, clock.underruns) == (dry_s, underruns)
