"""`python -m server` is the `cosystream` command."""

from server.cli import main

main()
