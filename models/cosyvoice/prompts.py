"""Chooses the mode in which a version speaks a request, and writes what stands before its text.

Upstream leaves both to its caller: which of `inference_sft`, `inference_zero_shot` and so on to
call, and to write `<|endofprompt|>` (cosyvoice/cli/frontend.py; example.py). Here no user does.

    mode            version              the language model gets                  and the flow
    sft             1, 2, 3              the text                                 the timbre
    zero_shot       1, 2, 3              transcript, text, recording              the recording
    cross_lingual   1, 2, 3              the text                                 the recording
    instruct        1 (Instruct)         instruction, text, without the timbre    the timbre
    instruct2       2, 3                 instruction, text                        the recording

Version 3's language model fails without an `<|endofprompt|>`. It is always put into the prompt,
also where upstream's users write it into the text: for the model that is the same, but the text's
length, by which speech is bounded, is right.

Version 3 was taught Japanese in katakana; kanji are not translated here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from models.base import ModelError
from models.cosyvoice.features import TokenIds, VoiceFeatures
from models.cosyvoice.instructions import instruction_text
from models.cosyvoice.scripts_of_text import main_script, script_shares
from models.cosyvoice.user_text import clean

END_OF_PROMPT = "<|endofprompt|>"
END_OF_PROMPT_ID = 151646
"""In versions 2 and 3; upstream's language model has the number, too."""
_SYSTEM = "You are a helpful assistant."
"""What every prompt of version 3 begins with."""
_SAME_SCRIPT_SHARE = 1 / 3
"""A text that is to this part in the transcript's script goes on from it; below, the recording's
language would colour the text's."""
_TAG_OF_LANGUAGE = {"zh": "zh", "cmn": "zh", "en": "en", "ja": "ja", "yue": "yue", "ko": "ko"}
_TAG_OF_SCRIPT = {"han": "zh", "latin": "en", "kana": "ja", "hangul": "ko"}
"""Version 1's language tokens; upstream's examples write one before a text of another language."""


class Mode(StrEnum):
    """How a model is used; the names are upstream's."""

    SFT = "sft"
    ZERO_SHOT = "zero_shot"
    CROSS_LINGUAL = "cross_lingual"
    INSTRUCT = "instruct"
    INSTRUCT2 = "instruct2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What stands before the text in the language model, and what of the voice is used."""

    mode: Mode
    text: str
    """Of ours: to be tokenized with its control tokens. May be empty."""
    tokens: TokenIds | None = None
    """Ids that follow it: a transcript that was tokenized before."""

    @property
    def has_recording(self) -> bool:
        """The flow gets the voice's speech tokens and mel."""
        return self.mode in (Mode.ZERO_SHOT, Mode.CROSS_LINGUAL, Mode.INSTRUCT2)

    @property
    def has_spoken_prompt(self) -> bool:
        """The language model goes on from the voice's speech tokens."""
        return self.mode is Mode.ZERO_SHOT

    @property
    def has_timbre(self) -> bool:
        """The language model of version 1 gets the embedding; it leaks into what is instructed."""
        return self.mode is not Mode.INSTRUCT


def make_prompt(
    version: int,
    variant: str,
    features: VoiceFeatures,
    *,
    instruction: str = "",
    text: str = "",
    language: str = "",
) -> Prompt:
    """Choose the mode and write the prompt.

    Args:
        version: 1, 2 or 3.
        variant: of version 1: `base`, `sft` or `instruct`.
        features: the voice.
        instruction: of the request, as the client wrote it.
        text: what is to be said; empty if it is still to come.
        language: BCP 47 tag of the text, if the request has one.

    Raises:
        ModelError: `unsupported`, the model cannot do that with this voice.
    """
    told = instruction_text(version, clean(instruction, ()))
    mode = choose_mode(version, variant, features, instruction=told, text=text)
    if mode in (Mode.INSTRUCT, Mode.INSTRUCT2):
        return Prompt(mode=mode, text=_instruction_prompt(version, told))
    if mode is Mode.ZERO_SHOT:
        return _spoken_prompt(version, features)
    if version == 1 and mode is Mode.CROSS_LINGUAL:
        tag = _language_tag(text, language)
        return Prompt(mode=mode, text=f"<|{tag}|>" if tag else "")
    return Prompt(mode=mode, text=_prefix(version))


