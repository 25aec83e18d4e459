"""Leaves out of a language model's output what is for the eye.

Works on whole segments and carries from one to the next what may span them: a code fence, a
model's reasoning, and whether a line has just begun. Everything is decided by what a segment
shows; nothing waits for a delimiter that may never come, so emphasis that was cut in two loses
its stars on both sides.

* Fenced code, and `<think>` to `</think>` where a line begins with it, are not spoken at all.
  Inline code, link texts and image descriptions are; of an address only the host is.
* Marks at the start of a line (headings, bullets, quotes, rules of tables) go; the line then ends
  like a sentence, other lines like a clause. The number of an item stays.
* Emoji, arrows, boxes, HTML tags, entities, control tokens (`<|im_end|>`), sounds (`[laughter]`)
  and the marks of emphasis go, as far as they cannot be arithmetic (5*3), a name (snake_case) or
  a comparison (2 < 3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from server.speech.inline_markup import (
    emphasis_edits,
    inline_edits,
    pause,
    spacing_edits,
    stray_pause_edits,
    unguarded,
)
from server.speech.spoken import SpokenText

_SUSPECT = re.compile(
    r"[`*_~#<>\[\]|\\&\n\r\t\x00-\x08\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufe00-\ufe0f"
    r"\ufeff\ufff0-\ufffb\ue000-\uf8ff\u2190-\u21ff\u2300-\u23ff\u2500-\u27bf\u2b00-\u2bff\u20e3"
    r"\U0001f000-\U0001faff\U000e0000-\U000e007f©®™$†]|://|www\.|\s\s|---| -- |==|\.{4}"
    r"|([。！？，、；：!?…—～·])\1"
)
"""What no segment without markup has; those cost one search."""
_LINE_MARK = re.compile(r"[ ]*(?:[-+*•·●▪◦‣–]|\d{1,3}[.)])[ ]")
_PUNCTUATION = "。！？…；：，、.!?;:,—～"

_FENCE_OPEN = re.compile(r"[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)?(`{3,}|~{3,})[^`\n]*\n?$")
_FENCE_CLOSE = re.compile(r"[ \t>]*(`{3,}|~{3,})[ \t\r]*\n?$")
_THINK_OPEN = re.compile(r"\s*<(?:think|thinking)>", re.IGNORECASE)
_THINK_CLOSE = re.compile(r"</(?:think|thinking)>", re.IGNORECASE)
_LINES = re.compile(r"[^\n]*\n|[^\n]+")

_RULE = re.compile(
    r"[ \t]*(?:([-*_=])(?:[ \t]*\1){2,}"
    r"|\|?[ \t]*:?-{2,}:?[ \t]*(?:\|[ \t]*:?-*:?[ \t]*)*)$"
)
"""A rule, the underline of a heading, or the line under a table's head."""
_DEFINITION = re.compile(r"[ ]{0,3}\[[^\]\n]+\]:[ \t]*(?:https?://|www\.|/|<)\S*.*$")
_HEAD = re.compile(
    r"(?P<quote>[ \t]*(?:>[ \t]+)+(?:\[![A-Z]+\])?|[ \t]*>+$)?"
    r"(?:(?P<heading>[ \t]*#{1,6}[ \t]+)"
    r"|(?P<bullet>[ \t]*[-+*•·●▪◦‣–][ \t]+(?:\[[ xX]\][ \t]+)?)"
    r"|(?P<number>[ \t]*\d{1,3})(?P<point>[.)][ \t]+)(?=\S))?"
)
_HEADING_TAIL = re.compile(r"[ \t]+#+$")
_CELL_BAR = re.compile(r"[ \t]*\|[ \t]*")


