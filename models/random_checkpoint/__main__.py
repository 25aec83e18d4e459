"""`python -m models.random_checkpoint VARIANT OUT`: make a checkpoint with random weights."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import get_args

from models.random_checkpoint.maker import make
from models.random_checkpoint.presets import Layout
from models.random_checkpoint.variants import VARIANTS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make_checkpoint", description=make.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("variant", choices=list(VARIANTS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--spk2info", choices=get_args(Layout), default="sft")
    parser.add_argument("--tiktoken", type=Path)
    parser.add_argument("--blank-weights", choices=["full", "stub"])
    parser.add_argument("--legacy-hift", action="store_true")
    parser.add_argument("--training-keys", action="store_true")
    return parser


def main() -> None:
    """Read the arguments, make the checkpoint, say what was made."""
    arguments = vars(_parser().parse_args())
    blank_weights = arguments.pop("blank_weights")
    full = None if blank_weights is None else blank_weights == "full"
    start_s = time.monotonic()
    directory = make(**arguments, full_blank_weights=full)
    size_bytes = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    seconds = time.monotonic() - start_s
    print(f"{directory}: {size_bytes / 1e6:.1f} MB in {seconds:.1f} s")


if __name__ == "__main__":
    main()
