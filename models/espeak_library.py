"""libespeak-ng by ctypes: its voices, and one utterance at a time.

The library and its data come in the `espeakng-loader` wheel. It keeps its state in globals, so a
process has one, however many `EspeakLibrary` objects share it, and one utterance is spoken at a
time. The functions and structures bound here are those of espeak-ng 1.52 (`speak_lib.h`,
`espeak_ng.h`).
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import espeakng_loader
import numpy as np
import numpy.typing as npt

Int16Samples: TypeAlias = npt.NDArray[np.int16]

BUFFER_MS = 60
"""Audio per callback. 60 ms is the least that the library grants."""

_MODE_SYNCHRONOUS = 1  # synthesis returns when the last callback has returned
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1  # and no espeakSSML, no espeakPHONEMES: text is only ever text
_EVENT_END_OF_LIST = 0
_EVENT_WORD = 1
_STATUS_OK = 0
_STATUS_STOPPED = 0x10000EFF  # a callback returned 1
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "pitch_range": 4}
_GENDERS: dict[int, Literal["male", "female", "neutral"]] = {1: "male", 2: "female"}


class EspeakError(Exception):
    """The library reports a failure."""


class _Event(ctypes.Structure):
    """`espeak_EVENT`; the union at its end is only ever a number here."""

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


@dataclass(frozen=True, slots=True)
class LibraryVoice:
    """A voice of the data: its language tags in order of preference, as the library spells them."""

    name: str
    languages: tuple[str, ...]
    gender: Literal["female", "male", "neutral"]


@dataclass(frozen=True, slots=True)
class Timbre:
    """How to speak, on the library's own scales."""

    variant: str = ""
    """One of the data's voice variants, such as `f3`; empty for the language's own timbre."""
    rate: int = 175
    """Words per minute, 80 to 450."""
    pitch: int = 50
    """0 to 99."""
    pitch_range: int = 50
    """0 to 99; 0 is a monotone."""
    volume: int = 100
    """0 to 200, 100 being full scale for most voices."""


@dataclass(frozen=True, slots=True)
class WordEvent:
    """The library begins a word."""

    text_index: int
    length: int
    sample: int
    """Samples from the beginning of the utterance."""


Receiver: TypeAlias = Callable[[Int16Samples, list[WordEvent]], bool]
"""Takes samples and the words that begin in them; False makes the library stop."""


