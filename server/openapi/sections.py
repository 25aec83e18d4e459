"""All that there is: every route of `server.app` stands in one of these."""

from __future__ import annotations

from server.openapi import dashscope, nls, nls_async, openai, operations, qiniu, voices
from server.openapi.operation import Socket

SECTIONS = (
    openai.SECTION,
    nls.SECTION,
    nls_async.SECTION,
    dashscope.SECTION,
    qiniu.SECTION,
    voices.SECTION,
    operations.SECTION,
)
SOCKETS = (
    Socket(
        paths=("/ws/v1/tts", "/ws/v1"),
        summary="Aliyun NLS, text streams in and speech out",
        page="protocols/aliyun.md",
    ),
    Socket(
        paths=("/api-ws/v1/inference", "/api-ws/v1/inference/"),
        summary="DashScope's `run-task`",
        page="protocols/dashscope.md",
    ),
    Socket(
        paths=("/v1/voice/tts", "/voice/tts"),
        summary="Qiniu's speech, a message per piece of audio",
        page="protocols/qiniu.md",
    ),
    Socket(
        paths=("/v1/voice/asr", "/voice/asr"),
        summary="Qiniu's recognition of live audio",
        page="protocols/qiniu-asr.md",
    ),
)
