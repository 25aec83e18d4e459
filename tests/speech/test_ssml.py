from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ErrorCode, SpeechError
from server.speech.ssml import (
    BreakSpan,
    SentenceEnd,
    SpokenSpan,
    SsmlDocument,
    looks_like_ssml,
    parse_ssml,
    split_ssml_blocks,
)
from server.speech.types import Prosody

END = "."
"""Stands for the end of a sentence in `outline`."""


def outline(document: SsmlDocument) -> list[object]:
    """Texts, seconds of pauses, and END."""
    parts: list[object] = []
    for span in document.spans:
        match span:
            case SpokenSpan(text=text):
                parts.append(text)
            case BreakSpan(seconds=seconds):
                parts.append(seconds)
            case SentenceEnd():
                parts.append(END)
    return parts


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("你好", ["你好"]),
        ("今天<w>天气</w>很好", ["今天天气很好"]),
        ("一<break/>二", ["一", 1.0, "二"]),
        ('一<break time="500ms"/>二', ["一", 0.5, "二"]),
        ('一<break time="1.5s"></break>二', ["一", 1.5, "二"]),
        ('<break time="60s"/>一', [10.0, "一"]),
        ('<break time="4s"/> <break time="7s"/>一', [10.0, "一"]),
        ('一<break strength="none"/>二<break strength="strong"/>', ["一", "二", 0.75]),
        ("<s>一</s><s>二</s>三", ["一", END, "二", END, "三"]),
        ("一<s>二</s>", ["一", END, "二", END]),
        ("<p><s>一</s></p>", ["一", END]),
        ('用<sub alias="万维网">W3C</sub>。', ["用万维网。"]),
        ('用<sub alias="">W3C</sub>。', ["用。"]),
        ("A&amp;B &lt;3&gt; &quot;x&apos;", ["A&B <3> \"x'"]),
        ("&#20320;&#x597D;", ["你好"]),
        ("一<!-- 二 -->三", ["一三"]),
        ("<![CDATA[<s>&amp;]]>", ["<s>&amp;"]),
        ("一\n    二\r\n\t三", ["一 二 三"]),
        ("一\n\n二", ["一\n二"]),
        ('<emotion category="happy" intensity="1.0">好</emotion>', ["好"]),
        ('一<soundEvent src="http://a.cn/b.wav"/>二', ["一二"]),
        ('<vocal><prosody rate="+10%">好<unknown/></prosody></vocal>', ["好"]),
        ("<metadata>x</metadata>好", ["好"]),
        ('<sub alias="甲">一<break/><s>二</s></sub>', ["甲"]),
        ("", []),
        ("  \n ", []),
        ('<phoneme alphabet="py" ph="x"> </phoneme>', []),
    ],
)
def test_content(content: str, expected: list[object]) -> None:
    assert outline(parse_ssml(f"<speak>{content}</speak>")) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('<emotion category="happy">一</emotion>二', [("一", "happy"), ("二", "")]),
        ('<emotion category="sad" intensity="1.6">一</emotion>', [("一", "very sad")]),
        ('<emotion category="sad" intensity="0.3">一</emotion>', [("一", "slightly sad")]),
        ("<emotion>一</emotion>", [("一", "")]),
        (
            '<emotion category="happy">一<emotion category="sad">二</emotion>三</emotion>',
            [("一", "happy"), ("二", "sad"), ("三", "happy")],
        ),
        (
            '<emotion category="happy">一<say-as interpret-as="digits">2</say-as></emotion>',
            [("一", "happy"), ("二", "happy")],
        ),
        (
            '<emotion category="sad"><sub alias="三">C</sub><phoneme ph="x">四</phoneme></emotion>',
            [("三", "sad"), ("四", "sad")],
        ),
        ('<sub alias="甲"><emotion category="happy">乙</emotion></sub>丙', [("甲丙", "")]),
    ],
)
def test_an_emotion_becomes_an_instruction(content: str, expected: list[tuple[str, str]]) -> None:
    spans = parse_ssml(f"<speak>{content}</speak>").spans
    assert [(span.text, span.instruction) for span in spans if isinstance(span, SpokenSpan)] == (
        expected
    )


def test_an_empty_speak_says_nothing() -> None:
    assert parse_ssml("<speak/>") == SsmlDocument(None, [])


