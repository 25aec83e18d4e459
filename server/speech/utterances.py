"""From a task's streamed text to what is spoken, piece by piece: segments, SSML, normalisation.

Pure and synchronous. An utterance knows what is said (`spoken`) and, for each of its characters,
where in the task's text it came from, so that subtitles keep indices into the original.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A sentence (or a first clause) that is synthesised at once."""

    text: str
    """The slice of the task's text, as the client wrote it."""
    text_begin: int
    text_end: int
    spoken: str
    """What the model gets; empty if there is nothing to say."""
    origins: Sequence[int] = ()
    """For each character of `spoken`, where its source in the task's text begins."""
    ends: Sequence[int] = ()
    """For each character of `spoken`, where its source ends."""
    pause_s: float = 0.0
    """Silence after it."""
    prosody: Prosody = field(default_factory=Prosody)
    """What its SSML asks for, on top of the task's own."""
    announced: bool = True
    """The client is told of it as a sentence; False for a mere pause."""

    def source_span(self, begin: int, end: int) -> tuple[int, int]:
        """Where `spoken[begin:end]` stands in the task's text."""
        if begin < min(end, len(self.origins)):
            return self.origins[begin], self.ends[min(end, len(self.ends)) - 1]
        place = self.origins[begin] if begin < len(self.origins) else self.text_end
        return place, place


class UtteranceReader:
    """Reads one task's text.

    Args:
        options: how the text is to be read: `ssml`, `clean_markup`, `expand_text`.
        language: BCP 47 tag of the voice, for numbers and dates.
    """

    def __init__(self, options: SpeechOptions, *, language: str) -> None:
        self._normalizer = Normalizer(
            language=language, clean_markup=options.clean_markup, expand=options.expand_text
        )
        self._language = language
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
    def pending(self) -> str:
        """Text that waits, for more or for a pause."""
        return self._unanswered + self._segmenter.pending + self._unparsed

    def feed(self, text: str) -> list[Utterance]:
        """Take a piece; return what can be spoken now.

        Raises:
            SpeechError: SSML_INVALID.
        """
        if self._parse:
            self._unparsed += text
            return self._read_blocks(final=False)
        return self._audible(self._plain(self._segmenter.feed(text)))

    def flush(self) -> list[Utterance]:
        """Return all that can be spoken, because the text pauses.

        If that is nothing although something came, the client, who may wait for the end of a
        sentence, gets an empty one.
        """
        before = self._segmenter.pending
        utterances = self._audible(self._plain(self._segmenter.flush()))
        text = self._unanswered or (before if before != self._answered else "")
        if not utterances and text.strip():
            at = self._base
            utterances = [Utterance(text=text, text_begin=at, text_end=at, spoken="")]
        self._unanswered = ""
        # Marks alone stay with the segmenter; they are answered for once.
        self._answered = self._segmenter.pending
        return utterances

    def finish(self) -> list[Utterance]:
        """Return the rest.

        Raises:
            SpeechError: SSML_INVALID, the document does not end.
        """
        blocks = self._read_blocks(final=True) if self._parse else []
        return blocks + self._audible(self._plain(self._segmenter.finish()))

    def _audible(self, utterances: list[Utterance]) -> list[Utterance]:
        """Leave out what says nothing: code, links, marks."""
        audible = [utterance for utterance in utterances if utterance.spoken]
        if audible:
            self._heard = True
            self._unanswered = ""
        else:
            self._unanswered += "".join(utterance.text for utterance in utterances)
        if not self._heard:
            # Somebody still waits in silence, so the first clause is urgent again.
            self._segmenter.expedite()
        return audible

    def _plain(self, segments: list[Segment]) -> list[Utterance]:
        return [self._utterance(segment) for segment in segments]

    def _utterance(self, segment: Segment) -> Utterance:
        spoken = self._normalizer.normalize(segment.text)
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

    def _read_blocks(self, *, final: bool) -> list[Utterance]:
        """Read whole documents and the plain text between them."""
        blocks, n_taken = split_ssml_blocks(self._unparsed, final=final)
        utterances: list[Utterance] = []
        for block in blocks:
            if not block.is_ssml:
                utterances += self._audible(self._plain(self._segmenter.feed(block.text)))
                continue
            utterances += self._audible(self._plain(self._segmenter.finish()))
            self._segmenter = Segmenter()
            self._base = self._unparsed_begin + block.end
            document = parse_ssml(block.text, language=self._language)
            utterances += self._document(document, block.text, self._unparsed_begin + block.begin)
        self._unparsed = self._unparsed[n_taken:]
        self._unparsed_begin += n_taken
        return utterances

    def _document(self, document: SsmlDocument, source: str, base: int) -> list[Utterance]:
        utterances: list[Utterance] = []
        for is_spoken, group in groupby(document.spans, lambda span: isinstance(span, SpokenSpan)):
            if is_spoken:
                utterances += self._passage(list(_spoken_spans(group)), source, base)
                continue
            pause_s = sum(span.seconds for span in group if isinstance(span, BreakSpan))
            if pause_s and not utterances:
                at = base + document.spans[0].source_begin
                silent = Utterance(text="", text_begin=at, text_end=at, spoken="", announced=False)
                utterances = [silent]
            if pause_s:
                utterances[-1] = replace(utterances[-1], pause_s=utterances[-1].pause_s + pause_s)
        prosody = document.prosody or Prosody()
        return [replace(utterance, prosody=prosody) for utterance in utterances]

    def _passage(self, spans: list[SpokenSpan], source: str, base: int) -> list[Utterance]:
        """Read text without a pause in it, which may be several sentences."""
        whole = SpokenText(
            "".join(span.text for span in spans),
            tuple(origin for span in spans for origin in span.origins),
            tuple(end for span in spans for end in span.ends),
        )
        verbatim = [span.verbatim for span in spans for _ in span.text]
        segmenter = Segmenter()
        utterances = []
        for segment in segmenter.feed(whole.text) + segmenter.finish():
            spoken = self._normalized(
                _slice(whole, segment.begin, segment.end), verbatim[segment.begin :]
            )
            if not spoken.text:
                continue
            begin, end = whole.source_span(segment.begin, segment.end)
            utterances.append(
                Utterance(
                    text=source[begin:end],
                    text_begin=base + begin,
                    text_end=base + end,
                    spoken=spoken.text,
                    origins=[base + origin for origin in spoken.origins],
                    ends=[base + end for end in spoken.ends],
                )
            )
        return utterances

    def _normalized(self, text: SpokenText, verbatim: Sequence[bool]) -> SpokenText:
        """Normalise all but what the SSML itself put into words."""
        parts: list[SpokenText] = []
        begin = 0
        for keep, group in groupby(verbatim[: len(text.text)]):
            end = begin + sum(1 for _ in group)
            part = _slice(text, begin, end)
            parts.append(part if keep else _through(part, self._normalizer.normalize(part.text)))
            begin = end
        return SpokenText(
            "".join(part.text for part in parts),
            tuple(origin for part in parts for origin in part.origins),
            tuple(end for part in parts for end in part.ends),
        )


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
