"""A sine model that clones voices, and whose loading, recordings and guards do what a test says.

A clone's features name the tone that it speaks with (`sine` or `sine-2`), after which anything may
follow a `;`; otherwise they are a command:

    !refuse         add_voice raises a ModelError
    !raise          add_voice raises an exception of no special kind
    !refuse-once:F  add_voice raises a ModelError unless the file F exists, and makes it

A recording's transcript says what comes of it: `!unsupported`, `!unspeakable`, `!fail` (ModelErrors
of that kind), `!raise`, `!die` (the process exits), `!incident:NAME`, `!large` (more than a frame),
`!wait:F` (waits until the file F exists); anything else becomes features of the tone `sine-2`.

A text `?NAME:N:...` has the guards meet NAME N times, and is otherwise spoken like any other.
`?until:F` is computed when the file F exists. At a piece of text `?hang` the model stands still for
ever.
"""

import os
import threading
import time
from pathlib import Path

from sine_model import SineModel

from models.base import Capabilities, ModelError


class StudioModel(SineModel):
    """Speaks sines, also as clones.

    Args:
        journal: a file that grows by a line with each call of interest.
        loads_with: a file that loading waits for; if it holds text, loading raises that.
        capacity_in: a file that holds its capacity, a number.
        guards: `ok`, or `raise` for guards that break.
        settings: of the sine.
    """

    def __init__(self, *, journal=None, loads_with=None, capacity_in=None, guards="ok", **settings):
        self._journal = journal
        self._guards = guards
        self._capacity_in = capacity_in
        self._clones = {}
        self._incidents = {}
        self._lock = threading.Lock()
        self._note(f"load {os.getpid()}")
        if loads_with is not None:
            problem = wait_for_file(loads_with)
            if problem:
                raise RuntimeError(problem)
        super().__init__(**settings)
        self.capabilities = Capabilities(
            slots=self.capabilities.slots,
            parked=self.capabilities.parked,
            run_ahead_s=self.capabilities.run_ahead_s,
            text_stream=True,
            cloning=True,
            clone_format="sine",
        )

    def _note(self, line):
        if self._journal is not None:
            with Path(self._journal).open("a") as journal:
                journal.write(f"{line}\n")

    def warm_up(self):
        self._note("warm_up")

    def synthesize(self, request, text):
        self._note(f"synthesize {request.voice}")
        if isinstance(text, str) and text.startswith("?until:"):
            wait_for_file(text.removeprefix("?until:"))
        elif isinstance(text, str) and text.startswith("?"):
            name, count, _ = text.removeprefix("?").split(":")
            with self._lock:
                self._incidents[name] = self._incidents.get(name, 0) + int(count)
        elif not isinstance(text, str):
            text = until_hang(text)
        tone = self._clones.get(request.voice, request.voice)
        request = type(request)(voice=tone)
        return super().synthesize(request, text)

    def enroll(self, samples, sample_rate_hz, transcript):
        self._note(f"enroll {transcript}")
        command, _, argument = transcript.partition(":")
        match command:
            case "!unsupported" | "!unspeakable" | "!fail":
                codes = {"!unspeakable": "text_unspeakable", "!fail": "failed"}
                message = f"the recording says {command}"
                raise ModelError(codes.get(command, "unsupported"), message)
            case "!raise":
                raise RuntimeError("the studio burns")
            case "!die":
                os._exit(7)
            case "!incident":
                with self._lock:
                    self._incidents[argument] = 1
            case "!large":
                return bytes(32 << 20)
            case "!wait":
                wait_for_file(argument)
        samples[:1] = 0  # it may write where it reads
        return f"sine-2;{samples.size};{sample_rate_hz};{transcript}".encode()

    def add_voice(self, voice, features):
        self._note(f"add {voice.name}")
        command, _, argument = features.decode().partition(":")
        match command:
            case "!refuse":
                raise ModelError("failed", "the features are damaged")
            case "!raise":
                raise RuntimeError("the studio burns")
            case "!refuse-once" if not Path(argument).exists():
                Path(argument).touch()
                raise ModelError("failed", "come again")
            case "!refuse-once":
                command = "sine-2"
        self._clones[voice.name] = command.partition(";")[0]

    def remove_voice(self, name):
        self._note(f"remove {name}")
        del self._clones[name]

    def take_incidents(self):
        if self._guards == "raise":
            raise RuntimeError("the guards are asleep")
        with self._lock:
            incidents, self._incidents = self._incidents, {}
        return incidents

    def capacity(self):
        if self._guards == "raise":
            raise RuntimeError("nobody measures")
        return int(Path(self._capacity_in).read_text()) if self._capacity_in else super().capacity()

    def holdings(self):
        if self._guards == "raise":
            raise RuntimeError("nobody counts")
        return {"clones": len(self._clones)}

    def close(self):
        self._note("close")


def until_hang(pieces):
    """Pass pieces of text on, in the thread that asks for them."""
    for piece in pieces:
        if piece == "?hang":
            threading.Event().wait()
        yield piece


def wait_for_file(path):
    """Wait until a file is there; returns what it holds."""
    while not Path(path).exists():
        time.sleep(0.002)
    return Path(path).read_text()
