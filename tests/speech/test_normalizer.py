"""What is written and what is said for it, as a reader of the language says it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.speech.characters import is_speakable
from server.speech.normalizer import Normalizer, SpokenText, load
from server.speech.reading.reader import primary_language


@pytest.fixture(scope="module", autouse=True)
def grammars() -> None:
    load()


def spoken(text: str, language: str, *, expand: bool = True, clean_markup: bool = True) -> str:
    normalizer = Normalizer(language=language, expand=expand, clean_markup=clean_markup)
    return normalizer.normalize(text).text


CHINESE = [
    # Counted things: 2 is 两 before a counter, 二 in dates, names and compounds.
    ("2个苹果", "两个苹果"),
    ("共 2 名学生", "共两名学生"),
    ("12个", "十二个"),
    ("102个", "一百零二个"),
    ("2.5倍", "二点五倍"),
    ("2月2日", "二月二日"),
    ("2号楼2年级", "二号楼二年级"),
    ("第2名", "第二名"),
    ("第1-3章", "第一到三章"),
    ("2点半", "两点半"),
    ("T恤2件", "T恤两件"),
    ("10多个", "十多个"),
    ("2200人", "两千二百人"),
    ("20002", "两万零二"),
    ("1万", "一万"),
    ("3.5亿", "三点五亿"),
    ("1,000,000", "一百万"),
    ("0.05", "零点零五"),
    ("007", "零零七"),
    ("１２３个", "一百二十三个"),
    ("１，２９９．５元", "一千二百九十九点五元"),
    ("85，45，100", "八十五，四十五，一百"),
    # Dates and years.
    ("2024年3月5日", "二零二四年三月五日"),
    ("2024 年 12 月 25 日", "二零二四年十二月二十五日"),
    ("2024-03-05", "二零二四年三月五日"),
    ("2024/3/5", "二零二四年三月五日"),
    ("2024.3.5", "二零二四年三月五日"),
    ("2024-03", "二零二四年三月"),
    ("98年5月", "九八年五月"),
    ("1990年代", "一九九零年代"),
    ("90年代", "九十年代"),
    ("90后", "九零后"),
    ("100年", "一百年"),
    ("2000年前", "两千年前"),
    ("5000年历史", "五千年历史"),
    ("2024-2025年", "二零二四到二零二五年"),
    ("2021至2022年", "二零二一至二零二二年"),
    # Times, scores, ratios.
    ("12:30", "十二点三十分"),
    ("12：30", "十二点三十分"),
    ("8:05", "八点零五分"),
    ("2:00", "两点"),
    ("0:00", "零点"),
    ("12:30:05", "十二点三十分零五秒"),
    ("8:30-9:30", "八点三十分到九点三十分"),
    ("比分21:19", "比分二十一比十九"),
    ("比分3:2", "比分三比二"),
    ("16:9", "十六比九"),
    ("3-1", "三比一"),
    # Money.
    ("￥1,299.00", "一千二百九十九元"),
    ("¥100-200", "一百到两百元"),
    ("1,299.00元", "一千二百九十九元"),
    ("3.5元", "三点五元"),
    ("110元", "一百一十元"),
    ("$5.20", "五点二美元"),
    ("HK$50", "五十港元"),
    ("50元/月", "五十元每月"),
    # Percent, temperatures, measures.
    ("5%", "百分之五"),
    ("12.5％", "百分之十二点五"),
    ("5%-10%", "百分之五到百分之十"),
    ("-3%", "负百分之三"),
    ("3‰", "千分之三"),
    ("25.5℃", "二十五点五摄氏度"),
    ("-5°C", "零下五摄氏度"),
    ("10~15℃", "十到十五摄氏度"),
    ("45°", "四十五度"),
    ("1.5kg", "一点五千克"),
    ("12.5kg", "十二点五千克"),
    ("2 km", "两公里"),
    ("60km/h", "每小时六十公里"),
    ("5m²", "五平方米"),
    ("3-5km", "三到五公里"),
    ("500g", "五百克"),
    ("220V", "两百二十伏"),
    # Ranges.
    ("3-5天", "三到五天"),
    ("2~3人", "两到三人"),
    ("3～5", "三到五"),
    ("3至5天", "三至五天"),
    ("1-3月", "一到三月"),
    # Fractions.
    ("1/2 杯", "二分之一杯"),
    ("3 1/2杯", "三又二分之一杯"),
    ("2/3的人", "三分之二的人"),
    ("24/7", "二十四七"),
    ("½", "二分之一"),
    # Telephones, accounts, ids.
    ("555-1234", "五五五，幺二三四"),
    ("电话010-62345678", "电话零幺零，六二三四五六七八"),
    ("邮编100080", "邮编幺零零零八零"),
    ("13800138000", "幺三八零零幺三八零零零"),
    ("010-12345678", "零幺零，幺二三四五六七八"),
    ("400-800-1234", "四零零，八零零，幺二三四"),
    ("请拨打110报警", "请拨打幺幺零报警"),
    ("打120叫救护车", "打幺二零叫救护车"),
    ("共110个", "共一百一十个"),
    ("验证码是123456", "验证码是幺二三四五六"),
    ("12345678901234", "一二三四五六七八九零一二三四"),
    ("6222 0212 3456 7890", "六二二二，零二幺二，三四五六，七八九零"),
    # Names of models, versions, addresses.
    ("用GPT-4o写", "用GPT四o写"),
    ("AB-1234", "AB一二三四"),
    ("Qwen2.5-7B", "Qwen二点五 七B"),
    ("COVID-19", "COVID十九"),
    ("H100和RTX4090", "H一百和RTX四零九零"),
    ("RTX 4090显卡", "RTX 四零九零显卡"),
    ("iPhone 15", "iPhone 十五"),
    ("5G和4K", "五G和四K"),
    ("256GB内存，128K上下文，671B参数", "两百五十六GB内存，一百二十八K上下文，六百七十一B参数"),
    ("720p视频", "七二零p视频"),
    ("PM2.5为45μg/m³", "PM二点五为四十五微克每立方米"),
    ("A4纸", "A四纸"),
    ("v1.2.3版", "v一点二点三版"),
    ("192.168.1.1", "一九二点一六八点一点一"),
    ("访问163.com", "访问一六三点com"),
    ("打开README.md", "打开README点md"),
    ("写信给a.b@example.com", "写信给a点b at example点com"),
    ("No.1", "第一"),
    ("#1", "一号"),
    ("1920x1080", "一千九百二十乘一千零八十"),
    # Arithmetic and what only looks like it.
    ("1+1=2", "一加一等于二"),
    ("10-3=7", "十减三等于七"),
    ("3×5=15", "三乘五等于十五"),
    ("5*3*2", "五乘三乘二"),
    ("2 < 3 > 1", "二小于三大于一"),
    ("x²+y²=z²", "x的平方加y的平方等于z的平方"),
    ("x=(7-3)/2=2", "x等于(七减三)除以二等于二"),
    ("若a>b且b≥c", "若a大于b且b大于等于c"),
    ("2^10", "二的十次方"),
    ("√2≈1.41", "根号二约等于一点四一"),
    ("≥5", "大于等于五"),
    ("-3", "负三"),
    ("500+", "五百多"),
    ("1e10", "一乘以十的十次方"),
    ("C++和C#", "C++和C#"),
    ("R&D部门", "R&D部门"),
    ("变量snake_case", "变量snake_case"),
    # Lists.
    ("①首先", "一首先"),
    ("1、首先", "一、首先"),
    ("（1）首先", "（一）首先"),
    # Interjections and erhua stay.
    ("呃，啊，嗯，哎呀", "呃，啊，嗯，哎呀"),
    ("一会儿3点见，玩儿去", "一会儿三点见，玩儿去"),
    ("没有数字。", "没有数字。"),
    # English in Chinese.
    ("I have 3 apples.", "I have three apples."),
    ("他说 I have 3 apples 然后走了2次", "他说 I have three apples 然后走了两次"),
    ("In 2024, we met.", "In twenty twenty-four, we met."),
    ("用 Python 3 写", "用 Python 三写"),
]

ENGLISH = [
    ("It costs $1,299.00 now.", "It costs one thousand two hundred ninety-nine dollars now."),
    ("$5.20", "five dollars and twenty cents"),
    ("$0.99 or $1.01", "ninety-nine cents or one dollar and one cent"),
    ("$1.5 million", "one point five million dollars"),
    ("$5-10", "five to ten dollars"),
    ("£5.50", "five pounds and fifty pence"),
    ("GPT-4o is new", "GPT four o is new"),
    ("AB-1234", "AB one two three four"),
    ("COVID-19", "COVID nineteen"),
    ("1/2 cup", "one half cup"),
    ("2 1/2 cups", "two and a half cups"),
    ("3/4 and 1/3", "three quarters and one third"),
    ("24/7", "twenty-four seven"),
    ("Call 555-1234 now", "Call five five five, one two three four now"),
    ("(555) 123-4567", "five five five, one two three, four five six seven"),
    ("1-800-555-1234", "one, eight hundred, five five five, one two three four"),
    ("2024-03-05", "March fifth, twenty twenty-four"),
    ("3/5/2024", "March fifth, twenty twenty-four"),
    ("March 5, 2024", "March fifth, twenty twenty-four"),
    ("on July 4th", "on July fourth"),
    ("5 March 2024", "the fifth of March, twenty twenty-four"),
    ("the 1990s", "the nineteen nineties"),
    ("In 1999, we", "In nineteen ninety-nine, we"),
    ("2024 people", "two thousand twenty-four people"),
    ("2024-2025", "twenty twenty-four to twenty twenty-five"),
    ("12:30 pm", "twelve thirty PM"),
    ("8:05", "eight oh five"),
    ("8:00", "eight o'clock"),
    ("8 a.m. sharp", "eight AM sharp"),
    ("a score of 3:2", "a score of three to two"),
    ("-5°C", "minus five degrees Celsius"),
    ("72°F", "seventy-two degrees Fahrenheit"),
    ("5-10%", "five to ten percent"),
    ("1.5kg", "one point five kilograms"),
    ("60 km/h", "sixty kilometers per hour"),
    ("5 m", "five meters"),
    ("1 m", "one meter"),
    ("2.4 GHz", "two point four gigahertz"),
    ("1920x1080", "one thousand nine hundred twenty by one thousand eighty"),
    ("3 × 5 = 15", "three times five equals fifteen"),
    ("10-3=7", "ten minus three equals seven"),
    ("v1.2.3", "v one point two point three"),
    ("192.168.1.1", "one nine two dot one six eight dot one dot one"),
    ("No. 5", "number five"),
    ("1001", "one thousand one"),
    ("1,000,000", "one million"),
    ("0.5 or .5", "zero point five or point five"),
    ("3-5 days", "three to five days"),
    ("21st century", "twenty-first century"),
    ("Dr. Wang met Mr. Smith", "Doctor Wang met Mister Smith"),
    ("fruit, e.g. apples", "fruit, for example apples"),
    ("you & me", "you and me"),
    ("a.b@example.com", "a dot b at example dot com"),
    ("5'11\"", "five foot eleven"),
    ("well-known T-shirt, don't", "well-known T-shirt, don't"),
    ("C++ and C#", "C++ and C#"),
]

JAPANESE = [
    ("2024年3月5日です。", "二千二十四年三月五日です。"),
    ("12:30に会いましょう", "十二時三十分に会いましょう"),
    ("リンゴを3個ください", "リンゴを三個ください"),
    ("￥1,299です", "千二百九十九円です"),
    ("5%と25℃です", "五パーセントと二十五度です"),
    ("3～5個です", "三から五個です"),
    ("03-1234-5678です", "ゼロ三の一二三四の五六七八です"),
    ("GPT-4oを使う", "GPT四oを使う"),
    ("10kmです", "十キロメートルです"),
    ("0.5です", "零点五です"),
]


@pytest.mark.parametrize(("written", "said"), CHINESE)
def test_chinese(written: str, said: str) -> None:
    assert spoken(written, "cmn") == said


@pytest.mark.parametrize(("written", "said"), ENGLISH)
def test_english(written: str, said: str) -> None:
    assert spoken(written, "en-US") == said


@pytest.mark.parametrize(("written", "said"), JAPANESE)
def test_japanese(written: str, said: str) -> None:
    assert spoken(written, "ja") == said


@pytest.mark.parametrize("language", ["ko", "yue", "zh-HK", "de", ""])
def test_other_languages_leave_numbers_to_the_model(language: str) -> None:
    assert spoken("3개, 3個, 25℃ 2024", language) == "3개, 3個, 25℃ 2024"


def test_text_is_read_in_its_own_language_by_any_voice_that_can() -> None:
    assert spoken("2个苹果", "en") == "两个苹果"
    assert spoken("3個のリンゴ", "zh") == "三個のリンゴ"
    assert spoken("鲜の味道共2名", "zh") == "鲜の味道共两名"
    assert spoken("사과 3개", "zh") == "사과 3개"
    assert spoken("16GB", "zh") == "十六GB"
    assert spoken("16GB", "en") == "sixteen gigabytes"


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("cmn", "zh"),
        ("zh-CN", "zh"),
        ("zh_TW", "zh"),
        ("EN-gb", "en"),
        ("ja", "ja"),
        ("yue", None),
        ("zh-HK", None),
        ("ko", None),
        ("", None),
    ],
)
def test_languages_are_known_by_their_tags(tag: str, language: str | None) -> None:
    assert primary_language(tag) == language


def test_both_stages_can_be_switched_off() -> None:
    text = "**共2个** 😊"
    assert spoken(text, "zh") == "共两个"
    assert spoken(text, "zh", expand=False) == "共2个"
    assert spoken(text, "zh", clean_markup=False) == "**共两个** 😊"
    assert spoken(text, "zh", expand=False, clean_markup=False) == text


def test_an_address_is_not_torn_when_markup_is_kept() -> None:
    text = "见 https://a.com/2024/1,2?x=y 吧"
    assert spoken(text, "zh", clean_markup=False) == text


@pytest.mark.parametrize("text", ["", "。", "”\n", "```py\nx = 1\n```", "---", "😊", "\ud83d"])
def test_nothing_to_say_is_empty(text: str) -> None:
    assert Normalizer(language="zh").normalize(text) == SpokenText("", (), ())


def test_marks_that_close_the_sentence_before_are_left_out() -> None:
    assert spoken("”然后他走了。", "zh") == "然后他走了。"
    assert spoken("！我不信。", "zh") == "我不信。"


def test_halves_of_a_surrogate_pair_are_joined_and_lone_ones_dropped() -> None:
    assert spoken("\ud842\udfb7好\ud83d", "zh") == "𠮷好"
    assert spoken("\ud83d\ude00好", "zh") == "好"


# --- The way back ----------------------------------------------------------------------------
def test_plain_text_is_its_own_source() -> None:
    text = "今天天气很好。"
    assert Normalizer(language="zh").normalize(text) == SpokenText.identity(text)


def test_what_was_rewritten_is_a_block_with_the_span_of_its_source() -> None:
    text = "今天**25℃**，共3个。"
    result = Normalizer(language="zh").normalize(text)
    assert result.text == "今天二十五摄氏度，共三个。"
    sources = {
        result.text[begin:end]: text[slice(*result.source_span(begin, end))]
        for begin, end in [(0, 2), (2, 8), (3, 4), (8, 9), (9, 10), (10, 11), (11, 13)]
    }
    assert sources == {
        "今天": "今天",
        "二十五摄氏度": "25℃",
        "十": "25℃",
        "，": "，",
        "共": "共",
        "三": "3",
        "个。": "个。",
    }


def test_the_whole_is_traced_around_what_was_left_out() -> None:
    text = "- 点[这里](https://a.com)看\n- 好"
    result = Normalizer(language="zh").normalize(text)
    assert result.text == "点这里看。好"
    begin, end = result.text.index("这里"), result.text.index("看")
    assert text[slice(*result.source_span(begin, end))] == "这里"
    assert text[slice(*result.source_span(end, end + 1))] == "看"


def test_an_inserted_pause_has_an_empty_span() -> None:
    result = Normalizer(language="zh").normalize("好\n的")
    assert result.text == "好，的"
    assert result.source_span(0, 1) == (0, 1)
    assert result.source_span(1, 2) == (1, 2)
    assert result.source_span(2, 3) == (2, 3)
    assert result.source_span(1, 1) == (1, 1)


WORDS = (
    "你好 苹果 。 ， ！！ … * ** _ ` ``` [ ] ( ](http://a.com/b) www. <b> </think> <think> < & "
    "&amp; $ $$ \\( \\frac{ } # | - --- == 1 12 2024 12345678901234 1,299.00 12:30 2024-03-05 "
    "v1.2.3 a@b.com 个 年 月 第 比分 验证码 拨打 % ℃ km m ￥ @ .com / : ^ ² ½ ① √ + × か ナ 요 Abc "
    "the is of No. Dr. 😊 \u200d \ufe0f \ud83d \ude00 GPT-4o Jan 1st pm x e"
)
MARKED = st.lists(
    st.sampled_from([*WORDS.split(" "), " ", "\n", "\n\n", "\t", "\n- ", "\n1. "])
    | st.text(max_size=2),
    max_size=25,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(MARKED, max_size=3),
    language=st.sampled_from(["zh", "en", "ja", "ko"]),
    clean_markup=st.booleans(),
)
def test_any_text_is_spoken_and_traced(texts: list[str], language: str, clean_markup: bool) -> None:
    normalizer = Normalizer(language=language, clean_markup=clean_markup)
    for text in texts:
        result = normalizer.normalize(text)
        assert len(result.text) == len(result.origins) == len(result.ends)
        assert list(result.origins) == sorted(result.origins)
        assert list(result.ends) == sorted(result.ends)
        spans = [result.source_span(index, index + 1) for index in range(len(result.text))]
        assert all(0 <= begin <= end <= len(text) for begin, end in spans)
        assert not result.text or is_speakable(result.text)
        assert result.text.encode().decode() == result.text


# --- Loading ---------------------------------------------------------------------------------
def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )


def test_wetext_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys; from server.speech.normalizer import Normalizer;"
        "n = Normalizer(language='zh'); n.normalize('今天是2024年3月5日，共3个。');"
        "print('wetext' in sys.modules); n.normalize('5km'); print('wetext' in sys.modules)"
    )
    assert run_python(code).stdout.split() == ["False", "True"]


def test_loading_is_silent_and_opens_no_socket() -> None:
    code = (
        "import logging, socket\n"
        "def refuse(*args, **kwargs): raise AssertionError('a socket was opened')\n"
        "socket.socket = refuse\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
        "from server.speech.normalizer import load\n"
        "load()\n"
    )
    finished = run_python(code)
    assert (finished.stdout, finished.stderr) == ("", "")
