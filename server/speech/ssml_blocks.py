"""Where SSML documents begin and end in a text that may hold several, or none.

Every scan is linear in the text, whatever a client sends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_START = re.compile(r"<(?:speak(?=[\s/>])|\?xml(?=\s)|!DOCTYPE(?=[\s\[>]))")
_START_MARKS = ("<speak", "<?xml", "<!DOCTYPE")
_ROOT = re.compile(r"<speak(?=[\s/>])")
_ROOT_TAG = re.compile(r"""<speak(?:[^<>"']++|"[^"]*+"|'[^']*+')*+>""")
_MARK = re.compile(r"<!--|<!\[CDATA\[|</speak\s*+>")
_CLOSERS = {"<!--": "-->", "<![CDATA[": "]]>"}


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a text: one document, or plain text."""

    text: str
    begin: int
    end: int
    is_ssml: bool


def looks_like_ssml(text: str) -> bool:
    """Tell whether there is an SSML document in the text; plain text stays plain text."""
    return _START.search(text) is not None


def split_ssml_blocks(text: str, *, final: bool = True) -> tuple[list[Block], int]:
    """Split a text into documents and the plain text around them.

    Args:
        text: all that was not returned in blocks before.
        final: no more comes. Otherwise a document that has not ended yet waits, and so does a
            `<` at the end that may begin one.

    Returns:
        The blocks without gaps, and where they end. If `final`, a document that does not end is
        a block too, for `parse_ssml` to refuse.
    """
    blocks: list[Block] = []
    begin = 0
    while begin < len(text):
        start = _START.search(text, begin)
        plain_end = start.start() if start else len(text)
        if start is None and not final:
            plain_end -= _possible_start(text[begin:])
        if plain_end > begin:
            blocks.append(Block(text[begin:plain_end], begin, plain_end, is_ssml=False))
            begin = plain_end
        if start is None:
            break
        end = _document_end(text, begin) or (len(text) if final else None)
        if end is None:
            break
        blocks.append(Block(text[begin:end], begin, end, is_ssml=True))
        begin = end
    return blocks, begin


def _possible_start(text: str) -> int:
    """Length of the end of a text that may begin a document."""
    begin = text.rfind("<")
    tail = text[begin:] if begin >= 0 else ""
    # A whole mark at the end may go on as <speaker>; only one more character tells.
    return len(tail) if any(mark.startswith(tail) for mark in _START_MARKS) else 0


def _document_end(text: str, begin: int) -> int | None:
    """Return where the document that begins here ends, or None if it does not."""
    root = _ROOT.search(text, begin)
    tag = _ROOT_TAG.match(text, root.start()) if root else None
    if tag is None or tag[0].endswith("/>"):
        return tag and tag.end()
    at = tag.end()
    while mark := _MARK.search(text, at):
        closer = _CLOSERS.get(mark[0])
        if closer is None:
            return mark.end()
        closed = text.find(closer, mark.end())
        if closed < 0:
            return None
        at = closed + len(closer)
    return None
