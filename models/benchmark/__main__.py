"""`python -m models.benchmark DIRECTORY`: runtimes of CosyVoice against each other.

Each side runs in a process of its own, one after the other, with the same threads. A side speaks
the same text so many times one after the other, then by several at once. Prints Markdown tables, or
with `--json` one line of JSON.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import msgspec

from models.benchmark.report import Comparison, figures, table
from models.benchmark.sides import SIDES, Side, Task, open_side
from models.benchmark.tokens import TokenCheck, check_tokens
from models.benchmark.trial import Trial, run_trial

_TEXT = "今天天气很好，我们一起去公园散步，看看花，听听鸟叫。"
_DEFAULT_SIDES: tuple[Side, ...] = ("official", "native")
_CHECK = "check-tokens"

_Found = TypeVar("_Found")


def main() -> None:
    """Run all sides and print the tables, or, for a child process, one part of it."""
    arguments = _arguments()
    if arguments.part:
        # The last line: packages may have printed others.
        print(msgspec.json.encode(_run_part(arguments)).decode())
        return
    trials = {}
    for side in dict.fromkeys(arguments.sides):
        _say(f"measuring: {SIDES[side]}")
        trials[side] = _run_apart(side, Trial)
    tokens = None
    if arguments.check_tokens:
        _say("comparing tokens alone and in a batch")
        tokens = _run_apart(_CHECK, TokenCheck)
    comparison = Comparison(
        text=arguments.text, trials=trials, figures=figures(trials), tokens=tokens
    )
    lines = list(table(comparison))
    if arguments.json:
        told = msgspec.structs.replace(comparison, markdown=lines)
        print(msgspec.json.encode(told).decode())
        return
    print(f"threads: OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}\n")
    print("\n".join(lines))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.benchmark", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("directory", help="a checkpoint, such as scripts/make_checkpoint makes")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=_DEFAULT_SIDES)
    parser.add_argument("--home", default="", help="a checkout of the official package")
    parser.add_argument("--voice", default="中文女", help="a preset that is an embedding only")
    parser.add_argument("--text", default=_TEXT)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--requests", type=int, default=3, help="one after the other")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4], help="at once")
    parser.add_argument("--native-options", default="{}", help='JSON, such as {"hops": "growing"}')
    parser.add_argument("--check-tokens", action="store_true", help="alone against in a batch")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=(*SIDES, _CHECK), help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_apart(part: str, kind: type[_Found]) -> _Found:
    command = [sys.executable, "-sP", "-m", "models.benchmark", *sys.argv[1:], "--part", part]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 - ourselves
    if done.returncode:
        raise SystemExit(f"measuring {part} failed, with status {done.returncode}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=kind)


def _run_part(arguments: argparse.Namespace) -> Trial | TokenCheck:
    task = Task(
        directory=arguments.directory,
        text=arguments.text,
        voice=arguments.voice,
        home=str(Path(arguments.home).absolute()) if arguments.home else "",
        device=arguments.device,
        slots=max(arguments.streams),
        native_options=msgspec.json.decode(arguments.native_options),
    )
    if arguments.part == _CHECK:
        return check_tokens(task)
    return run_trial(lambda: open_side(arguments.part, task), arguments.requests, arguments.streams)


def _say(line: str) -> None:
    sys.stderr.write(f"benchmark: {line}\n")


if __name__ == "__main__":
    main()