class MarkupCleaner:
    """Cleans one task's segments in order."""

    __slots__ = ("_at_line_start", "_fence", "_is_thinking")

    def __init__(self) -> None:
        self._fence = ""
        self._is_thinking = False
        self._at_line_start = True

    @property
    def is_hiding(self) -> bool:
        """What comes next is code or reasoning."""
        return self._fence != "" or self._is_thinking

    def clean(self, spoken: SpokenText) -> SpokenText:
        """Return what of a segment may be spoken."""
        text = spoken.text
        is_line_start = self._at_line_start
        if not self._needs_work(text):
            self._at_line_start = is_line_start and not text.strip()
            return spoken
        spoken = spoken.replace(self._hidden(text))
        spoken = spoken.replace(_line_edits(spoken.text, is_line_start=is_line_start))
        spoken = spoken.replace(inline_edits(spoken.text))
        spoken = spoken.replace(emphasis_edits(spoken.text))
        spoken = SpokenText(unguarded(spoken.text), spoken.origins, spoken.ends)
        spoken = spoken.replace(spacing_edits(spoken.text))
        return spoken.replace(stray_pause_edits(spoken.text))

    def _needs_work(self, text: str) -> bool:
        is_item = self._at_line_start and _LINE_MARK.match(text) is not None
        return self.is_hiding or is_item or _SUSPECT.search(text) is not None

    def _hidden(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield code and reasoning, as deletions."""
        at = 0
        while (line := _LINES.match(text, at)) is not None:
            end, is_start = line.end(), self._at_line_start
            think = _THINK_OPEN.match(text, at, end) if is_start else None
            self._at_line_start = text[end - 1] == "\n"
            if self._is_thinking:
                close = _THINK_CLOSE.search(text, at, end)
                if close is not None:
                    self._is_thinking, self._at_line_start, end = False, True, close.end()
                yield at, end, ""
            elif self._fence:
                self._close_fence(line[0], is_start=is_start)
                yield at, end, ""
            elif is_start and (fence := _FENCE_OPEN.match(line[0])) is not None:
                self._fence = fence[1]
                yield at, end, ""
            elif think is not None:
                self._is_thinking, end = True, think.end()
                yield at, end, ""
            else:
                self._at_line_start |= is_start and not line[0].strip()
            at = end

    def _close_fence(self, line: str, *, is_start: bool) -> None:
        closing = _FENCE_CLOSE.match(line) if is_start else None
        if closing is not None and closing[1].startswith(self._fence):
            self._fence = ""


def _line_edits(text: str, *, is_line_start: bool) -> Iterator[tuple[int, int, str]]:
    for match in _LINES.finditer(text):
        begin = match.start()
        line = match[0].rstrip("\n\r \t")
        end = begin + len(line)
        if begin == 0 and not is_line_start:
            continue
        if line and (_RULE.match(line) or _DEFINITION.match(line)):
            yield begin, end, ""
        elif line.lstrip(" \t").startswith("|"):
            yield from _row_edits(text, begin, end)
        elif (head := _HEAD.match(line)) is not None and head.end():
            yield from _head_edits(text, begin, end, head)


def _head_edits(
    text: str, begin: int, end: int, head: re.Match[str]
) -> Iterator[tuple[int, int, str]]:
    first = begin + head.end()
    if head["number"] is not None:
        if head["quote"]:
            yield begin, begin + head.end("quote"), ""
        point = begin + head.start("point")
        yield point, first, pause(text, first, first, ",")
    else:
        yield begin, first, ""
    if end > first and (head["heading"] or head["bullet"] or head["number"]):
        tail = _HEADING_TAIL.search(text, first, end) if head["heading"] else None
        yield _line_stop(text, end if tail is None else tail.start(), end)


def _row_edits(text: str, begin: int, end: int) -> Iterator[tuple[int, int, str]]:
    """Yield a table's row as clauses."""
    for index, bar in enumerate(_CELL_BAR.finditer(text, begin, end)):
        if index == 0:
            yield begin, bar.end(), ""
        elif bar.end() == end:
            yield _line_stop(text, bar.start(), end)
        else:
            yield bar.start(), bar.end(), pause(text, bar.start(), bar.end(), ",")


def _line_stop(text: str, at: int, end: int) -> tuple[int, int, str]:
    """Replace `text[at:end]`, the end of a line, by a full stop if more follows it."""
    needs_stop = text[end:].strip() and text[at - 1] not in _PUNCTUATION
    return at, end, pause(text, at, at, ".") if needs_stop else ""
