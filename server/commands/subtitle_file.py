"""Subtitle files, SRT and WebVTT, one cue per sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.client import Subtitle
from server.commands.failure import UsageError

ENDINGS = (".srt", ".vtt")


@dataclass(frozen=True, slots=True)
class Cue:
    """A text and when it is heard, in ms of the audio."""

    text: str
    begin_ms: int
    end_ms: int


def check_ending(path: Path) -> None:
    """Refuse what is neither SRT nor WebVTT.

    Raises:
        UsageError: by the file's ending.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"--subtitles: {path.name} ends with neither .srt nor .vtt")


def sentence_cue(items: Sequence[Subtitle], text: str) -> Cue | None:
    """The cue of one `SentenceEnd`.

    Args:
        items: the message's subtitles, a sentence item and its words.
        text: the text of the whole task, which the items' indices count in.
    """
    if not items:
        return None
    whole = next((item for item in items if item.sentence), None)
    begin = min(item.begin_index for item in items)
    end = max(item.end_index for item in items)
    spoken = (whole.text if whole else "") or text[begin:end]
    spoken = " ".join(spoken.split())
    if not spoken:
        return None
    # The sentence item of some servers carries no times; the words then do.
    words = [item for item in items if not item.sentence]
    timed = [whole] if whole and whole.end_time > whole.begin_time else words or items
    return Cue(spoken, min(i.begin_time for i in timed), max(i.end_time for i in timed))


def render(cues: Sequence[Cue], ending: str) -> str:
    """The file's text, for `.srt` or `.vtt`."""
    separator = "," if ending == ".srt" else "."
    blocks = [
        f"{number}\n{_time(cue.begin_ms, separator)} --> {_time(cue.end_ms, separator)}\n"
        f"{cue.text if ending == '.srt' else _escape(cue.text)}\n"
        for number, cue in enumerate(cues, 1)
    ]
    head = [] if ending == ".srt" else ["WEBVTT\n"]
    return "\n".join(head + blocks)


def write(path: Path, cues: Sequence[Cue]) -> None:
    """Write the file in the form that its ending asks for."""
    path.write_text(render(cues, path.suffix.lower()), encoding="utf-8")


def _time(time_ms: int, separator: str) -> str:
    seconds, ms = divmod(time_ms, 1000)
    minutes, s = divmod(seconds, 60)
    h, m = divmod(minutes, 60)
    return f"{h:02}:{m:02}:{s:02}{separator}{ms:03}"


def _escape(text: str) -> str:
    """WebVTT reads `<` as a tag and `&` as an entity."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
