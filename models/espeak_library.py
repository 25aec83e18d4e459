"""libespeak-ng by ctypes: what voices it has, and one utterance.

The library keeps its state in globals, some of which no call resets (the phase of the pitch
flutter, the gain control, and after a stop the half-played command), and it forgets to free
others. A process should therefore speak one utterance and end: `models.espeak_host` sees to that.

Only the standard library is imported here, for the host's sake. The functions and structures bound
here are those of espeak-ng 1.52 (`speak_lib.h`, `espeak_ng.h`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

BLOCK_MS = 60
"""Audio per callback. 60 ms is the least that the library grants."""

_MODE_SYNCHRONOUS = 1  # synthesis returns when the last callback has returned
_POSITION_CHARACTER = 1
_TEXT_UTF8 = 0x0001
_TEXT_PHONEMES = 0x0100  # [[...]] holds phoneme mnemonics
_TEXT_END_PAUSE = 0x1000  # the last clause gets its pause too, in which an echo dies away
_EVENT_END_OF_LIST = 0
_EVENT_WORD = 1
_STATUS_OK = 0
_STATUS_STOPPED = 0x10000EFF  # a callback returned 1
_RANDOM_SEED = 1  # breath and plosives are made of noise
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "pitch_range": 4}
_GENDERS: dict[int, Literal["male", "female"]] = {1: "male", 2: "female"}


class EspeakError(Exception):
    """The library cannot be loaded, or reports a failure."""


class LibraryVoice(NamedTuple):
    """A voice of the data, as the library describes it."""

    identifier: str
    """Its file, such as `sit/cmn`; what `Utterance.voice` takes."""
    name: str
    tags: tuple[str, ...]
    """Language tags, the one it was made for first."""
    gender: Literal["female", "male", "neutral"]


class Utterance(NamedTuple):
    """What the library speaks in one go, on the library's own scales."""

    text: str
    """Without control characters (U+0001 begins a command to the library) and lone surrogates."""
    voice: str
    """`LibraryVoice.identifier`."""
    variant: str = ""
    """One of the data's timbres, such as `f3`; empty for the voice's own."""
    rate: int = 175
    """Words per minute, 80 to 450."""
    pitch: int = 50
    """0 to 99."""
    pitch_range: int = 50
    """0 to 99; 0 is a monotone."""
    volume: int = 100
    """0 to 200; most voices reach full scale at 100."""
    phonemes: bool = False
    """`[[` and `]]` in the text enclose phoneme mnemonics."""


class WordEvent(NamedTuple):
    """The library begins a word."""

    text_index: int
    """Index of its first character in the utterance's text."""
    length: int
    """Characters; sometimes fewer or more than the word has."""
    sample: int
    """Samples from the utterance's first."""


Receiver: TypeAlias = Callable[[bytes, list[WordEvent]], bool]
"""Takes samples (int16 of the machine's byte order) and the words that begin in them; False makes
the library stop."""


class _Event(ctypes.Structure):
    """`espeak_EVENT`; of the union at its end nothing is used here."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


class _Voice(ctypes.Structure):
    """`espeak_VOICE`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event)
)


