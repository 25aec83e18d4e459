"""Our runtime and the official package's own, one after the other, on the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from server.bench.hosting import Hosting
from server.commands.failure import CommandError

_BENCHMARK = "models.benchmark"


def measure_against(
    hosting: Hosting, text: str, voice: str, streams: Sequence[int], *, check_tokens: bool
) -> dict[str, Any]:
    """Run `models.benchmark` under CosyVoice's Python.

    Args:
        hosting: the weights, and the engine that is put beside the package.
        text: what is said.
        voice: with which preset.
        streams: numbers of streams at once.
        check_tokens: compare the native engine's tokens alone and in a batch.

    Returns:
        `models.benchmark.report.Comparison`, as JSON has it; its `markdown` is for people.

    Raises:
        CommandError: it failed.
    """
    sides = ["official", "ours"]
    if hosting.engine == "native":
        # A CPU gains nothing by bfloat16, so there it is measured only if it was asked for.
        wants_bf16 = hosting.python.has_gpu or hosting.model_options.get("bf16")
        sides = ["official", "native", *(["native-bf16"] if wants_bf16 else [])]
    options = {
        name: value
        for name, value in hosting.model_options.items()
        if name not in ("slots", "bf16", "device", "devices", "run_ahead_s")
    }
    arguments = [str(hosting.weights.directory), "--json", "--text", text, "--voice", voice]
    arguments += ["--sides", *sides, "--streams", *map(str, streams)]
    arguments += ["--device", str(hosting.model_options.get("device", "auto"))]
    if hosting.home is not None:
        arguments += ["--home", str(hosting.home)]
    if hosting.engine == "native":
        arguments += ["--native-options", msgspec.json.encode(options).decode()]
        arguments += ["--check-tokens"] if check_tokens else []
    answer = hosting.python.run(_BENCHMARK, arguments).strip()
    try:
        found: dict[str, Any] = msgspec.json.decode(answer.rpartition("\n")[2])
    except msgspec.DecodeError as error:
        raise CommandError(f"{_BENCHMARK} did not answer: {error}") from error
    return found