class _FairLock:
    """A lock that is given in the order of asking, which `threading.Lock` does not promise."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held = False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._guard:
            if not self._held:
                self._held = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False


_turns = _FairLock()
_open_count = 0  # guarded by _turns


class EspeakLibrary:
    """The process's libespeak-ng. Methods may be called from any thread; each waits its turn.

    Raises:
        EspeakError: the library or its data cannot be loaded.
    """

    def __init__(self) -> None:
        global _open_count  # noqa: PLW0603 - counts the users of the library's own globals
        self._library = _bind()
        with _turns:
            if _open_count == 0:
                _initialize(self._library)
            _open_count += 1
            self.sample_rate_hz = int(self._library.espeak_ng_GetSampleRate())
        self._closed = False

    def voices(self) -> list[LibraryVoice]:
        """The voices of all languages, without variants, in the library's order."""
        with _turns:
            entries = self._library.espeak_ListVoices(None)
            found: list[LibraryVoice] = []
            for entry in entries:
                if not entry:
                    break
                voice = entry.contents
                found.append(
                    LibraryVoice(
                        name=voice.name.decode(),
                        languages=_language_tags(voice.languages),
                        gender=_GENDERS.get(voice.gender, "neutral"),
                    )
                )
        return found

    def speak(self, text: str, language: str, timbre: Timbre, receive: Receiver) -> None:
        """Speak one utterance; returns when all of it has been received, or `receive` said stop.

        Args:
            text: without control characters (U+0001 begins a command to the library) and lone
                surrogates.
            language: a language tag of the data.
            timbre: how.
            receive: called with each block of samples, in this thread.

        Raises:
            EspeakError: no such voice or variant, or the library failed.
        """
        failure: list[BaseException] = []

        def on_block(address: int | None, n_samples: int, events: Sequence[_Event]) -> int:
            try:
                return 0 if receive(_samples_at(address, n_samples), _words_in(events)) else 1
            except BaseException as error:  # noqa: BLE001 - must not pass through C; raised below
                failure.append(error)
                return 1

        callback = _SynthCallback(on_block)
        encoded = text.encode()
        with _turns:
            self._choose(language, timbre)
            self._library.espeak_SetSynthCallback(callback)
            status = self._library.espeak_ng_Synthesize(
                encoded, len(encoded) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
            )
        if failure:
            raise failure[0]
        if status not in (_STATUS_OK, _STATUS_STOPPED):
            raise EspeakError(f"libespeak-ng fails with status {status:#x}")

    def close(self) -> None:
        """Free the library's memory, if this was its last user."""
        global _open_count  # noqa: PLW0603 - see __init__
        with _turns:
            if self._closed:
                return
            self._closed = True
            _open_count -= 1
            if _open_count == 0:
                self._library.espeak_ng_Terminate()

    def _choose(self, language: str, timbre: Timbre) -> None:
        """Set everything that an earlier utterance may have changed."""
        if self._closed:
            raise EspeakError("the library is closed")
        name = f"{language}+{timbre.variant}" if timbre.variant else language
        if self._library.espeak_ng_SetVoiceByName(name.encode()) != _STATUS_OK:
            raise EspeakError(f"libespeak-ng has no voice {name!r}")
        for parameter, number in _PARAMETERS.items():
            self._library.espeak_ng_SetParameter(number, getattr(timbre, parameter), 0)
        # Breath and plosives are made of noise; the same seed makes the same samples.
        self._library.espeak_ng_SetRandSeed(1)


def _bind() -> ctypes.CDLL:
    """Load the library and declare the functions used here; the others return an int status."""
    try:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
    except OSError as error:
        raise EspeakError(f"libespeak-ng cannot be loaded: {error}") from error
    number, text, address = ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
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
        text,
        ctypes.c_size_t,
        ctypes.c_uint,
        number,
        ctypes.c_uint,
        ctypes.c_uint,
        address,
        address,
    )
    return library


def _initialize(library: ctypes.CDLL) -> None:
    """Read the phoneme data and set the size of a block."""
    library.espeak_ng_InitializePath(espeakng_loader.get_data_path().encode())
    for status in (
        library.espeak_ng_Initialize(None),
        library.espeak_ng_InitializeOutput(_MODE_SYNCHRONOUS, BUFFER_MS, None),
    ):
        if status != _STATUS_OK:
            raise EspeakError(f"libespeak-ng cannot start: status {status:#x}")


def _language_tags(address: int | None) -> tuple[str, ...]:
    """Read `espeak_VOICE.languages`: (priority byte, tag, NUL) repeated, ended by a zero byte."""
    tags: list[str] = []
    while address and ctypes.c_ubyte.from_address(address).value:
        tag = ctypes.string_at(address + 1)
        tags.append(tag.decode())
        address += len(tag) + 2
    return tuple(tags)


def _samples_at(address: int | None, n_samples: int) -> Int16Samples:
    """Copy a block out of the library's buffer, which it will overwrite."""
    if not address or n_samples <= 0:
        return np.zeros(0, np.int16)
    return np.frombuffer(ctypes.string_at(address, 2 * n_samples), np.int16)


def _words_in(events: Sequence[_Event]) -> list[WordEvent]:
    """The word events of a list that ends with a type of 0; positions count from 1."""
    words: list[WordEvent] = []
    i = 0
    while events[i].type != _EVENT_END_OF_LIST:
        if events[i].type == _EVENT_WORD:
            event = events[i]
            words.append(WordEvent(event.text_position - 1, event.length, event.sample))
        i += 1
    return words