def test_an_xml_declaration_may_name_any_encoding() -> None:
    text = '<?xml version="1.0" encoding="GBK"?>\n<speak>你好</speak>\n'
    assert outline(parse_ssml(text)) == ["你好"]


def test_w3c_documents_are_read_too() -> None:
    text = (
        '<speak version="1.1" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang="en-US">'
        '<voice name="x"><p>Hi.</p></voice></speak>'
    )
    assert outline(parse_ssml(text)) == ["Hi.", END]


@pytest.mark.parametrize(
    ("attributes", "prosody"),
    [
        ("", None),
        ('voice="xiaoyun" encodeType="PCM" bgm="http://a.cn/b.wav" effect="robot"', None),
        ('rate="0"', Prosody()),
        ('rate="500" pitch="-500"', Prosody(speed=2.0, pitch=0.5)),
        ('rate="0.5" pitch="2.0"', Prosody(speed=0.5, pitch=2.0)),
        ('rate="1"', Prosody()),
        ('rate="+250"', Prosody(speed=2**0.5)),
        ('volume="80"', Prosody(gain=1.6)),
        ('volume="0"', Prosody(gain=0.0)),
    ],
)
def test_prosody(attributes: str, prosody: Prosody | None) -> None:
    assert parse_ssml(f"<speak {attributes}>好</speak>").prosody == prosody


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("你好", "syntax error at line 1, column 1"),
        ("", "no element found at line 1, column 1"),
        ("<speak>你好", "no element found at line 1, column 10"),
        ("<speak>一\n<s>二</speak>", "mismatched tag at line 2, column 7"),
        ("<speak>一</s></speak>", "mismatched tag at line 1, column 11"),
        ("<speak>Q&A</speak>", "not well-formed (invalid token) at line 1, column 11"),
        ("<speak>a < b</speak>", "not well-formed (invalid token) at line 1, column 11"),
        ("<speak>&nbsp;</speak>", "undefined entity at line 1, column 8"),
        ("<speak></speak><speak></speak>", "junk after document element at line 1, column 16"),
        ("<speak>\x00</speak>", "not well-formed (invalid token) at line 1, column 8"),
        ("<speak>\ud800</speak>", "half of a surrogate pair"),
        ("<prosody>一</prosody>", "there is no <speak> at line 1, column 1"),
        ("<speak><speak>一</speak></speak>", "<speak> cannot stand here at line 1, column 8"),
        ('<speak rate="fast">一</speak>', "rate must be -500 to 500, or a factor of 0.5 to 2, "),
        ('<speak rate="501">一</speak>', "rate must be"),
        ('<speak rate="2.5">一</speak>', "rate must be"),
        ('<speak pitch="nan">一</speak>', "pitch must be"),
        ('<speak pitch="">一</speak>', "pitch must be"),
        ('<speak volume="101">一</speak>', "volume must be 0 to 100, not '101'"),
        ('<speak volume="loud">一</speak>', "volume must be"),
        ('<speak rate="1" rate="2">一</speak>', "duplicate attribute"),
        ("<speak rate=1>一</speak>", "not well-formed"),
        ('<speak>一<break time="5"/></speak>', "time must be like 500ms or 2s, not '5'"),
        ('<speak>一<break time="-1s"/></speak>', "time must be"),
        ('<speak>一<break time="1e9s"/></speak>', "time must be"),
        ('<speak>一<break strength="huge"/></speak>', "strength must be one of none, x-weak, "),
        ("<speak><sub>W3C</sub></speak>", "<sub> has no alias at line 1, column 8"),
        ("<speak><say-as>1</say-as></speak>", "<say-as> has no interpret-as"),
        ("<speak><phoneme>好</phoneme></speak>", "<phoneme> has no ph"),
        ("<speak><?php x?></speak>", "a processing instruction is not allowed"),
        ('<speak><emotion category="happy" intensity="3">一</emotion></speak>', "intensity must"),
        ('<speak><emotion category="happy" intensity="0">一</emotion></speak>', "intensity must"),
        ('<speak><emotion category="a|b">一</emotion></speak>', "category must be a word, not"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(SpeechError) as refusal:
        parse_ssml(text)
    assert refusal.value.code is ErrorCode.SSML_INVALID
    assert refusal.value.message.startswith("Illegal ssml text: ")
    assert reason in refusal.value.message


BILLION_LAUGHS = "".join(
    [
        '<!DOCTYPE speak [<!ENTITY l0 "ha">',
        *(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10)),
        "]><speak>&l9;</speak>",
    ]
)


