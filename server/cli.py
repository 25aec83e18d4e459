"""The `cosystream` command: names its subcommands, turns failures into exit codes.

Exit codes: 0 done, 1 failed (one line on standard error says why), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App

from server.commands.failure import CommandError
from server.version import __version__

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""

app = App(
    name="cosystream",
    version=__version__,
    help="Self-hosted streaming text-to-speech that speaks the vendors' protocols.",
)

# Import paths instead of functions: `--help` and `serve` shall not wait for the clients' libraries.
app.command("server.commands.serve:serve", help="Run the server.", sort_key=1)
app.command("server.commands.say:say", help="Speak a text, or standard input.", sort_key=2)
app.command("server.commands.pipe:pipe", help="Speak the answer of an LLM.", sort_key=3)
app.command(
    "server.commands.voices:app",
    name="voices",
    help="List the server's voices; make, show, hear and delete voices of your own.",
    sort_key=4,
)
app.command("server.commands.doctor:doctor", help="Check this installation.", sort_key=5)
app.command("server.commands.bench:bench", help="Measure a server under load.", sort_key=6)
app.command(
    "server.commands.keys:app",
    name="keys",
    help="Make and revoke keys, see their usage.",
    sort_key=7,
)
app.command(
    "server.commands.setup:app",
    name="setup",
    help="Make the environment that neural models run in.",
    sort_key=8,
)
app.command(
    "server.commands.download:download", help="Fetch a neural model's checkpoint.", sort_key=9
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: instead of the process's own.
    """
    try:
        exit_code = app(arguments, result_action="return_value")
    except CommandError as error:
        sys.stderr.write(f"cosystream: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output is gone; the interpreter's last flush must not complain of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(exit_code)
