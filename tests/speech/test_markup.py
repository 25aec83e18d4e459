"""What of a language model's output is spoken, segment by segment."""

from __future__ import annotations

import pytest

from server.speech.markup import MarkupCleaner
from server.speech.segmenter import Segmenter
from server.speech.spoken import SpokenText


def cleaned(*segments: str) -> list[str]:
    cleaner = MarkupCleaner()
    return [cleaner.clean(SpokenText.identity(text)).text.strip() for text in segments]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        # Lines.
        ("# 标题\n正文开始。", "标题。正文开始。"),
        ("## Heading ##\nText", "Heading. Text"),
        ("- 苹果\n- 香蕉\n* 橘子", "苹果。香蕉。橘子"),
        ("• item one\n+ item two", "item one. item two"),
        ("- [x] 完成\n- [ ] 未做", "完成。未做"),
        ("1. 首先打开。\n2. 然后关闭", "1，首先打开。2，然后关闭"),
        ("1. First\n2) Second", "1, First. 2, Second"),
        ("1. **打开**：点击", "1，打开：点击"),
        ("> 引用的话\n> 两行", "引用的话，两行"),
        ("> [!NOTE]\n> 注意", "注意"),
        ("---\n正文\n***\n正文", "正文，正文"),
        ("标题\n====\n正文", "标题，正文"),
        (
            "| 名称 | 价格 |\n|:--|---|\n| 苹果 | 5元 |\n| 梨 | 3元 |",
            "名称，价格。苹果，5元。梨，3元",
        ),
        ("第一行\n第二行\n第三行。", "第一行，第二行，第三行。"),
        ("line one\nline two", "line one, line two"),
        ("如下：\n\n好的", "如下：好的"),
        ("Hello!\n\nHow are you", "Hello! How are you"),
        ("行尾两空格  \r\n下一行", "行尾两空格，下一行"),
        ("见[文档][1]。\n\n[1]: https://a.com", "见文档。"),
        # Emphasis and what is not.
        ("**重点**内容，*斜体*和_下划线_", "重点内容，斜体和下划线"),
        ("***三***，~~删除~~，==高亮==", "三，删除，高亮"),
        ("**注意：**请看", "注意：请看"),
        ("5*3*2 和 5 * 3 和 2**3", "5*3*2 和 5 * 3 和 2**3"),
        ("a*b, (a)*(b)", "a*b, (a)*(b)"),
        ("snake_case 和 __init__", "snake_case 和 init"),
        ("2 < 3 > 1, a<b and c>d", "2 < 3 > 1, a<b and c>d"),
        ("C# 和 #1，#话题#", "C# 和 #1，话题"),
        ("-5 度", "-5 度"),
        ("*注：以上", "注：以上"),
        (r"\*星\* 和 \# 和 a\_b", "*星* 和 # 和 a_b"),
        # Code, links, images.
        ("用 `__init__` 和 `a*b`", "用 __init__ 和 a*b"),
        ("`` a`b ``", "a`b"),
        ("打开 `https://a.com/x`", "打开 a.com"),
        ("点[这里](https://a.com/b_(c))看", "点这里看"),
        ("[**粗**](https://a.com)", "粗"),
        ("[https://a.com/b](https://a.com/b)", "a.com"),
        ("![一只猫](x.png)和![](y.png)", "一只猫和"),
        ("[![徽章](x)](y)", "徽章"),
        ("见 https://www.example.com/a/b?x=1。", "见 example.com。"),
        ("见https://user@example.com:80/a，谢谢", "见example.com，谢谢"),
        ("<https://a.com> (www.b.com/c)", "a.com (b.com)"),
        ("研究表明[1]，脚注[^1]【4†source】。", "研究表明，脚注。"),
        ("arr[0] 和 [citation needed]", "arr[0] 和 [citation needed]"),
        ("好[laughter]的[Breath]。", "好的。"),
        # HTML and formulas.
        ('<b>粗</b>体<br>换行<div class="x">块</div>', "粗体，换行，块"),
        ("a &lt; b &amp; c&nbsp;d &#20320;", "a < b & c\u00a0d 你"),
        ("<!-- 注释 -->好<|im_end|>", "好"),
        ("List<int> 类型 <answer>好</answer>", "List<int> 类型 好"),
        (r"$x+1$ 和 $$\frac{1}{2}$$", "x+1 和 1/2"),
        (r"\(a \times b\) 和 \[ \sqrt{2} \]", "a × b 和 √2"),
        (r"$\frac{Q}{\sqrt{d_k}}\text{ 是}$", "Q/√d_k 是"),
        ("价格$5和$10", "价格$5和$10"),
        # Pictures and spacing.
        ("你好😊我来了👨‍👩‍👧。", "你好，我来了。"),
        ("好的👍🏽 来 ❤️", "好的 来"),
        ("1️⃣ 第一", "1，第一"),
        ("左 → 右", "左，右"),
        ("A → B | C", "A, B, C"),
        ("见www.a.com/b，$x$是", "见a.com，x是"),
        ("今天  天气\u200b好", "今天 天气好"),
        ("真的吗？？？好！！！", "真的吗？好！"),
        ("嗯。。。等等......好", "嗯…等等…好"),
        ("Wait.... ok", "Wait... ok"),
        ("好的---这样", "好的，这样"),
        ("this -- that", "this, that"),
        ("────\n标题", "标题"),
    ],
)  # fmt: skip
def test_a_segment_is_cleaned(written: str, said: str) -> None:
    assert cleaned(written) == [said]


