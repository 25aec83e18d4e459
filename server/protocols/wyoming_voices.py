"""What Wyoming's `info` tells of this server, and which voice a task's wish means.

Home Assistant asks once, when the integration is set up or loaded again. It lists a voice under
each of its languages, by its description or else its name, and matches the languages with those of
its assistants by their first part: `zh-Hans` finds `zh-CN`, but no `cmn`.
"""

from __future__ import annotations

from collections.abc import Sequence

from wyoming.info import AsrModel, AsrProgram, Attribution, Info, TtsProgram, TtsVoice

from models.recognition import RecognizerCapabilities
from server.errors import ErrorCode, SpeechError
from server.protocols import nls
from server.protocols.wyoming import PROGRAM, VoiceWish
from server.speech.voices import VoiceCatalog, VoiceEntry
from server.version import __version__

_PROJECT = Attribution(name="CosyStream", url="https://github.com/cosystream/cosystream")
_MACRO_TAGS = {"cmn": "zh-CN", "yue": "zh-HK"}
"""What Chinese languages are called where only `zh` is known."""


def describe(
    voices: Sequence[VoiceEntry], recognizer: tuple[str, RecognizerCapabilities] | None
) -> Info:
    """The whole of `info`.

    Args:
        voices: all of them.
        recognizer: name and abilities of what listens, None if nothing does.
    """
    return Info(
        tts=[
            TtsProgram(
                name=PROGRAM,
                attribution=_PROJECT,
                installed=True,
                description="CosyStream text-to-speech",
                version=__version__,
                voices=[_voice(entry) for entry in voices],
                supports_synthesize_streaming=True,
            )
        ],
        asr=[_listener(*recognizer)] if recognizer is not None else [],
    )


def choose(wish: VoiceWish, catalog: VoiceCatalog) -> VoiceEntry:
    """The voice that a client means.

    `name` goes before `language`, as in the package. With a `speaker`, `name` is a model's and
    `speaker` one of its voices. Without any wish the first voice speaks.

    Raises:
        SpeechError: VOICE_UNKNOWN; or MODEL_UNAVAILABLE, there are no voices yet.
    """
    voices = catalog.entries()
    if not voices:
        raise SpeechError(
            ErrorCode.MODEL_UNAVAILABLE, "No model is loaded yet, try again!", retry_after_s=1.0
        )
    if wish.name is not None:
        name = wish.name if wish.speaker is None else f"{wish.name}/{wish.speaker}"
        return catalog.resolve(name)
    if wish.language is not None:
        return _speaker_of(wish.language, voices)
    return voices[0]


def listed_tag(tag: str) -> str:
    """A language as Home Assistant knows it."""
    return _MACRO_TAGS.get(tag.partition("-")[0].lower(), tag)


def _speaker_of(language: str, voices: Sequence[VoiceEntry]) -> VoiceEntry:
    """The first voice of exactly this language, else of its relatives (`en` for `en-AU`)."""
    wanted = language.replace("_", "-").lower()
    for entry in voices:
        own = entry.voice.language
        if wanted in {own.lower(), listed_tag(own).lower()}:
            return entry
    family = _family(wanted)
    for entry in voices:
        if _family(entry.voice.language) == family:
            return entry
    raise SpeechError(
        ErrorCode.VOICE_UNKNOWN, f"No voice speaks the language '{nls.echo(language)}'!"
    )


def _family(tag: str) -> str:
    return listed_tag(tag).partition("-")[0].lower()


def _voice(entry: VoiceEntry) -> TtsVoice:
    return TtsVoice(
        name=entry.name,
        attribution=Attribution(name=entry.model, url=""),
        installed=True,
        description=_title(entry),
        version=None,
        languages=[listed_tag(entry.voice.language)],
    )


def _title(entry: VoiceEntry) -> str:
    """The name first: Home Assistant shows nothing else, in the order of these."""
    description = entry.voice.description
    return f"{entry.name} ({description})" if description else entry.name


def _listener(name: str, capabilities: RecognizerCapabilities) -> AsrProgram:
    model = AsrModel(
        name=name,
        attribution=Attribution(name=name, url=""),
        installed=True,
        description=None,
        version=None,
        languages=[listed_tag(tag) for tag in capabilities.languages],
    )
    return AsrProgram(
        name=PROGRAM,
        attribution=_PROJECT,
        installed=True,
        description="CosyStream speech-to-text",
        version=__version__,
        models=[model],
    )
