"""From what protocols say of a manner of speaking to the words that each version was taught.

Version 1 (Instruct) was taught English descriptions of a speaker ("A happy girl with high tone and
quick speech."), version 2 Chinese requests ("用四川话说这句话"), version 3 the sentences of
`instruct_list` in upstream's cosyvoice/utils/common.py ("请非常开心地说一句话。"). Free text is
handed on as it is; a bare emotion, as vendors' fields have it, is put into such a sentence.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from models.base import ModelError

MAX_INSTRUCTION_CHARACTERS = 500
"""It stands before the text in the language model's memory, and is read anew for each sentence."""


class Emotion(NamedTuple):
    """An emotion in the words of each version."""

    v1: str
    v2: str
    v3: str


_EMOTIONS = {
    "happy": Emotion("happy", "高兴", "开心"),
    "sad": Emotion("sad", "悲伤", "伤心"),
    "angry": Emotion("angry", "愤怒", "生气"),
    "surprised": Emotion("surprised", "惊讶", "惊讶"),
    "fearful": Emotion("fearful", "恐惧", "害怕"),
    "disgusted": Emotion("disgusted", "厌恶", "厌恶"),
    "calm": Emotion("calm", "冷静", "平静"),
    "serious": Emotion("serious", "严肃", "严肃"),
    "excited": Emotion("excited", "激动", "激动"),
    "gentle": Emotion("gentle", "温柔", "温柔"),
    "affectionate": Emotion("affectionate", "深情", "深情"),
    "frustrated": Emotion("frustrated", "沮丧", "沮丧"),
    "embarrassed": Emotion("embarrassed", "尴尬", "尴尬"),
    "jealous": Emotion("jealous", "嫉妒", "嫉妒"),
}
_NEUTRAL = frozenset({"neutral", "中性"})
_OTHER_NAMES = {
    "happy": "happiness joy joyful cheerful 高兴 开心 快乐 愉快",
    "sad": "sadness sorrow 悲伤 伤心 难过",
    "angry": "anger 愤怒 生气",
    "surprised": "surprise 惊讶 惊喜",
    "fearful": "fear scared afraid 恐惧 害怕",
    "disgusted": "disgust hate 厌恶 憎恨",
    "calm": "平静 冷静",
    "serious": "严肃",
    "excited": "arousal excitement 激动 兴奋",
    "gentle": "温柔",
    "affectionate": "深情",
    "frustrated": "frustration 沮丧",
    "embarrassed": "embarrassment 尴尬",
    "jealous": "jealousy 嫉妒",
}
"""Aliyun's categories, DashScope's values and plain words that mean the same."""
_NAMES = {name: name for name in _EMOTIONS} | {
    other: name for name, others in _OTHER_NAMES.items() for other in others.split()
}

_DEGREES = {
    "": Emotion("", "", "非常"),
    "very": Emotion("very ", "非常", "非常"),
    "slightly": Emotion("slightly ", "略带", "有点"),
}
"""Version 3 was taught its emotions with 非常 only."""
_DEGREE_NAMES = {"very": "very", "非常": "very", "slightly": "slightly", "有点": "slightly"}

_BARE = re.compile(
    r"(?:你?说话的情感是)?[ ]*(?P<degree>very|slightly|非常|有点)?"
    r"[ ]*(?P<name>[^\W\d]+?)[ ]*[。.!！]?",
    re.IGNORECASE,
)
"""An emotion alone, or in the template of DashScope's `instruction`."""
_SYSTEM_PREFIX = re.compile(r"You are a helpful assistant\.\s*", re.IGNORECASE)
"""Upstream's users write version 3's prefix themselves."""


def emotion_instruction(version: int, emotion: str, degree: str = "") -> str | None:
    """The sentence by which a version is asked for an emotion.

    Args:
        version: 1, 2 or 3.
        emotion: a name of any protocol, in English or Chinese.
        degree: `very`, `slightly` or empty.

    Returns:
        An empty text for neutral, None for a name that is not known.
    """
    name = emotion.lower()
    if name in _NEUTRAL:
        return ""
    if name not in _NAMES:
        return None
    word, much = _EMOTIONS[_NAMES[name]][version - 1], _DEGREES[degree][version - 1]
    match version:
        case 1:
            described = much + word
            article = "An" if described[0] in "aeiou" else "A"
            return f"{article} {described} speaker."
        case 2:
            return f"用{much}{word}的语气说这句话"
        case _:
            return f"请{much}{word}地说一句话。"


def instruction_text(version: int, instruction: str) -> str:
    """What a version is told for a client's instruction; empty if it asks for nothing special.

    Args:
        version: 1, 2 or 3.
        instruction: of a request, free of control tokens.

    Raises:
        ModelError: `unsupported`, it is too long.
    """
    instruction = _SYSTEM_PREFIX.sub("", " ".join(instruction.split()), count=1)
    if len(instruction) > MAX_INSTRUCTION_CHARACTERS:
        raise ModelError(
            "unsupported", f"an instruction has at most {MAX_INSTRUCTION_CHARACTERS} characters"
        )
    if (bare := _BARE.fullmatch(instruction)) is not None:
        degree = _DEGREE_NAMES.get((bare["degree"] or "").lower(), "")
        sentence = emotion_instruction(version, bare["name"], degree)
        if sentence is not None:
            return sentence
    if version == 3 and instruction and instruction[-1].isalnum():  # noqa: PLR2004
        # Every sentence that version 3 was taught ends like one.
        return instruction + ("." if instruction.isascii() else "。")
    return instruction
