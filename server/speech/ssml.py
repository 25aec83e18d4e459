"""SSML: Aliyun's subset, read into what is spoken, pauses and ends of sentences.

    speak     rate, pitch and volume set the prosody; voice, encodeType, sampleRate, bgm and effects
              are the task's, not the text's, and are ignored here
    break     time="500ms" or "1.5s", or the W3C's strength; without either a second; pauses that
              follow each other add up; at most 10 s
    s, p      a sentence, a paragraph: it ends where the element ends
    sub       the alias is spoken
    say-as    see `say_as`; its content is text only
    phoneme   the text is spoken; `ph` is handed on for models that can use it
    emotion   becomes an instruction, for models that take one; a way of speaking begins and ends an
              utterance; the innermost counts
    w, soundEvent, vocal, everything else
              has no effect: the text in it is spoken

The rates are read as both pages of the vendor have them: a number from 0.5 to 2 is a factor, any
other integer is on the scale of -500 to 500, where 0 is normal.

Parsing is done by expat, which reads no file and opens no connection by itself. A document type
declaration is refused before anything in it is read, so no entity can be declared: there is
nothing to expand (billion laughs), and nothing external to include (XXE). An entity beyond XML's
five is an error, and so are processing instructions, and elements in more than 32 others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NoReturn
from xml.parsers import expat

from server.errors import ErrorCode, SpeechError
from server.limits import MAX_TASK_CHARACTERS
from server.speech.say_as import ReadingLanguage, reading_language, say_as
from server.speech.ssml_blocks import looks_like_ssml, split_ssml_blocks
from server.speech.ssml_emotion import emotion_instruction
from server.speech.ssml_spans import BreakSpan, Passage, SentenceEnd, SpokenSpan, SsmlSpan
from server.speech.types import Prosody

__all__ = [
    "BreakSpan",
    "SentenceEnd",
    "SpokenSpan",
    "SsmlDocument",
    "SsmlSpan",
    "looks_like_ssml",
    "parse_ssml",
    "split_ssml_blocks",
]

MAX_BREAK_S = 10.0
MAX_DEPTH = 32
_DEFAULT_BREAK_S = 1.0
_STRENGTHS_S = {
    "none": 0.0,
    "x-weak": 0.1,
    "weak": 0.25,
    "medium": 0.5,
    "strong": 0.75,
    "x-strong": 1.0,
}
_TIME = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(ms|s)", re.ASCII)
_NUMBER = re.compile(r"[-+]?\d{1,4}(\.\d{1,6})?", re.ASCII)
_TAG = re.compile(r"<[^<>]*+>")
_FACTORS = (0.5, 2.0)
_MOST_RATE = 500
_MOST_VOLUME = 100
_SENTENCES = frozenset({"s", "p"})
_REWRITTEN = {"sub": "alias", "say-as": "interpret-as", "phoneme": "ph"}
"""Elements whose content is one piece of text, and the attribute that they must have."""
_SILENT = frozenset({"metadata", "desc"})


@dataclass(frozen=True, slots=True)
class SsmlDocument:
    """One <speak>; indices are those of the text that was parsed."""

    prosody: Prosody | None
    """What <speak> asks for, relative to the task's own; None if it says nothing."""
    spans: list[SsmlSpan]


def parse_ssml(text: str, *, language: str = "") -> SsmlDocument:
    """Read one document.

    Args:
        text: a <speak> element, with an XML declaration or without.
        language: BCP 47 tag of the voice, for `say-as` in documents that show no language.

    Raises:
        SpeechError: SSML_INVALID, with line and column.
    """
    if len(text) > MAX_TASK_CHARACTERS:
        raise SpeechError(ErrorCode.SSML_INVALID, "Illegal ssml text: it is too long")
    return _Reader(text, language).read()


@dataclass(frozen=True, slots=True)
class _Element:
    name: str
    attributes: dict[str, str]
    begin: int


