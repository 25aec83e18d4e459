"""From a task's streamed text to what is spoken, piece by piece: segments, SSML, normalisation.

Pure and synchronous. An utterance knows what is said (`spoken`) and, for each of its characters,
where in the task's text it came from, so that subtitles keep indices into the original.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum
from itertools import groupby

from models.base import Capabilities
from server.speech.growth import Growth
from server.speech.normalizer import Normalizer
from server.speech.segmenter import Segment, Segmenter
from server.speech.spoken import SpokenText
from server.speech.ssml import (
    BreakSpan,
    SpokenSpan,
    SsmlDocument,
    SsmlSpan,
    parse_ssml,
    split_ssml_blocks,
)
from server.speech.types import Prosody, SpeechOptions
from server.speech.utterance import Utterance

_SLICE_CHARACTERS = 256
"""Text that is read in one go: well under a millisecond's work."""
_PLAIN = Capabilities()


class _Mark(Enum):
    """What is in the text besides text."""

    PAUSE = "pause"
    END = "end"


class UtteranceReader:
    """Reads one task's text, no further than is asked for.

    A client may send minutes of text at once; segmenting and normalising all of it before the first
    sentence is spoken would keep this client waiting, and with it everybody on the event loop.

    Args:
        options: how the text is to be read: `ssml`, `clean_markup`, `expand_text`.
        language: BCP 47 tag of the voice, for numbers and dates.
        capabilities: of the voice's model: `marks` stay in the text; without `instruction`, SSML's
            emotions have no effect.
    """

    def __init__(
        self,
        options: SpeechOptions,
        *,
        language: str,
        capabilities: Capabilities = _PLAIN,
    ) -> None:
        self._normalizer = Normalizer(
            language=language,
            clean_markup=options.clean_markup,
            expand=options.expand_text,
            keep_marks=capabilities.marks,
        )
        self._growth = Growth(language=language, expand=options.expand_text)
        self._instructs = capabilities.instruction
        self._language = language
        self._inputs: deque[str | _Mark] = deque()
        self._reading: Iterator[Utterance] = iter(())
        self._segmenter = Segmenter()
        self._base = 0
        """Where the segmenter's text begins in the task's."""
        self._parse = options.ssml
        self._unparsed = ""
        self._unparsed_begin = 0
        self._heard = False
        """Something has been spoken."""
        self._unanswered = ""
        """Text without anything to speak, for which the client got no sentence yet."""
        self._answered = ""
        """Marks that are still pending, for which it got one."""

    @property
    def waits_for_pause(self) -> bool:
        """There is text of which some may only be spoken when it pauses."""
        return bool(self._inputs or self._unanswered or self._segmenter.pending or self._unparsed)

    def feed(self, text: str) -> None:
        """Take a piece of text."""
        for begin in range(0, len(text), _SLICE_CHARACTERS):
            self._inputs.append(text[begin : begin + _SLICE_CHARACTERS])

    def pause(self) -> None:
        """Note that the text pauses here: all before it is to be spoken.

        If that is nothing although something came, the client, who may wait for the end of a
        sentence, gets an empty one.
        """
        self._inputs.append(_Mark.PAUSE)

    def finish(self) -> None:
        """Note that the text ends here."""
        self._inputs.append(_Mark.END)

    @property
    def unread(self) -> bool:
        """`read` has not yet seen all that came."""
        return bool(self._inputs)

    def read(self) -> Utterance | None:
        """The next utterance, None if none was found in a bounded amount of text.

        Ask again while `unread`; after that more must come first.

        Raises:
            SpeechError: SSML_INVALID.
        """
        utterance = next(self._reading, None)
        if utterance is None and self._inputs:
            self._reading = self._take(self._inputs.popleft())
            utterance = next(self._reading, None)
        return utterance

    def grow(self) -> Utterance | None:
        """The beginning of the sentence that is being written, None if no more of it is certain.

        To be asked when all has been read. From the first answer on, the next utterance of `read`
        is this sentence; until then each answer is longer than the last. SSML does not grow.
        """
        if self._parse or self._normalizer.is_hiding:
            return None
        if not self._growth.advance(self._segmenter.pending):
            return None
        return self._located(self._segmenter.keep(self._growth.end), self._growth.spoken)

    def _take(self, taken: str | _Mark) -> Iterator[Utterance]:
        if taken is _Mark.PAUSE:
            yield from self._flush()
        elif taken is _Mark.END:
            if self._parse:
                yield from self._read_blocks(final=True)
            yield from self._audible(self._segmenter.finish())
        elif self._parse:
            self._unparsed += taken
            yield from self._read_blocks(final=False)
        else:
            yield from self._audible(self._segmenter.feed(taken))

    def _flush(self) -> Iterator[Utterance]:
        before = self._segmenter.pending
        nothing = True
        for utterance in self._audible(self._segmenter.flush()):
            nothing = False
            yield utterance
        text = self._unanswered or (before if before != self._answered else "")
        if nothing and text.strip():
            at = self._base
            yield Utterance(text=text, text_begin=at, text_end=at, spoken="")
        self._unanswered = ""
        # Marks alone stay with the segmenter; they are answered for once.
        self._answered = self._segmenter.pending

    def _audible(self, segments: list[Segment]) -> Iterator[Utterance]:
        """Leave out what says nothing: code, links, marks."""
        silent = ""
        for segment in segments:
            utterance = self._utterance(segment)
            if utterance.spoken:
                self._heard = True
                self._unanswered = silent = ""
                yield utterance
            else:
                silent += utterance.text
        self._unanswered += silent
        if not self._heard:
            # Somebody still waits in silence, so the first clause is urgent again.
            self._segmenter.expedite()

    def _utterance(self, segment: Segment) -> Utterance:
        spoken = self._growth.complete(self._normalizer.normalize(segment.text))
        return self._located(segment, spoken)

    def _located(self, segment: Segment, spoken: SpokenText) -> Utterance:
        begin = self._base + segment.begin
        return Utterance(
            text=segment.text,
            text_begin=begin,
            text_end=self._base + segment.end,
            spoken=spoken.text,
            origins=[begin + origin for origin in spoken.origins],
            ends=[begin + end for end in spoken.ends],
        )

    # --- SSML --------------------------------------------------------------------------------

    def _read_blocks(self, *, final: bool) -> Iterator[Utterance]:
        """Read whole documents and the plain text between them."""
        blocks, n_taken = split_ssml_blocks(self._unparsed, final=final)
        begin = self._unparsed_begin
        self._unparsed = self._unparsed[n_taken:]
        self._unparsed_begin += n_taken
        for block in blocks:
            if not block.is_ssml:
                yield from self._audible(self._segmenter.feed(block.text))
                continue
            yield from self._audible(self._segmenter.finish())
            self._segmenter = Segmenter()
            self._base = begin + block.end
            document = parse_ssml(block.text, language=self._language)
            yield from self._document(document, block.text, begin + block.begin)

    def _document(self, document: SsmlDocument, source: str, base: int) -> Iterator[Utterance]:
        prosody = document.prosody or Prosody()
        at = base + document.spans[0].source_begin if document.spans else base
        # A pause belongs to what is before it, so one utterance is always held back.
        last = Utterance(text="", text_begin=at, text_end=at, spoken="", announced=False)
        for instruction, group in groupby(document.spans, self._instruction):
            if instruction is None:
                pause_s = sum(span.seconds for span in group if isinstance(span, BreakSpan))
                last = replace(last, pause_s=last.pause_s + pause_s)
                continue
            for utterance in self._passage(list(_spoken_spans(group)), source, base):
                if last.spoken or last.pause_s:
                    yield replace(last, prosody=prosody)
                last = replace(utterance, instruction=instruction)
        if last.spoken or last.pause_s:
            yield replace(last, prosody=prosody)

    def _instruction(self, span: SsmlSpan) -> str | None:
        """How a span is to be said; None if it says nothing."""
        if not isinstance(span, SpokenSpan):
            return None
        return span.instruction if self._instructs else ""

    def _passage(self, spans: list[SpokenSpan], source: str, base: int) -> Iterator[Utterance]:
        """Read text without a pause or another way to say it, which may be several sentences."""
        whole = SpokenText(
            "".join(span.text for span in spans),
            tuple(origin for span in spans for origin in span.origins),
            tuple(end for span in spans for end in span.ends),
        )
        verbatim = [span.verbatim for span in spans for _ in span.text]
        for segment in _segments(whole.text):
            spoken = self._normalized(
                _slice(whole, segment.begin, segment.end), verbatim[segment.begin : segment.end]
            )
            if not spoken.text:
                continue
            begin, end = whole.source_span(segment.begin, segment.end)
            yield Utterance(
                text=source[begin:end],
                text_begin=base + begin,
                text_end=base + end,
                spoken=spoken.text,
                origins=[base + origin for origin in spoken.origins],
                ends=[base + end for end in spoken.ends],
            )

    def _normalized(self, text: SpokenText, verbatim: Sequence[bool]) -> SpokenText:
        """Normalise all but what the SSML itself put into words."""
        parts: list[SpokenText] = []
        begin = 0
        for keep, group in groupby(verbatim):
            end = begin + sum(1 for _ in group)
            part = _slice(text, begin, end)
            parts.append(part if keep else _through(part, self._normalizer.normalize(part.text)))
            begin = end
        return SpokenText(
            "".join(part.text for part in parts),
            tuple(origin for part in parts for origin in part.origins),
            tuple(end for part in parts for end in part.ends),
        )


def _segments(text: str) -> Iterator[Segment]:
    segmenter = Segmenter()
    for begin in range(0, len(text), _SLICE_CHARACTERS):
        yield from segmenter.feed(text[begin : begin + _SLICE_CHARACTERS])
    yield from segmenter.finish()


def _spoken_spans(spans: Iterator[SsmlSpan]) -> Iterator[SpokenSpan]:
    return (span for span in spans if isinstance(span, SpokenSpan))


def _slice(text: SpokenText, begin: int, end: int) -> SpokenText:
    return SpokenText(text.text[begin:end], text.origins[begin:end], text.ends[begin:end])


def _through(source: SpokenText, normalized: SpokenText) -> SpokenText:
    """Let what was normalised from `source.text` point to where `source` itself came from."""
    spans = [
        source.source_span(begin, end)
        for begin, end in zip(normalized.origins, normalized.ends, strict=True)
    ]
    return SpokenText(
        normalized.text, tuple(begin for begin, _ in spans), tuple(end for _, end in spans)
    )
