"""Checkpoints with random weights, kept for the next bench.

What a runtime costs depends on shapes, not on values; only where speech ends does. So the maker
builds a language model that ends after a fixed number of speech tokens per token of text
(`models.random_checkpoint.length_control`): a text always has the same length, in every runtime.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import models.random_checkpoint
from server.bench.neural import NeuralPython
from server.commands.failure import CommandError

Size: TypeAlias = Literal["tiny", "full"]
_MAKER = "models.random_checkpoint"
_RATES = {2: 2.5, 3: 4.0}
"""Speech tokens per text token where a text token is a byte. Version 2 speaks two at least, version
3 more than three where text is streamed."""
_RATE_OF_WORDS = 8.0
"""With Qwen's own vocabulary: a Han character or two in a third of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A checkpoint to measure with."""

    directory: Path
    description: str
    """Where its weights come from, and what of the length of speech follows from them."""


def random_weights(
    python: NeuralPython,
    size: Size,
    version: int,
    *,
    vocabulary: Path | None,
    say: Callable[[str], None],
) -> Weights:
    """Make a checkpoint, or take the one of the last time.

    Args:
        python: to make it with.
        size: the full one takes 3 to 6 GB.
        version: 2 or 3.
        vocabulary: `qwen.tiktoken`; None takes that of an installed dashscope package for full
            sizes, and else text tokens are bytes.
        say: takes lines for people.

    Raises:
        CommandError: it cannot be made.
    """
    variant = f"cosyvoice{version}-tiny" if size == "tiny" else f"cosyvoice{version}"
    if size == "full":
        vocabulary = vocabulary or _installed_vocabulary()
    rate = _RATE_OF_WORDS if vocabulary else _RATES[version]
    unit = "Qwen's vocabulary" if vocabulary else "bytes"
    description = (
        f"random, {variant} in its {size} size, seed 0; "
        f"{rate:g} speech tokens (0.04 s each) per token of text and prompt, tokens are {unit}"
    )
    name = f"{variant}-{'words' if vocabulary else 'bytes'}-{_fingerprint(rate)}"
    directory = cache_directory() / name
    if directory.is_dir():
        say(f"random weights: {directory} (made before; may be deleted)")
        return Weights(directory=directory, description=description)
    say(f"making random weights in {directory} (may be deleted afterwards)")
    arguments = ["--rate", f"{rate:g}", *(["--tiktoken", str(vocabulary)] if vocabulary else [])]
    _make(python, variant, directory, arguments)
    return Weights(directory=directory, description=description)


def cache_directory() -> Path:
    """Where they are kept: `$XDG_CACHE_HOME/cosystream/random`, or below `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "cosystream" / "random"


def _make(python: NeuralPython, variant: str, directory: Path, arguments: list[str]) -> None:
    # What was left unfinished must not pass for a checkpoint.
    unfinished = directory.with_name(f".{directory.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        python.run(_MAKER, [variant, str(unfinished), *arguments])
        unfinished.rename(directory)
    except OSError as error:
        if not directory.is_dir():  # else another bench was faster
            raise CommandError(f"{error.filename}: {error.strerror}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _installed_vocabulary() -> Path | None:
    """Vendors' client libraries bring it along."""
    spec = importlib.util.find_spec("dashscope")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "resources" / "qwen.tiktoken"
    return path if path.is_file() else None


def _fingerprint(rate: float) -> str:
    """Of the maker's code and sizes: another makes other weights."""
    folder = Path(models.random_checkpoint.__path__[0])
    content = hashlib.sha256(f"{rate}".encode())
    for path in sorted((*folder.glob("*.py"), *folder.glob("manifests/*"))):
        content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()[:10]