def choose_mode(
    version: int,
    variant: str,
    features: VoiceFeatures,
    *,
    instruction: str,
    text: str,
) -> Mode:
    """The mode that serves a request best; engine.md's table of modes by version.

    Args:
        version: 1, 2 or 3.
        variant: of version 1: `base`, `sft` or `instruct`.
        features: the voice.
        instruction: how to say it, or empty.
        text: what is to be said; empty if it is still to come.

    Raises:
        ModelError: `unsupported`, the model cannot do that with this voice.
    """
    has_recording = features.speech_tokens is not None
    if version == 1 and variant != "base":
        if has_recording:
            raise ModelError(
                "unsupported",
                f"CosyVoice-300M-{'SFT' if variant == 'sft' else 'Instruct'} speaks with its own "
                "voices only; for recorded ones use CosyVoice-300M, CosyVoice 2 or CosyVoice 3",
            )
        if instruction and variant == "sft":
            raise _no_instruction("CosyVoice-300M-SFT")
        return Mode.INSTRUCT if instruction else Mode.SFT
    if instruction and version == 1:
        raise _no_instruction("CosyVoice-300M")
    if not has_recording:
        if instruction:
            raise ModelError(
                "unsupported",
                f"CosyVoice {version} follows an instruction with a recorded voice only, "
                "and this voice has no recording",
            )
        return Mode.SFT
    if instruction:
        return Mode.INSTRUCT2
    has_transcript = bool(features.transcript) or features.prompt_text is not None
    if has_transcript and _goes_on_from(features.transcript, text):
        return Mode.ZERO_SHOT
    return Mode.CROSS_LINGUAL


def transcript_prompt(version: int, transcript: str) -> str:
    """What a version is told to be said in a recording; to be tokenized with its control tokens.

    Args:
        version: 1, 2 or 3.
        transcript: of the recording, not empty.
    """
    spoken = " ".join(clean(transcript, ()).split()).removeprefix(_SYSTEM).strip()
    return _prefix(version) + spoken


def _no_instruction(model: str) -> ModelError:
    return ModelError(
        "unsupported",
        f"{model} takes no instruction; CosyVoice-300M-Instruct, CosyVoice 2 and CosyVoice 3 do",
    )


def _prefix(version: int) -> str:
    return _SYSTEM + END_OF_PROMPT if version == 3 else ""  # noqa: PLR2004


def _instruction_prompt(version: int, instruction: str) -> str:
    system = f"{_SYSTEM} " if version == 3 else ""  # noqa: PLR2004
    return system + instruction + END_OF_PROMPT


def _spoken_prompt(version: int, features: VoiceFeatures) -> Prompt:
    tokens = features.prompt_text
    if tokens is None:
        return Prompt(mode=Mode.ZERO_SHOT, text=transcript_prompt(version, features.transcript))
    has_prefix = END_OF_PROMPT_ID in tokens.tolist()
    return Prompt(mode=Mode.ZERO_SHOT, text="" if has_prefix else _prefix(version), tokens=tokens)


def _goes_on_from(transcript: str, text: str) -> bool:
    """Whether the transcript's script is that of enough of the text, as far as both are known."""
    script, shares = main_script(transcript), script_shares(text)
    return not script or not shares or shares.get(script, 0.0) >= _SAME_SCRIPT_SHARE


def _language_tag(text: str, language: str) -> str:
    primary = language.lower().replace("_", "-").partition("-")[0]
    return _TAG_OF_LANGUAGE.get(primary) or _TAG_OF_SCRIPT.get(main_script(text), "")
