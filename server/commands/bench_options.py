"""What `cosystream bench` can be asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from server.bench.session import Consume
from server.bench.weights import Size
from server.commands.failure import UsageError
from server.commands.options import AudioFormatName

_Positive = Parameter(validator=Number(gt=0))
_NotNegative = Parameter(validator=Number(gte=0))
_Flag = Parameter(negative=())


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What to load, and how much."""

    rate: Annotated[float, _NotNegative] = 0.0
    """Open loop: arrivals per second, at random (Poisson)."""
    sessions: Annotated[int, _NotNegative] = 0
    """Closed loop: sessions at once (1, unless --rate is given)."""
    seconds: Annotated[float, _Positive] = 20.0
    """New sessions begin within this time."""
    ramp_seconds: Annotated[float, _NotNegative] = 5.0
    """Closed loop: the first sessions begin spread over this time."""
    text: str = "builtin"
    """A UTF-8 file, or `builtin`: about 6 s of Chinese speech."""
    voice: str = "中文女"
    """Voice or alias."""
    format: AudioFormatName = "pcm"
    """Audio format."""
    sample_rate: Annotated[int, _NotNegative] = 0
    """Hz; 0 takes the voice's own."""
    consume: Consume = "realtime"
    """realtime: read at once, stay until it has been heard. fast: leave when all is there. paced:
    read only one second ahead of what is heard."""
    prebuffer_ms: Annotated[float, _NotNegative] = 200.0
    """Audio that the player collects before it begins."""
    pieces: Literal["whole", "token"] = "whole"
    """Send the text whole, or in an LLM's tokens."""
    tokens_per_second: Annotated[float, _Positive] = 30.0
    """Speed of --pieces token."""
    churn_seconds: Annotated[float, _NotNegative] = 0.0
    """Afterwards, let sessions come and go for this time and watch memory, file handles and what
    the model holds. What is still held at the end is a failure."""
    floor: Annotated[bool, _Flag] = False
    """Run the same load against a bare WebSocket server and compare."""
    url: str = ""
    """Load this server instead of starting one; CPU and memory are then not measured."""
    token: Annotated[str, Parameter(env_var="COSYSTREAM_TOKEN", show_default=False)] = ""
    """What that server lets you in for."""
    serve_args: Annotated[str, Parameter(allow_leading_hyphen=True)] = ""
    """Arguments for the server that is started, for example "--model NAME=KIND"."""
    seed: int = 1
    """Of arrivals and tokens."""
    json: Path | None = None
    """File for all figures."""

    def checked(self, model: ModelOptions, capacity: CapacityOptions) -> BenchOptions:
        """The same, complete.

        Raises:
            UsageError: options contradict each other.
        """
        if self.rate and self.sessions:
            raise UsageError("--rate and --sessions exclude each other")
        if self.url and (self.serve_args or self.churn_seconds):
            raise UsageError(
                "--serve-args and --churn-seconds need a server that bench starts itself"
            )
        if self.url and model.model != "embedded":
            raise UsageError("--model is of the server that bench starts itself, not of --url")
        if model.model != "embedded" and "--model" in self.serve_args:
            raise UsageError("--model and --serve-args both say what the server hosts")
        model.check()
        if capacity.capacity and (self.rate or self.sessions or self.floor):
            raise UsageError("--capacity chooses the load: without --rate, --sessions and --floor")
        if not self.rate and not self.sessions:
            return replace(self, sessions=1, ramp_seconds=0.0)
        return self


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What the server hosts."""

    model: Literal["embedded", "native", "official"] = "embedded"
    """embedded: what the server has by itself, or --serve-args says. native, official: CosyVoice,
    computed by our own engine or by the official package."""
    random: Size | None = None
    """With --model native or official: random weights, made once and kept below ~/.cache; full
    takes 3 to 6 GB."""
    version: Literal[2, 3] = 2
    """With --random: of CosyVoice."""
    checkpoint: Path | None = None
    """With --model native or official, instead of --random: the directory of a checkpoint."""
    vocabulary: Path | None = None
    """With --random: `qwen.tiktoken`; otherwise that of an installed dashscope package, else text
    tokens are bytes."""
    option: Annotated[list[str] | None, Parameter(negative=())] = None
    """NAME=VALUE, of the hosted model, such as slots=64 or bf16=true. May be repeated."""
    against: Literal["official"] | None = None
    """Afterwards, measure the official package's own streams and ours on the same weights, in
    processes of their own."""
    streams: Annotated[list[int], Parameter(negative=(), consume_multiple=True)] = (1, 4)  # type: ignore[assignment]
    """With --against: streams at once."""
    check_tokens: Annotated[bool, _Flag] = False
    """With --against: compare the native engine's tokens alone and in a batch of 8."""

    def check(self) -> None:
        """See that the options fit together.

        Raises:
            UsageError: they do not.
        """
        if self.model == "embedded":
            given = (self.random, self.checkpoint, self.vocabulary, self.option, self.against)
            if any(value is not None for value in given) or self.check_tokens:
                raise UsageError(
                    "--random, --checkpoint, --vocabulary, --option, --against and --check-tokens "
                    "go with --model native or official"
                )
            return
        if (self.random is None) == (self.checkpoint is None):
            raise UsageError(
                f"--model {self.model} needs --random tiny, --random full or --checkpoint DIR"
            )
        if self.check_tokens and self.against is None:
            raise UsageError("--check-tokens goes with --against official")
        if min(self.streams, default=0) < 1:
            raise UsageError("--streams: at least 1")
        self.hosted_options()

    def hosted_options(self) -> dict[str, Any]:
        """Of the model, as a settings file has them.

        Raises:
            UsageError: one is not of the form NAME=VALUE.
        """
        found: dict[str, Any] = {}
        for item in self.option or ():
            name, separator, value = item.partition("=")
            if not separator or not name:
                raise UsageError(f"--option {item!r}: of the form NAME=VALUE")
            try:
                found[name] = json.loads(value)
            except ValueError:
                found[name] = value
        return found


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CapacityOptions:
    """How many at once."""

    capacity: Annotated[bool, _Flag] = False
    """Look for the largest number of sessions at once that is heard in real time."""
    target_first_ms: Annotated[float, _Positive] = 200.0
    """With --capacity: p95 of the first audio, at most."""
    step_seconds: Annotated[float, _Positive] = 30.0
    """With --capacity: of each number."""
    most_streams: Annotated[int, _Positive] = 64
    """With --capacity: more are not tried. The hosted model gets as many slots, unless --option
    says how many."""
