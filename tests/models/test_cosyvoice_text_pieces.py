"""Streamed text is cut where no word, number or mark is parted, and spoken in passages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import ModelError
from models.cosyvoice.guards import TokenGuard
from models.cosyvoice.request_text import StreamedText, WholeText
from models.cosyvoice.text_pieces import whole_words


def pieces(*texts: str) -> list[str]:
    return list(whole_words(iter(texts)))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("Hel", "lo wor", "ld."), ["Hello", " world."]),
        (("Hello world. How", " are you?"), ["Hello world.", " How are", " you?"]),
        (("你", "好，世", "界。"), ["你", "好，世", "界。"]),
        (("3.", "14 is", " pi"), ["3.14", " is", " pi"]),
        (("It costs $1,", "299.00 now"), ["It costs", " $1,299.00", " now"]),
        (("ha [laugh", "ter] ha"), ["ha", " [laughter]", " ha"]),
        (("<str", "ong>now</str", "ong> ok"), ["<strong>now</strong>", " ok"]),
        (("a<|endof", "prompt|>b c"), ["a<|endofprompt|>b", " c"]),
        (("...", "! ", "Yes."), ["...!", " Yes."]),
        (("一。二！三",), ["一。", "二！", "三"]),
        (("", "a", ""), ["a"]),
    ],
)
def test_where_it_is_cut(texts: tuple[str, ...], expected: list[str]) -> None:
    assert pieces(*texts) == expected


def test_a_run_without_end_is_not_held_back_for_ever() -> None:
    stream = whole_words(iter(["a" * 30] * 100))
    assert next(stream)


@settings(max_examples=100)
@given(st.lists(st.text("ab 你。.<[]>3\n", max_size=8)))
def test_nothing_is_lost(texts: list[str]) -> None:
    assert "".join(pieces(*texts)) == "".join(texts)


# --- Requests ----------------------------------------------------------------------------------


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def decode(ids: object) -> str:
    return "".join(map(chr, ids))


def guard() -> TokenGuard:
    return TokenGuard(token_rate_hz=25)


def test_a_whole_text() -> None:
    watch = guard()
    before = watch.max_tokens
    assert decode(WholeText("你好<|endofprompt|> 世界", (), encode).read(watch)) == "你好世界。"
    assert watch.max_tokens > before
    with pytest.raises(ModelError) as refusal:
        WholeText("……", (), encode)
    assert refusal.value.code == "text_unspeakable"


def test_a_streamed_text_is_read_as_it_is_needed() -> None:
    taken = []

    def source() -> Iterator[str]:
        for piece in ("one ", "two ", "three "):
            taken.append(piece)
            yield piece

    (passage, *rest) = passages = iter([next(StreamedText(source(), (), encode).passages())])
    assert (rest, list(passages)) == ([], [])
    ids = passage.read(watch := guard())
    assert decode([next(ids) for _ in range(3)]) == "one"
    assert taken == ["one "]
    allowed = watch.max_tokens
    next(ids)
    assert taken == ["one ", "two "]
    assert watch.max_tokens > allowed


def test_a_passage_can_be_read_again() -> None:
    text = StreamedText(iter(["one ", "two ", "three "]), (), encode)
    passage = next(text.passages())
    begun = passage.read(guard())
    assert decode([next(begun) for _ in range(6)]) == "one tw"
    assert decode(passage.read(guard())) == "one two three "
    assert decode(passage.read(guard())) == "one two three "


def test_a_long_text_is_parted_between_sentences() -> None:
    sentence = "Forty characters make up this sentence. "
    text = StreamedText(iter([sentence] * 10), (), encode)
    spoken = [decode(passage.read(guard())) for passage in text.passages()]
    assert "".join(spoken) == (sentence * 10).rstrip()
    assert [len(part) for part in spoken] == [159, 120, 120]
    assert all(part.endswith(".") for part in spoken)


def test_what_is_left_of_a_passage_is_skipped() -> None:
    sentence = "Forty characters make up this sentence. "
    passages = StreamedText(iter([sentence] * 5), (), encode).passages()
    first = next(passages)
    assert decode([next(first.read(guard()))]) == "F"
    first.skip()
    assert decode(next(passages).read(guard())).strip() == sentence.strip()


def test_control_tokens_are_taken_out_of_a_stream() -> None:
    text = StreamedText(iter(["a <|end", "ofprompt|> b"]), (), encode)
    assert [decode(passage.read(guard())) for passage in text.passages()] == ["a  b"]


@pytest.mark.parametrize("text", ["", " ", "...", "？！", "\n\n", "<|endofprompt|>"])
def test_a_stream_with_nothing_to_speak(text: str) -> None:
    with pytest.raises(ModelError) as refusal:
        next(StreamedText(iter([text, text]), (), encode).passages())
    assert refusal.value.code == "text_unspeakable"
