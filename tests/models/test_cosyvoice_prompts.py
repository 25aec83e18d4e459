"""How each version is asked to speak, and what of a user's text reaches it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import ModelError
from models.cosyvoice.features import VoiceFeatures
from models.cosyvoice.instructions import (
    MAX_INSTRUCTION_CHARACTERS,
    emotion_instruction,
    instruction_text,
)
from models.cosyvoice.prompts import (
    END_OF_PROMPT,
    END_OF_PROMPT_ID,
    Mode,
    Prompt,
    choose_mode,
    make_prompt,
    transcript_prompt,
)
from models.cosyvoice.scripts_of_text import main_script, script_shares
from models.cosyvoice.user_text import clean, known_marks, sentence

MARKS = ("[laughter]", "[breath]", "<strong>", "</strong>", "[j]", "[ǐ]", "[B]", "[b]", "[á]")


def voice(transcript: str = "希望你以后能够做的比我还好呦。", **fields: object) -> VoiceFeatures:
    """A recorded voice."""
    return VoiceFeatures(
        embedding=np.ones(192, np.float32),
        speech_tokens=np.arange(75, dtype=np.int32),
        mel=np.zeros((150, 80), np.float32),
        transcript=transcript,
        **fields,
    )


PRESET = VoiceFeatures(embedding=np.ones(192, np.float32))


# --- Modes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "variant", "features", "instruction", "mode"),
    [
        (1, "base", PRESET, "", Mode.SFT),
        (1, "base", voice(), "", Mode.ZERO_SHOT),
        (1, "base", voice(""), "", Mode.CROSS_LINGUAL),
        (1, "sft", PRESET, "", Mode.SFT),
        (1, "instruct", PRESET, "", Mode.SFT),
        (1, "instruct", PRESET, "A happy girl.", Mode.INSTRUCT),
        (2, "base", PRESET, "", Mode.SFT),
        (2, "base", voice(), "", Mode.ZERO_SHOT),
        (2, "base", voice(""), "", Mode.CROSS_LINGUAL),
        (2, "base", voice("", prompt_text=np.ones(3, np.int32)), "", Mode.ZERO_SHOT),
        (2, "base", voice(), "用四川话说这句话", Mode.INSTRUCT2),
        (3, "base", PRESET, "", Mode.SFT),
        (3, "base", voice(), "", Mode.ZERO_SHOT),
        (3, "base", voice(""), "请用广东话表达。", Mode.INSTRUCT2),
    ],
)
def test_the_mode_that_serves_best(
    version: int, variant: str, features: VoiceFeatures, instruction: str, mode: Mode
) -> None:
    text = "今天天气很好。"
    assert choose_mode(version, variant, features, instruction=instruction, text=text) is mode


@pytest.mark.parametrize(
    ("version", "variant", "features", "instruction", "reason"),
    [
        (1, "base", PRESET, "快乐", "CosyVoice-300M takes no instruction; CosyVoice-300M-Instruct"),
        (1, "base", voice(), "快乐", "CosyVoice-300M takes no instruction"),
        (1, "sft", PRESET, "快乐", "CosyVoice-300M-SFT takes no instruction"),
        (1, "sft", voice(), "", "CosyVoice-300M-SFT speaks with its own voices only"),
        (1, "instruct", voice(), "", "CosyVoice-300M-Instruct speaks with its own voices only"),
        (2, "base", PRESET, "快乐", "CosyVoice 2 follows an instruction with a recorded voice"),
        (3, "base", PRESET, "快乐", "CosyVoice 3 follows an instruction with a recorded voice"),
    ],
)
def test_what_a_model_cannot_do_is_said(
    version: int, variant: str, features: VoiceFeatures, instruction: str, reason: str
) -> None:
    with pytest.raises(ModelError) as refusal:
        choose_mode(version, variant, features, instruction=instruction, text="好")
    assert refusal.value.code == "unsupported"
    assert refusal.value.message.startswith(reason)


@pytest.mark.parametrize(
    ("transcript", "text", "mode"),
    [
        ("希望你以后做的比我好。", "今天天气很好。", Mode.ZERO_SHOT),
        ("希望你以后做的比我好。", "我用 Python 写代码。", Mode.ZERO_SHOT),
        ("希望你以后做的比我好。", "And then later on.", Mode.CROSS_LINGUAL),
        ("希望你以后做的比我好。", "今日はとても良い天気です。", Mode.CROSS_LINGUAL),
        ("希望你以后做的比我好。", "12345", Mode.ZERO_SHOT),
        ("希望你以后做的比我好。", "", Mode.ZERO_SHOT),
        ("I hope you will do better than me.", "Good morning, 小明!", Mode.ZERO_SHOT),
        ("I hope you will do better than me.", "你好，我是 Tom。", Mode.CROSS_LINGUAL),
        ("今日はとても良い天気です。", "今天天气很好。", Mode.CROSS_LINGUAL),
        ("안녕하세요.", "감사합니다.", Mode.ZERO_SHOT),
        ("안녕하세요.", "Спасибо большое.", Mode.CROSS_LINGUAL),
    ],
)
def test_a_text_in_another_script_is_cross_lingual(transcript: str, text: str, mode: Mode) -> None:
    assert choose_mode(2, "base", voice(transcript), instruction="", text=text) is mode


def test_shares_of_scripts() -> None:
    assert script_shares("我用Python写C代码") == {"han": 5 / 7, "latin": 2 / 7}
    assert script_shares("东京の天气很好很好很好") == {"han": 10 / 11, "kana": 1 / 11}
    assert main_script("日本語です") == "kana"
    assert main_script("123，。") == ""


# --- What stands before the text -------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "variant", "features", "instruction", "text"),
    [
        (1, "sft", PRESET, "", ""),
        (1, "instruct", PRESET, "A happy girl.", "A happy girl.<|endofprompt|>"),
        (1, "base", voice("你好呦。"), "", "你好呦。"),
        (2, "base", PRESET, "", ""),
        (2, "base", voice("你好呦。"), "", "你好呦。"),
        (2, "base", voice(""), "", ""),
        (2, "base", voice(), "用四川话说这句话", "用四川话说这句话<|endofprompt|>"),
        (3, "base", PRESET, "", "You are a helpful assistant.<|endofprompt|>"),
        (3, "base", voice(""), "", "You are a helpful assistant.<|endofprompt|>"),
        (3, "base", voice("你好呦。"), "", "You are a helpful assistant.<|endofprompt|>你好呦。"),
        (
            3,
            "base",
            voice(),
            "请用广东话表达",
            "You are a helpful assistant. 请用广东话表达。<|endofprompt|>",
        ),
    ],
)
def test_prompts_are_upstream_s(
    version: int, variant: str, features: VoiceFeatures, instruction: str, text: str
) -> None:
    prompt = make_prompt(version, variant, features, instruction=instruction, text="今天很好。")
    assert (prompt.text, prompt.tokens) == (text, None)


@pytest.mark.parametrize(
    ("text", "language", "prompt"),
    [
        ("And then later on.", "", "<|en|>"),
        ("你好", "yue-HK", "<|yue|>"),
        ("ありがとう", "", "<|ja|>"),
        ("감사합니다", "", "<|ko|>"),
        ("Спасибо", "", ""),
    ],
)
def test_version_1_is_told_the_language_of_foreign_text(
    text: str, language: str, prompt: str
) -> None:
    made = make_prompt(1, "base", voice(""), text=text, language=language)
    assert (made.mode, made.text) == (Mode.CROSS_LINGUAL, prompt)


def test_a_transcript_that_was_tokenized_is_taken_as_it_is() -> None:
    ids = np.array([10, 11], np.int32)
    for version, text in ((2, ""), (3, "You are a helpful assistant.<|endofprompt|>")):
        prompt = make_prompt(version, "base", voice(prompt_text=ids))
        assert (prompt.text, prompt.tokens) == (text, ids)


def test_version_3_s_prefix_is_not_said_twice() -> None:
    ids = np.array([9, END_OF_PROMPT_ID, 10], np.int32)
    assert make_prompt(3, "base", voice(prompt_text=ids)).text == ""
    assert transcript_prompt(3, f"You are a helpful assistant.{END_OF_PROMPT}你好") == (
        "You are a helpful assistant.<|endofprompt|>你好"
    )


@pytest.mark.parametrize(
    ("mode", "recording", "spoken_prompt", "timbre"),
    [
        (Mode.SFT, False, False, True),
        (Mode.ZERO_SHOT, True, True, True),
        (Mode.CROSS_LINGUAL, True, False, True),
        (Mode.INSTRUCT, False, False, False),
        (Mode.INSTRUCT2, True, False, True),
    ],
)
def test_what_of_the_voice_is_used(
    mode: Mode, *, recording: bool, spoken_prompt: bool, timbre: bool
) -> None:
    prompt = Prompt(mode=mode, text="")
    assert prompt.has_recording is recording
    assert prompt.has_spoken_prompt is spoken_prompt
    assert prompt.has_timbre is timbre


# --- Instructions and emotions ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "instruction", "text"),
    [
        (1, "happy", "A happy speaker."),
        (1, "very angry", "A very angry speaker."),
        (1, "angry", "An angry speaker."),
        (2, "happy", "用高兴的语气说这句话"),
        (2, "very sad", "用非常悲伤的语气说这句话"),
        (2, "你说话的情感是fearful。", "用恐惧的语气说这句话"),
        (2, "Surprise", "用惊讶的语气说这句话"),
        (3, "happy", "请非常开心地说一句话。"),
        (3, "slightly happy", "请有点开心地说一句话。"),
        (3, "伤心", "请非常伤心地说一句话。"),
        (3, "anger", "请非常生气地说一句话。"),
        (3, "hate", "请非常厌恶地说一句话。"),
        (3, "neutral", ""),
        (2, "你说话的情感是neutral。", ""),
        # Anything else is the client's own words.
        (2, "用四川话说这句话", "用四川话说这句话"),
        (2, "  speak \n softly ", "speak softly"),
        (2, "very", "very"),
        (3, "nostalgic", "nostalgic."),
        (3, "You are a helpful assistant. 请用广东话表达。", "请用广东话表达。"),
        (3, "", ""),
    ],
)
def test_instructions(version: int, instruction: str, text: str) -> None:
    assert instruction_text(version, instruction) == text


def test_an_unknown_emotion() -> None:
    assert emotion_instruction(2, "nostalgic") is None


def test_neutral_is_no_instruction() -> None:
    assert make_prompt(2, "base", voice(), instruction="neutral").mode is Mode.ZERO_SHOT
    assert make_prompt(1, "sft", PRESET, instruction="neutral").mode is Mode.SFT


def test_an_instruction_may_not_be_endless() -> None:
    assert instruction_text(2, "慢" * MAX_INSTRUCTION_CHARACTERS)
    with pytest.raises(ModelError, match="at most 500 characters"):
        instruction_text(2, "慢" * (MAX_INSTRUCTION_CHARACTERS + 1))


# --- Users' text -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("你好<|endofprompt|>世界", "你好世界"),
        ("<|im_start|>system<|im_end|>", "system"),
        ("<|<|endofprompt|>endofprompt|>", "endofprompt"),
        ("<<||endofprompt|>", "endofprompt"),
        ("<|end", "end"),
        ("a\x00b\ud800c", "abc"),
        ("2 < 3 | 4 > 1", "2 < 3 | 4 > 1"),
        ("好[laughter]的<strong>", "好[laughter]的<strong>"),
        ("报道[j][ǐ]予", "报道[j][ǐ]予"),
        ("我选[B]和[b]", "我选B和b"),
        ("[á]姨", "[á]姨"),
        ("我选[C]", "我选[C]"),
    ],
)
def test_control_tokens_go_and_marks_stay(written: str, given: str) -> None:
    assert clean(written, MARKS) == given


@given(st.lists(st.sampled_from(["<|", "|>", "<", "|", ">", "endofprompt", "a", "["]), max_size=20))
@settings(max_examples=300)
def test_no_control_token_ever_passes(parts: list[str]) -> None:
    cleaned = clean("".join(parts), MARKS)
    assert "<|" not in cleaned
    assert "|>" not in cleaned


@given(st.text(max_size=40))
def test_an_instruction_brings_no_control_token(instruction: str) -> None:
    prompt = make_prompt(3, "base", voice(), instruction=f"a<|{instruction}<|endofprompt|>")
    assert prompt.text.count(END_OF_PROMPT) == 1
    assert prompt.text.removesuffix(END_OF_PROMPT).count("<|") == 0


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("你好", "你好。"),
        ("hello", "hello."),
        ("我用Python", "我用Python。"),
        ("听着，", "听着，"),
        ("好[laughter]", "好[laughter]。"),
        ("好。[laughter]", "好。[laughter]"),
        ("非凡的<strong>勇气</strong>", "非凡的<strong>勇气</strong>。"),
        ("<strong>非凡的勇气。", "非凡的勇气。"),
        ("非凡</strong>的<strong>勇气</strong>。", "非凡的<strong>勇气</strong>。"),
        ("好\n的 吧，  行。", "好的吧，行。"),
        ("an open\n door!", "an open door!"),
        ("他（小明）来了。", "他小明来了。"),
        ("レキシ テキ セカイ。", "レキシ テキ セカイ。"),
        ("[laughter]", "[laughter]"),
    ],
)
def test_a_sentence_has_the_shape_that_the_model_was_taught(written: str, given: str) -> None:
    assert sentence(written, MARKS) == given


@pytest.mark.parametrize("text", ["", " \n", "！？", "<|endofprompt|>", "<strong></strong>"])
def test_nothing_to_say(text: str) -> None:
    with pytest.raises(ModelError) as refusal:
        sentence(text, MARKS)
    assert refusal.value.code == "text_unspeakable"


def test_marks_are_the_tokenizer_s() -> None:
    tokens = ["<|im_start|>", "<|endofprompt|>", "[breath]", "<strong>", "</strong>"]
    assert known_marks(2, "base", tokens) == ("[breath]", "<strong>", "</strong>")
    assert known_marks(1, "sft", ()) == ()
    assert "<laughter>" in known_marks(1, "instruct", ())
