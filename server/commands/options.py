"""Options that several commands share."""

from __future__ import annotations

import math
import urllib.parse
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from server.client import TaskOptions
from server.commands.failure import UsageError

AudioFormatName = Literal["wav", "pcm", "mp3", "opus", "aac", "flac"]

DEFAULT_URL = "ws://127.0.0.1:8000/ws/v1/tts"
_WEBSOCKET_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The two URLs of one server."""

    websocket_url: str
    """Of the flowing synthesizer, with its path and query."""
    http_url: str
    """Scheme, host and port, without a slash at the end."""

    @classmethod
    def parse(cls, url: str) -> ServerAddress:
        """Read `ws[s]://host[:port][/path]`, `http[s]://...` or `host[:port]`.

        Raises:
            UsageError: it is none of these.
        """
        parts = urllib.parse.urlsplit(url if "://" in url else f"ws://{url}")
        scheme = _WEBSOCKET_SCHEMES.get(parts.scheme)
        if scheme is None or not parts.hostname:
            raise UsageError(f"--url: {url!r} is not of the form ws://HOST:PORT/PATH")
        path = parts.path if parts.path not in {"", "/"} else "/ws/v1/tts"
        websocket = urllib.parse.urlunsplit((scheme, parts.netloc, path, parts.query, ""))
        return cls(websocket, f"{scheme.replace('ws', 'http')}://{parts.netloc}")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Where the server is."""

    url: Annotated[
        str, Parameter(env_var="COSYSTREAM_URL", help="The server; a WebSocket or HTTP URL.")
    ] = DEFAULT_URL
    token: Annotated[
        str,
        Parameter(
            env_var="COSYSTREAM_TOKEN", show_default=False, help="What the server lets you in for."
        ),
    ] = ""

    @property
    def address(self) -> ServerAddress:
        """Both URLs of the server.

        Raises:
            UsageError: `url` is none.
        """
        return ServerAddress.parse(self.url)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class VoiceOptions:
    """How it shall sound."""

    voice: Annotated[str, Parameter(help="Voice or alias; see `cosystream voices`.")] = "中文女"
    rate: Annotated[int, Parameter(help="Sample rate in Hz.")] = 24000
    speed: Annotated[
        float, Parameter(validator=Number(gte=0.5, lte=2), help="Tempo, 0.5 to 2.")
    ] = 1.0
    pitch: Annotated[
        float, Parameter(validator=Number(gte=0.5, lte=2), help="Pitch, 0.5 to 2.")
    ] = 1.0
    volume: Annotated[
        int, Parameter(validator=Number(gte=0, lte=100), help="Loudness, 0 to 100.")
    ] = 50

    def task_options(self, audio_format: str, *, subtitles: bool) -> TaskOptions:
        """The same in the protocol's terms."""
        return TaskOptions(
            voice=self.voice,
            format=audio_format,
            sample_rate=self.rate,
            volume=self.volume,
            speech_rate=rate_steps(self.speed),
            pitch_rate=rate_steps(self.pitch),
            enable_subtitle=subtitles,
        )


def rate_steps(factor: float) -> int:
    """A factor of 0.5 to 2 on the protocol's scale of -500 to 500: 500 log2(factor)."""
    return round(500 * math.log2(factor))