class EspeakLibrary:
    """The library of this process.

    Args:
        library_path: the shared library.
        data_path: the folder `espeak-ng-data`.

    Raises:
        EspeakError: the library or its data cannot be loaded.
    """

    def __init__(self, library_path: str, data_path: str) -> None:
        self._library = _load(library_path)
        self._library.espeak_ng_InitializePath(data_path.encode())
        for status in (
            self._library.espeak_ng_Initialize(None),
            self._library.espeak_ng_InitializeOutput(_MODE_SYNCHRONOUS, BLOCK_MS, None),
        ):
            if status != _STATUS_OK:
                raise EspeakError(f"libespeak-ng cannot start: status {status:#x}")
        self.sample_rate_hz = int(self._library.espeak_ng_GetSampleRate())

    def voices(self) -> list[LibraryVoice]:
        """The voices of all languages, in the library's order."""
        voices: list[LibraryVoice] = []
        for entry in self._library.espeak_ListVoices(None):
            if not entry:
                break
            voices.append(_library_voice(entry.contents))
        return voices

    def speak(self, utterance: Utterance, receive: Receiver) -> None:
        """Speak; returns when all of it is received, or `receive` said stop.

        Raises:
            EspeakError: no such voice, or the library failed.
            BaseException: what `receive` raised.
        """
        failures: list[BaseException] = []

        def on_block(address: int | None, n_samples: int, events: Sequence[_Event]) -> int:
            samples = ctypes.string_at(address, 2 * n_samples) if address else b""
            try:
                return 0 if receive(samples, _words_in(events)) else 1
            except BaseException as error:  # noqa: BLE001 - must not cross C; it is raised below
                failures.append(error)
                return 1

        callback = _SynthCallback(on_block)
        self._prepare(utterance)
        self._library.espeak_SetSynthCallback(callback)
        text = utterance.text.encode()
        flags = _TEXT_UTF8 | _TEXT_END_PAUSE | (_TEXT_PHONEMES if utterance.phonemes else 0)
        status = self._library.espeak_ng_Synthesize(
            text, len(text) + 1, 0, _POSITION_CHARACTER, 0, flags, None, None
        )
        if failures:
            raise failures[0]
        if status not in (_STATUS_OK, _STATUS_STOPPED):
            raise EspeakError(f"libespeak-ng fails with status {status:#x}")

    def _prepare(self, utterance: Utterance) -> None:
        """Choose the voice and its parameters."""
        name = utterance.voice + (f"+{utterance.variant}" if utterance.variant else "")
        if self._library.espeak_ng_SetVoiceByName(name.encode()) != _STATUS_OK:
            raise EspeakError(f"libespeak-ng has no voice {name!r}")
        for parameter, number in _PARAMETERS.items():
            self._library.espeak_ng_SetParameter(number, getattr(utterance, parameter), 0)
        self._library.espeak_ng_SetRandSeed(_RANDOM_SEED)


def _load(library_path: str) -> ctypes.CDLL:
    """Load the library and declare the functions used here; the others return an int status."""
    try:
        library = ctypes.CDLL(library_path)
    except OSError as error:
        raise EspeakError(f"libespeak-ng cannot be loaded: {error}") from error
    number, text, address = ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
    unsigned, size = ctypes.c_uint, ctypes.c_size_t
    library.espeak_ng_InitializePath.argtypes = (text,)
    library.espeak_ng_InitializePath.restype = None
    library.espeak_ng_Initialize.argtypes = (address,)
    library.espeak_ng_InitializeOutput.argtypes = (number, number, text)
    library.espeak_ListVoices.argtypes = (address,)
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    library.espeak_ng_SetVoiceByName.argtypes = (text,)
    library.espeak_ng_SetParameter.argtypes = (number, number, number)
    library.espeak_ng_SetRandSeed.argtypes = (ctypes.c_long,)
    library.espeak_SetSynthCallback.argtypes = (_SynthCallback,)
    library.espeak_SetSynthCallback.restype = None
    library.espeak_ng_Synthesize.argtypes = (
        *(text, size),
        *(unsigned, number, unsigned),  # from, what `from` counts, to
        *(unsigned, address, address),  # flags, identifier, user data
    )
    return library


def _library_voice(voice: _Voice) -> LibraryVoice:
    """Copy a description out of the library's memory."""
    return LibraryVoice(
        identifier=voice.identifier.decode(),
        name=voice.name.decode(),
        tags=_language_tags(voice.languages),
        gender=_GENDERS.get(voice.gender, "neutral"),
    )


def _language_tags(address: int | None) -> tuple[str, ...]:
    """Read `espeak_VOICE.languages`: (priority byte, tag, NUL) repeated, ended by a zero byte."""
    tags: list[str] = []
    while address and ctypes.c_ubyte.from_address(address).value:
        tag = ctypes.string_at(address + 1)
        tags.append(tag.decode())
        address += len(tag) + 2
    return tuple(tags)


def _words_in(events: Sequence[_Event]) -> list[WordEvent]:
    """The word events of a list that ends with a type of 0; positions count from 1."""
    words: list[WordEvent] = []
    i = 0
    while (event := events[i]).type != _EVENT_END_OF_LIST:
        if event.type == _EVENT_WORD:
            words.append(WordEvent(event.text_position - 1, event.length, event.sample))
        i += 1
    return words
