"""When a listener who plays audio as it comes will have heard all of it."""

from __future__ import annotations


class PlaybackClock:
    """An estimate of the client's playback from what was sent when.

    Time is passed in, in seconds of any monotonic clock. The listener is taken to start with the
    first audio, to have no buffer of its own, and to wait when it runs dry.
    """

    def __init__(self) -> None:
        self.dry_s: float | None = None
        """When everything sent so far will have been heard; None before the first audio."""
        self.underruns = 0
        """How often audio came too late although its text had been there in time."""

    def sent(self, audio_s: float, *, now_s: float, asked_s: float, text_ready_s: float) -> None:
        """Take note of audio that leaves now.

        Args:
            audio_s: its duration.
            now_s: the time.
            asked_s: since when the connection could have taken it. If that is late, the client
                itself holds us back, and hears what it has.
            text_ready_s: since when its text was there. If that is late, nobody spoke.
        """
        if self.dry_s is None:
            self.dry_s = now_s
        elif now_s > self.dry_s:
            if asked_s < self.dry_s and text_ready_s < self.dry_s:
                self.underruns += 1
            self.dry_s = now_s
        self.dry_s += audio_s
