"""Numbers that bound what a client may ask for and what the server keeps, in one place.

What an operator may want to change is a setting instead (`server.settings`); the numbers here are
part of a protocol, or keep a structure from growing.
"""

from __future__ import annotations

# --- Audio -----------------------------------------------------------------------------------
SAMPLE_RATES_HZ = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)
"""Output rates: the list of Aliyun's Python SDK."""
FRAME_S = 0.1
"""Audio per binary frame. SDKs need 1 byte to 64 KiB, unfragmented."""
MAX_FRAME_BYTES = 65_536
"""Netty's default `maxFramePayloadLength`; the Java SDK dies silently above it."""

MAX_RECORDING_BYTES = 20 << 20
"""Of a file that somebody sends to have a voice made of it."""
MAX_RECORDING_S = 60.0
"""Of the audio in it, silence included."""

MAX_HEARD_S = 300.0
"""Of a recording that is to be recognised."""
FETCH_TIMEOUT_S = 20.0
"""For a recording that a client names by its URL."""
RECOGNITION_WAIT_S = 30.0
"""How long a live stream waits for a recogniser that takes none of its audio."""
RECOGNITION_TIMEOUT_S = 300.0
"""For a whole recording, from its first sample to its text."""

# --- Text ------------------------------------------------------------------------------------
MAX_PIECE_CHARACTERS = 20_000
"""Characters of one RunSynthesis, a Han character counting 2 (newest NLS page)."""
MAX_TASK_CHARACTERS = 200_000
"""Characters of one task, a Han character counting 2."""
MAX_PREVIEW_CHARACTERS = 1000
"""What a voice is asked to say so that one hears it."""
MAX_MESSAGE_BYTES = 1 << 20
"""A client's WebSocket message; a larger one is closed with 1009 by the WebSocket layer."""

# --- Queues ----------------------------------------------------------------------------------
STREAM_CREDIT_S = 2.0
"""Audio of one stream that may lie between worker and encoder."""
RECOGNITION_WINDOW_S = 10.0
"""Audio of one stream that a recogniser has not begun to listen to."""
RECOGNITION_REPLAY_S = 30.0
"""Audio of one stream that is kept for another worker, while nothing has been understood of it."""
SESSION_LOOKAHEAD_SEGMENTS = 1
"""Segments that are synthesised while another is being sent."""

PREVIEW_CACHE_BYTES = 16 << 20
"""Voices' previews that are kept; one takes about 30 KB."""

# --- Connections -----------------------------------------------------------------------------
HEAD_TIMEOUT_S = 10.0
"""For a whole request head: from the first moment, and from the first byte of a later one."""
BODY_TIMEOUT_S = 10.0
"""For a whole request body, from the moment that its head was there."""
UPLOAD_TIMEOUT_S = 60.0
"""For the body of a request that brings a recording."""
MAX_HEAD_BYTES = 65_536
"""Request line and headers; a larger head is answered with 431."""
SPARE_CONNECTIONS = 128
"""Open sockets above `max_connections`, for HTTP and for WebSockets that are being refused."""
OTHER_OPEN_FILES = 256
"""File descriptors that are no clients': workers' sockets and pipes, codecs, static files."""
