"""Markup within a line: links, code, tags, formulas, emphasis, emoji, spacing.

Each function yields edits for `SpokenText.replace`; `MarkupCleaner` applies them one after the
other. Text that later passes must not touch (inline code, escaped marks) is guarded: its marks
stand as private-use characters until `unguarded`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

_CJK = re.compile("[\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef“”‘’…—]")
_PUNCTUATION = "。！？…；：，、.!?;:,—～"
_PAUSE_CONTEXT_CHARACTERS = 12

_GUARDS = "\ue000\ue001\ue002\ue003\ue004\ue005"
_GUARDED = str.maketrans("*_~`#|", _GUARDS)
_UNGUARDED = str.maketrans(_GUARDS, "*_~`#|")

_URL = r"(?:https?|ftp)://[!-~]+|(?<![\w.@/])www\.[!-~]+"
_URL_END = ".,;:!?)]}'\"*_~`>"
_TAGS = (
    "a|abbr|article|audio|b|big|blockquote|body|br|button|center|cite|code|col|dd|del|details|div|dl"
    "|dt|em|font|footer|form|h[1-6]|head|header|hr|html|i|img|input|ins|kbd|label|li|main|mark|nav"
    "|ol|p|pre|q|s|samp|script|section|small|source|span|strike|strong|style|sub|summary|sup|svg"
    "|table|tbody|td|tfoot|th|thead|title|tr|tt|u|ul|var|video|wbr|think|thinking"
)
_BREAKING_TAG = re.compile(r"br|p|div|li|[th]r|[uo]l|table|blockquote|h[1-6]", re.IGNORECASE)
_ATTRIBUTES = r"(?:\s+[\w:-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))*"
_SOUNDS = (
    "breath|quick_breath|laughter|cough|sigh|noise|vocalized-noise|clucking|lipsmack|hissing"
    "|accent|mn"
)
"""CosyVoice's marks of sounds, which language models are told to write; of these only those are
left here that the voice's model does not know."""
_IMAGE = r"!\[(?P<alt>[^\]\n]*)\]\([^)\n]*\)"

_INLINE = re.compile(
    r"(?P<invisible>[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064"
    r"\ufeff\ufff0-\ufffb\ue000-\uf8ff])"
    r"|(?P<code>(?<!`)(?P<ticks>`{1,8})(?!`)(?P<code_text>[^\n]{1,400}?)(?<!`)(?P=ticks)(?!`))"
    rf"|(?P<image>{_IMAGE})|(?P<sound>\[(?:{_SOUNDS})\](?!\())"
    r"|(?P<link>\[(?P<link_text>(?:[^\[\]\n]|\[[^\[\]\n]*\](?:\([^()\n]*\))?)*)\]"
    r"(?:\((?:[^()\n]|\([^()\n]*\))*\)|\[[^\[\]\n]*\]))"
    r"|(?P<reference>\[\^[\w-]+\]|【\d+[^】\n]*†[^】\n]*】"
    r"|(?<=[\u4e00-\u9fff。，；！？”）])\[\d{1,3}\])"
    r"|(?P<link_tail>\]\((?:https?://|www\.|mailto:|[/#])[^)\s]*\))"
    rf"|(?P<url><?(?:{_URL}))"
    r"|(?P<comment><!--.*?-->|<\|[^|<>\s]{1,40}\|>)"
    rf"|(?P<tag></?(?P<tag_name>{_TAGS}){_ATTRIBUTES}\s*/?>"
    rf"|(?<!\w)</?[A-Za-z][\w-]*{_ATTRIBUTES}\s*/?>)"
    r"|(?P<entity>&(?:[A-Za-z]{2,8}|\#\d{1,7}|\#[xX][\da-fA-F]{1,6});)"
    r"|(?P<math>\$\$(?P<display>[^$]+)\$\$|\$(?P<formula>[^\s$](?:[^$\n]*[^\s$])?)\$(?!\w)"
    r"|\\\((?P<round>[^\n]+?)\\\)|\\\[(?P<square>[^\n]+?)\\\])"
    r"|(?P<delimiter>\\[()\[\]])"
    r"|(?P<escape>\\[\\`*_{}#+.!|<>~$-])",
    re.DOTALL | re.IGNORECASE | re.ASCII,
)