@pytest.mark.parametrize(
    "text",
    [
        BILLION_LAUGHS,
        '<!DOCTYPE speak [<!ENTITY x SYSTEM "file:///etc/passwd">]><speak>&x;</speak>',
        '<!DOCTYPE speak SYSTEM "http://127.0.0.1:1/x.dtd"><speak>a</speak>',
        '<!DOCTYPE speak [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]><speak>a</speak>',
        "<!DOCTYPE speak><speak>a</speak>",
    ],
)
def test_a_document_type_is_refused_before_it_is_read(text: str) -> None:
    with pytest.raises(SpeechError, match="a document type declaration is not allowed"):
        parse_ssml(text)


def test_elements_may_lie_in_each_other_but_not_without_end() -> None:
    assert outline(parse_ssml("<speak>" + "<w>" * 31 + "好" + "</w>" * 31 + "</speak>")) == ["好"]
    with pytest.raises(SpeechError, match="more than 32 elements in each other"):
        parse_ssml("<speak>" + "<w>" * 10_000 + "好" + "</w>" * 10_000 + "</speak>")


def test_too_long() -> None:
    with pytest.raises(SpeechError, match="too long"):
        parse_ssml("<speak>" + "好" * 200_000 + "</speak>")


@pytest.mark.parametrize(
    "text",
    [
        "<speak>" + "<" * 190_000,
        "<speak>" + "\n" * 190_000 + "</speak>",
        "<speak>" + "<break/>" * 20_000 + "</speak>",
        "<speak>" + "<!--" * 40_000,
        '<speak "' * 20_000,
        "<speak " + 'a="' * 60_000,
        "</speak " * 20_000,
        "<speak>" + "&amp;" * 30_000 + "</speak>",
    ],
    ids=lambda text: text[:14],
)
def test_hostile_text_is_read_or_refused_at_once(text: str) -> None:
    """A scan that were quadratic in such a text would keep this test busy for minutes."""
    for block in split_ssml_blocks(text)[0]:
        with contextlib.suppress(SpeechError):
            parse_ssml(block.text)


def test_spans_know_where_they_come_from() -> None:
    text = '<speak>好A&amp;B<sub alias="万维网">W3C</sub> <break time="1s"/>走</speak>'
    first, pause, last = parse_ssml(text).spans
    assert isinstance(first, SpokenSpan)
    assert first.text == "好A&B万维网 "
    assert [text[b:e] for b, e in zip(first.origins, first.ends, strict=True)] == [
        "好", "A", "&amp;", "B", "W3C", "W3C", "W3C", " ",
    ]  # fmt: skip
    assert text[first.source_begin : first.source_end] == text[7 : text.index("<break")]
    assert text[pause.source_begin : pause.source_end] == '<break time="1s"/>'
    assert text[last.source_begin : last.source_end] == "走"


def test_a_phoneme_keeps_its_text_and_hands_on_its_sound() -> None:
    text = '<speak>去<phoneme alphabet="py" ph="dian3 dang4">典当</phoneme>行</speak>'
    before, phoneme, after = parse_ssml(text).spans
    assert isinstance(before, SpokenSpan)
    assert isinstance(phoneme, SpokenSpan)
    assert isinstance(after, SpokenSpan)
    assert (before.text, phoneme.text, after.text) == ("去", "典当", "行")
    assert (phoneme.phonemes, phoneme.alphabet, phoneme.verbatim) == ("dian3 dang4", "py", False)
    assert text[phoneme.source_begin : phoneme.source_end] == "典当"


def test_a_final_reading_stands_by_itself_and_another_flows_into_the_text() -> None:
    text = (
        '<speak>拨<say-as interpret-as="telephone">114</say-as>，'
        '在<say-as interpret-as="date">2024-03-05</say-as>，'
        '花<say-as interpret-as="currency">￥5</say-as></speak>'
    )
    spans = [span for span in parse_ssml(text).spans if isinstance(span, SpokenSpan)]
    assert [(span.text, span.verbatim) for span in spans] == [
        ("拨", False),
        ("幺幺四", True),
        ("，在2024年3月5日，花￥5", False),
    ]
    assert text[spans[1].source_begin : spans[1].source_end] == "114"
    assert text[spans[2].origins[3] : spans[2].ends[3]] == "2024-03-05"