class _Reader:
    """Takes expat's events in order and makes spans of them.

    Expat says where an event begins; where it ends is known when the next one comes.
    """

    def __init__(self, text: str, language: str) -> None:
        self._source = text
        self._voice_language = language
        try:
            self._data = text.encode()
        except UnicodeEncodeError:
            raise SpeechError(
                ErrorCode.SSML_INVALID, "Illegal ssml text: half of a surrogate pair"
            ) from None
        self._byte = 0
        self._index = 0
        self._prosody: Prosody | None = None
        self._spans: list[SsmlSpan] = []
        self._open: list[_Element] = []
        self._instructions = [""]
        self._run = Passage()
        self._content: Passage | None = None
        self._content_depth = 0
        self._text: tuple[str, int] | None = None
        self._break: tuple[float, int] | None = None

    def read(self) -> SsmlDocument:
        """Parse the whole text."""
        self._parser = parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._character_data
        parser.CommentHandler = self._ignore
        parser.StartCdataSectionHandler = self._ignore
        parser.EndCdataSectionHandler = self._ignore
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.ProcessingInstructionHandler = self._refuse_instruction
        try:
            parser.Parse(self._data, True)
        except expat.ExpatError as error:
            self._refuse(expat.ErrorString(error.code))
        finally:
            # The parser's handlers refer to this reader.
            del self._parser
        return SsmlDocument(self._prosody, self._spans)

    # --- Events ------------------------------------------------------------------------------

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        here = self._settle()
        if len(self._open) >= MAX_DEPTH:
            self._refuse(f"more than {MAX_DEPTH} elements in each other")
        if (name == "speak") == bool(self._open):
            self._refuse(f"<{name}> cannot stand here" if self._open else "there is no <speak>")
        if name == "speak":
            self._prosody = self._read_prosody(attributes)
        self._open.append(_Element(name, attributes, here))
        if self._content is not None:
            return
        if name in _SENTENCES:
            self._end_sentence(here)
        elif name == "emotion":
            self._begin_emotion(attributes)
        elif name in _REWRITTEN:
            if _REWRITTEN[name] not in attributes:
                self._refuse(f"<{name}> has no {_REWRITTEN[name]}")
            self._content, self._content_depth = Passage(), len(self._open)

    def _end(self, name: str) -> None:
        here = self._settle()
        element = self._open.pop()
        if self._content is not None:
            if len(self._open) < self._content_depth:
                content, self._content = self._content, None
                self._rewrite(element, content, here)
        elif name == "break":
            self._break = (self._read_break(element.attributes), element.begin)
        elif name in _SENTENCES:
            self._end_sentence(here)
        elif name == "emotion":
            self._flush()
            self._instructions.pop()
        elif name == "speak":
            self._flush()

    def _character_data(self, text: str) -> None:
        here = self._settle()
        if not any(element.name in _SILENT for element in self._open):
            self._text = (text, here)

    def _ignore(self, *_: object) -> None:
        self._settle()

    def _refuse_doctype(self, *_: object) -> None:
        self._refuse("a document type declaration is not allowed")

    def _refuse_instruction(self, *_: object) -> None:
        self._refuse("a processing instruction is not allowed")

    def _refuse(self, reason: str) -> NoReturn:
        """Raise the error, with the place where expat is."""
        line, column = self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber + 1
        message = f"Illegal ssml text: {reason} at line {line}, column {column}"
        raise SpeechError(ErrorCode.SSML_INVALID, message)

    def _settle(self) -> int:
        """Finish what the last event began; return where the present one begins."""
        byte = self._parser.CurrentByteIndex
        self._index += len(self._data[self._byte : byte].decode())
        self._byte, here = byte, self._index
        if self._text is not None:
            run = self._run if self._content is None else self._content
            run.add(*self._text, here)
            self._text = None
        if self._break is not None:
            self._pause(*self._break, here)
            self._break = None
        return here

    @cached_property
    def _language(self) -> ReadingLanguage:
        return reading_language(_TAG.sub("", self._source), self._voice_language)

    # --- Spans -------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Close the run of plain text."""
        run, self._run = self._run, Passage()
        follows_text = bool(self._spans) and isinstance(self._spans[-1], SpokenSpan)
        if "".join(run.text).strip() or (run.text and follows_text):
            self._add(run.span())

    def _add(self, span: SpokenSpan) -> None:
        self._spans.append(replace(span, instruction=self._instructions[-1]))

    def _begin_emotion(self, attributes: dict[str, str]) -> None:
        try:
            instruction = emotion_instruction(attributes)
        except ValueError as error:
            self._refuse(str(error))
        self._flush()
        self._instructions.append(instruction or self._instructions[-1])

    def _end_sentence(self, here: int) -> None:
        self._flush()
        if self._spans and not isinstance(self._spans[-1], SentenceEnd):
            self._spans.append(SentenceEnd(here, here))

    def _pause(self, seconds: float, begin: int, end: int) -> None:
        self._flush()
        last = self._spans[-1] if self._spans else None
        if isinstance(last, BreakSpan):
            self._spans[-1] = BreakSpan(
                min(last.seconds + seconds, MAX_BREAK_S), last.source_begin, end
            )
        elif seconds:
            self._spans.append(BreakSpan(min(seconds, MAX_BREAK_S), begin, end))

    def _rewrite(self, element: _Element, content: Passage, here: int) -> None:
        """Add what stands for the content of a `sub`, `say-as` or `phoneme`."""
        text = "".join(content.text)
        begin, end = (content.origins[0], content.ends[-1]) if text else (element.begin, here)
        value = element.attributes[_REWRITTEN[element.name]]
        match element.name:
            case "sub":
                self._run.add_block(value, begin, end)
            case "say-as":
                reading, final = say_as(text, value, self._language)
                if final and reading:
                    self._flush()
                    n = len(reading)
                    self._add(
                        SpokenSpan(reading, begin, end, (begin,) * n, (end,) * n, verbatim=True)
                    )
                elif reading == text:
                    self._run.add_run(content)
                else:
                    self._run.add_block(reading, begin, end)
            case _ if text.strip():
                self._flush()
                alphabet = element.attributes.get("alphabet", "py")
                self._add(replace(content.span(), phonemes=value, alphabet=alphabet))

    # --- Attributes --------------------------------------------------------------------------

    def _read_prosody(self, attributes: dict[str, str]) -> Prosody | None:
        if not attributes.keys() & {"rate", "pitch", "volume"}:
            return None
        volume = attributes.get("volume", "50")
        if not _NUMBER.fullmatch(volume) or not 0 <= float(volume) <= _MOST_VOLUME:
            self._refuse(f"volume must be 0 to {_MOST_VOLUME}, not {volume!r:.30}")
        return Prosody(
            speed=self._read_factor("rate", attributes.get("rate", "0")),
            pitch=self._read_factor("pitch", attributes.get("pitch", "0")),
            gain=float(volume) / (_MOST_VOLUME / 2),
        )

    def _read_factor(self, name: str, text: str) -> float:
        number = _NUMBER.fullmatch(text)
        value = float(text) if number else -_MOST_RATE - 1
        if number and _FACTORS[0] <= value <= _FACTORS[1]:
            return value
        if not number or number[1] or not -_MOST_RATE <= value <= _MOST_RATE:
            self._refuse(f"{name} must be -500 to 500, or a factor of 0.5 to 2, not {text!r:.30}")
        return float(2.0 ** (value / _MOST_RATE))

    def _read_break(self, attributes: dict[str, str]) -> float:
        if "time" in attributes:
            time = _TIME.fullmatch(attributes["time"].strip())
            if time is None:
                self._refuse(f"time must be like 500ms or 2s, not {attributes['time']!r:.30}")
            return float(time[1]) / (1000 if time[2] == "ms" else 1)
        strength = attributes.get("strength")
        if strength is None:
            return _DEFAULT_BREAK_S
        if strength not in _STRENGTHS_S:
            self._refuse(f"strength must be one of {', '.join(_STRENGTHS_S)}")
        return _STRENGTHS_S[strength]