_TEX_GROUP = re.compile(r"\\(?P<group>text|mathrm|mathbf|mathit|sqrt)\{(?P<inner>[^{}]*)\}")
_TEX_FRACTION = re.compile(r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}")
_TEX_REST = re.compile(r"\\(?P<name>[A-Za-z]+)|(?P<blank>\\[,;! ])|[{}]")
_TEX_SIGNS = {
    "times": "×", "cdot": "×", "div": "÷", "pm": "±", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥",
    "neq": "≠", "ne": "≠", "lt": "<", "gt": ">", "approx": "≈", "sqrt": "√", "infty": "∞",
    "pi": "π", "left": "", "right": "", "quad": " ", "ldots": "…", "dots": "…", "circ": "°",
}  # fmt: skip

_EMOJI = (
    r"\U0001f000-\U0001faff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\u25a0-\u25ff\u2500-\u259f©®™"
    r"\ufe00-\ufe0f\u20e3\U000e0020-\U000e007f"
)
_EMPHASIS = re.compile(
    r"(?P<keycap>(?<=[0-9])\ufe0f?\u20e3[ \t]*)"
    rf"|(?P<picture>[{_EMOJI}](?:[{_EMOJI}\u200d]|[ \t](?=[{_EMOJI}]))*)"
    r"|(?P<arrow>[ \t]*[\u2190-\u21ff][ \t]*)|(?P<pipe>[ \t]+\|[ \t]+)"
    r"|(?P<stars>\*+)|(?P<bars>_+)|(?P<waves>~~+)|(?P<ticks>`+)"
    r"|(?P<hash>\#(?=[\u4e00-\u9fff])|(?<=[\u4e00-\u9fff])\#)"
    r"|(?P<marker>(?<![=!<>A-Za-z0-9_])==(?=[^\s=])|(?<=[^\s=])==(?![=A-Za-z0-9_]))"
)
_SPACING = re.compile(
    r"(?P<newline>\s*[\n\r\u2028\u2029]\s*)|(?P<run>([。！？，、；：!?～·])\3+)"
    r"|(?P<dots>\.{4,}|…{3,})|(?P<dashes> *(?:-{3,}|—{3,}|={3,}) *| -- )"
    r"|(?P<blanks>[ \t\u00a0\u3000]{2,}|\t)"
)
_STRAY_PAUSE = re.compile(
    r"(?<=[。！？…；：，、.!?;:,]) *[，,](?=\D|$)|[，、,] *(?=[。！？…；])|^[，,] *"
)


def unguarded(text: str) -> str:
    """Give guarded marks their shape back."""
    return text.translate(_UNGUARDED)


def pause(text: str, begin: int, end: int, mark: str) -> str:
    """A comma or a full stop in place of `text[begin:end]`, in the script around it."""
    before = text[max(0, begin - _PAUSE_CONTEXT_CHARACTERS) : begin]
    if _CJK.search(before) or _CJK.search(text[end : end + _PAUSE_CONTEXT_CHARACTERS]):
        return {",": "，", ".": "。"}[mark]
    return f"{mark} " if mark == "," else mark