@pytest.mark.parametrize(
    "text",
    ["今天天气很好，我们走吧。", "Hello, it's 3.5 (or so)...", "“你好”——他说：《书》", "½①Ⅲ℃№"],
)
def test_plain_text_is_left_alone(text: str) -> None:
    assert cleaned(text) == [text]


def test_a_fence_spans_segments() -> None:
    segments = ["如下：\n```python\nprint(1)\n", "# 注释。", "x = 1\n", "~~~\n```\n", "好了。"]
    assert cleaned(*segments) == ["如下：", "", "", "", "好了。"]


def test_a_fence_is_closed_by_as_many_marks_at_the_start_of_a_line() -> None:
    assert cleaned("````\na\n```\nb\n", "不是 ````\n", "````\n完") == ["", "", "完"]


def test_three_backticks_in_a_line_are_inline_code() -> None:
    assert cleaned("```print(1)``` 是代码", "好。") == ["print(1) 是代码", "好。"]


def test_reasoning_is_dropped_over_segments() -> None:
    segments = ["<think>\n好的，用户。", "让我想想\n```\n", "</think>\n\n你好！", "再见。"]
    assert cleaned(*segments) == ["", "", "你好！", "再见。"]


def test_a_tag_that_is_only_mentioned_hides_nothing() -> None:
    assert cleaned("推理写在<think>里面。", "好。") == ["推理写在里面。", "好。"]
    assert cleaned("用 `<think>` 标签。", "好。") == ["用 <think> 标签。", "好。"]


def test_marks_of_lines_count_only_where_a_line_begins() -> None:
    assert cleaned("一共是 ", "- 3 度") == ["一共是", "- 3 度"]
    assert cleaned("一共\n", "- 三度") == ["一共", "三度"]


def test_emphasis_that_was_cut_loses_both_ends() -> None:
    assert cleaned("**第一句。", "第二句**。") == ["第一句。", "第二句。"]


def test_with_the_segmenter_a_whole_answer_is_cleaned() -> None:
    answer = (
        "<think>\n用户想要代码。先想一想。\n</think>\n\n"
        "好的！**步骤如下**：\n\n1. 打开终端。\n2. 运行：\n\n```bash\npip install a. b\n```\n\n"
        "详见[文档](https://a.com/x.html)。😊\n"
    )
    segmenter = Segmenter()
    segments = [s for char in answer for s in segmenter.feed(char)] + segmenter.finish()
    said = [text for text in cleaned(*(segment.text for segment in segments)) if text]
    assert said == ["好的！", "步骤如下：1，打开终端。", "2，运行：", "详见文档。"]
