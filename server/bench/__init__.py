"""The load generator behind `cosystream bench`."""