def inline_edits(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield what becomes of code, links, addresses, tags, entities and formulas."""
    for match in _INLINE.finditer(text):
        kind = match.lastgroup or ""
        if kind == "link" and "](" not in match["link_text"] and not _is_url(match["link_text"]):
            # What lies in a link is left to the passes that follow, each with its own place.
            yield match.start(), match.start("link_text"), ""
            yield match.end("link_text"), match.end(), ""
        elif kind == "url":
            address = match[0].rstrip(_URL_END)
            is_bracketed = match[0][0] == "<" and text[match.start() + len(address) :][:1] == ">"
            end = match.start() + len(address) + is_bracketed
            yield match.start(), end, _host_of(address)
        else:
            spoken = _SPOKEN_INLINE.get(kind)
            yield match.start(), match.end(), spoken(match) if spoken is not None else ""


def _code(match: re.Match[str]) -> str:
    code = re.sub(_URL, lambda url: _host_of(url[0]), match["code_text"], flags=re.ASCII)
    return code.strip("`").translate(_GUARDED)


def _link(match: re.Match[str]) -> str:
    text = re.sub(_IMAGE, r"\g<alt>", match["link_text"])
    return _host_of(text) if _is_url(text) else text


def _tag(match: re.Match[str]) -> str:
    return "\n" if _BREAKING_TAG.fullmatch(match["tag_name"] or "") else ""


def _math(match: re.Match[str]) -> str:
    formula = match["display"] or match["formula"] or match["round"] or match["square"]
    formula = _TEX_GROUP.sub(lambda m: "√" * (m["group"] == "sqrt") + m["inner"], formula)
    formula = _TEX_FRACTION.sub(r"\1/\2", formula)
    return _TEX_REST.sub(_tex_rest, formula).strip().translate(_GUARDED)


_SPOKEN_INLINE: dict[str, Callable[[re.Match[str]], str]] = {
    "code": _code,
    "image": lambda match: match["alt"],
    "link": _link,
    "tag": _tag,
    "entity": lambda match: html.unescape(match[0]).translate(_GUARDED),
    "math": _math,
    "escape": lambda match: match[0][1].translate(_GUARDED),
}
"""What becomes of each kind of match; of all others, nothing."""


def _is_url(text: str) -> bool:
    return re.match(_URL, text, re.ASCII) is not None


def _host_of(address: str) -> str:
    host = re.sub(r"^<?(?:\w+://)?(?:[^/@]*@)?(?:www\.)?", "", address, flags=re.ASCII)
    return re.split(r"[/?#:]", host, maxsplit=1)[0]


def _tex_rest(match: re.Match[str]) -> str:
    if match["name"] is not None:
        return _TEX_SIGNS.get(match["name"], match["name"])
    return " " if match["blank"] is not None else ""


def emphasis_edits(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield what becomes of emphasis, emoji and arrows."""
    for match in _EMPHASIS.finditer(text):
        begin, end = match.span()
        before, after = text[begin - 1 : begin], text[end : end + 1]
        kind = match.lastgroup
        if kind in ("arrow", "pipe", "keycap"):
            is_inside = begin > 0 and end < len(text)
            yield begin, end, pause(text, begin, end, ",") if is_inside else ""
        elif kind == "picture":
            is_between = before.isalnum() and after.isalnum() and _CJK.match(before) is not None
            yield begin, end, "，" if is_between else ""
        elif not (kind == "stars" and _is_product(text, begin, end)) and not (
            kind == "bars" and _is_word(before) and _is_word(after)
        ):
            yield begin, end, ""


def _is_word(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _is_product(text: str, begin: int, end: int) -> bool:
    """Tell 5*3, a * b, x**2 from emphasis."""
    length = end - begin
    if length == 1 and text[begin - 1 : begin] == " " and text[end : end + 1] == " ":
        begin, end = begin - 1, end + 1
    before, after = text[begin - 1 : begin], text[end : end + 1]
    if not (_is_word(before) or before == ")"):
        return False
    if length == 1:
        return _is_word(after) or after == "("
    return length == len("**") and after.isdecimal()


def spacing_edits(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield what becomes of line ends, repeated marks and blanks."""
    for match in _SPACING.finditer(text):
        begin, end = match.span()
        is_edge = not text[:begin].strip() or not text[end:].strip()
        if match["newline"] is not None:
            yield begin, end, "" if is_edge else _line_break(text, begin, end)
        elif match["run"] is not None:
            yield begin, end, "…" if match[0][0] == "。" else match[0][0]
        elif match["dots"] is not None:
            yield begin, end, "…" if _CJK.match(text[begin - 1 : begin]) else "..."
        elif match["dashes"] is not None:
            yield begin, end, "" if is_edge else pause(text, begin, end, ",")
        else:
            yield begin, end, " "


def _line_break(text: str, begin: int, end: int) -> str:
    before = text[begin - 1]
    if before in _PUNCTUATION:
        return "" if _CJK.match(before) or _CJK.match(text[end]) else " "
    return pause(text, begin, end, ",")


def stray_pause_edits(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield, as deletions, commas beside other marks, where text between them has gone."""
    for match in _STRAY_PAUSE.finditer(text):
        yield match.start(), match.end(), ""
