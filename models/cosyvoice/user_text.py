"""Users' text as the language models may be given it.

Their tokenizers turn `<|...|>` into control tokens wherever it stands (upstream encodes with
`allowed_special="all"`), so none of it may come from a user. The marks of sounds, stress and
pronunciation are tokens, too, and welcome.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from models.base import ModelError

_CONTROL = re.compile(r"<\|[^<>|]*\|>|<\||\|>|[\ud800-\udfff]|[\x00-\x08\x0e-\x1f\x7f]")
_INSTRUCT_MARKS = ("<laughter>", "</laughter>", "<strong>", "</strong>", "[laughter]", "[breath]")
"""Version 1's: plain text that CosyVoice-300M-Instruct was taught (upstream's example.py)."""
_MARKS_IN_A_ROW = re.compile(r"(?:\[[^\[\]\s]{1,20}\])+")
_TAG = re.compile(r"<(?P<closes>/?)(?P<name>[a-z]+)>")
_LAST_MARKS = re.compile(r"(?:\[[^\[\]\s]{1,20}\]|</?[a-z]+>|\s)*$")
_CJK = "\u3400-\u4dbf\u4e00-\u9fff，。！？；：、"
_BLANK_IN_CHINESE = re.compile(rf"(?<=[{_CJK}]) (?=[{_CJK}])")
_IS_WIDE = re.compile("[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_WITHOUT_BRACKETS = str.maketrans("", "", "（）【】`")


def known_marks(version: int, variant: str, special_tokens: Iterable[str]) -> tuple[str, ...]:
    """The marks that a model understands, for `Capabilities.marks`.

    Args:
        version: 1, 2 or 3.
        variant: of version 1: `base`, `sft` or `instruct`.
        special_tokens: `additional_special_tokens` of the tokenizer, in versions 2 and 3.
    """
    if version == 1:
        return _INSTRUCT_MARKS if variant == "instruct" else ()
    return tuple(token for token in special_tokens if not token.startswith("<|"))


def clean(text: str, marks: Collection[str]) -> str:
    """Take out what may not come from a user. For text that is given whole, `sentence` does more.

    A pronunciation of a single letter is none, but the answer to a question ("[B]"): it loses its
    brackets, as the tokenizer would make a sound of it.

    Args:
        text: a whole text, or a piece of one that does not end within a mark.
        marks: that the model understands.
    """
    # What is taken out may have kept the halves of another token apart.
    while (cleaned := _CONTROL.sub("", text)) != text:
        text = cleaned
    return _MARKS_IN_A_ROW.sub(lambda run: _unless_single_letter(run[0], marks), text)


def sentence(text: str, marks: Collection[str]) -> str:
    """A whole text in the shape in which upstream's own front end gives it to the model.

    One line, without brackets that are not marks, without blanks between Chinese characters, and
    with a mark at its end; that a clause may end with a comma is ours. Tags without a partner go.

    Args:
        text: of a request.
        marks: that the model understands.

    Raises:
        ModelError: `text_unspeakable`, there is nothing to say.
    """
    text = _paired(clean(text, marks))
    text = " ".join(text.translate(_WITHOUT_BRACKETS).split())
    text = _BLANK_IN_CHINESE.sub("", text)
    if not any(character.isalnum() for character in _TAG.sub("", text)):
        raise ModelError("text_unspeakable", "there is nothing to say in the text")
    last = _LAST_MARKS.search(text)
    if last is not None and text[: last.start()][-1:].isalnum():
        text += "。" if _IS_WIDE.search(text) else "."
    return text


def _unless_single_letter(run: str, marks: Collection[str]) -> str:
    is_letter = len(run) == len("[b]") and run.isascii()
    return run[1:-1] if is_letter and run in marks else run


def _paired(text: str) -> str:
    """Take out opening tags that nothing closes, and closing ones that nothing opened."""
    lonely: list[re.Match[str]] = []
    opened: dict[str, list[re.Match[str]]] = {}
    for tag in _TAG.finditer(text):
        waiting = opened.setdefault(tag["name"], [])
        if not tag["closes"]:
            waiting.append(tag)
        elif waiting:
            waiting.pop()
        else:
            lonely.append(tag)
    lonely += (tag for waiting in opened.values() for tag in waiting)
    for tag in sorted(lonely, key=lambda tag: -tag.start()):
        text = text[: tag.start()] + text[tag.end() :]
    return text
