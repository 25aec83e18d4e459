"""Decides what the device computes next, for which sessions: pure, with an injected clock."""