def test_a_blank_between_readings_is_kept() -> None:
    say_as = '<say-as interpret-as="cardinal">{}</say-as>'
    text = f"<speak>{say_as.format(1)} {say_as.format(2)} apples</speak>"
    assert outline(parse_ssml(text)) == ["one", " ", "two", " apples"]


@given(st.text(st.sampled_from("好a&<> \n'\"\r1。"), max_size=40))
def test_escaped_text_is_spoken_as_it_was(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    document = parse_ssml(f"<speak>{escaped}</speak>")
    spoken = "".join(span.text for span in document.spans if isinstance(span, SpokenSpan))
    assert spoken.split() == text.split()
    for span in document.spans:
        assert isinstance(span, SpokenSpan)
        assert list(span.origins) == sorted(span.origins)
        for char, begin, end in zip(span.text, span.origins, span.ends, strict=True):
            source = f"<speak>{escaped}</speak>"[begin:end]
            assert source == char or char.isspace() or source.startswith("&")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<speak>你好</speak>", True),
        ('<?xml version="1.0"?><speak/>', True),
        ("你好<speak>你好</speak>", True),
        ("<!DOCTYPE speak><speak/>", True),
        ("你好", False),
        ("a < b > c", False),
        ("<speaker>x</speaker>", False),
        ("<break/>", False),
    ],
)
def test_plain_text_does_not_look_like_ssml(text: str, expected: bool) -> None:
    assert looks_like_ssml(text) is expected


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("你好", ["-你好"]),
        ("<speak>一</speak>", ["+<speak>一</speak>"]),
        ("a<speak>一</speak >b<speak/>c", ["-a", "+<speak>一</speak >", "-b", "+<speak/>", "-c"]),
        ('<speak a="/>">一</speak>二', ['+<speak a="/>">一</speak>', "-二"]),
        (
            "<speak><!-- </speak> --><![CDATA[</speak>]]></speak>x",
            ["+<speak><!-- </speak> --><![CDATA[</speak>]]></speak>", "-x"],
        ),
        ("a<?xml version='1.0'?> <speak/>", ["-a", "+<?xml version='1.0'?> <speak/>"]),
        ("<speak>一", ["+<speak>一"]),
        ("<speak>一<!--</speak>", ["+<speak>一<!--</speak>"]),
        ("a <b> c <", ["-a <b> c <"]),
        ("", []),
    ],
)
def test_documents_in_a_text(text: str, blocks: list[str]) -> None:
    found, end = split_ssml_blocks(text)
    assert ["-+"[block.is_ssml] + block.text for block in found] == blocks
    assert end == len(text)
    assert [text[block.begin : block.end] for block in found] == [block.text for block in found]


@pytest.mark.parametrize(
    ("text", "waiting"),
    [
        ("你好<", "<"),
        ("你好<spea", "<spea"),
        ("你好<speak", "<speak"),
        ("你好<speaker", ""),
        ("你好<!", "<!"),
        ("你好<b", ""),
        ("你好<speak>一</spea", "<speak>一</spea"),
        ("<speak>一</speak>二", ""),
    ],
)
def test_what_may_become_a_document_waits(text: str, waiting: str) -> None:
    assert text[split_ssml_blocks(text, final=False)[1] :] == waiting


MARKS = ["<speak>", "</speak>", "<", "!--", "-->", "a", "<speak/>", "<?xml ?>"]


@given(st.lists(st.sampled_from(MARKS), max_size=8).map("".join))
def test_text_in_pieces_splits_like_the_whole(text: str) -> None:
    waiting, pieces = "", []
    for char in text:
        waiting += char
        blocks, end = split_ssml_blocks(waiting, final=False)
        pieces += blocks
        waiting = waiting[end:]
    pieces += split_ssml_blocks(waiting)[0]
    documents = [block.text for block in split_ssml_blocks(text)[0] if block.is_ssml]
    assert [block.text for block in pieces if block.is_ssml] == documents
    assert "".join(block.text for block in pieces) == text
