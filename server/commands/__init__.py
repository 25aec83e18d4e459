"""The commands of `cosystream`, one module each."""
