"""Uploads that take their time, or never end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from starlette.requests import Request

from server import limits
from server.endpoints.upload import read_upload
from server.errors import ErrorCode, SpeechError

pytestmark = pytest.mark.anyio

FORM = (
    b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nfirst\r\n'
    b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n\xe6\x88\x91\r\n'
    b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n\x00\xff\r\n'
    b"--x--\r\n"
)


def request(*parts: bytes, ends: bool = True, charset: str = "utf-8") -> Request:
    """One whose body comes in these parts, and then ends or never does."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if ends:
        messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    content_type = f"Multipart/Form-Data; boundary=x; charset={charset}"
    headers = [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_a_form_in_pieces_of_any_size(step: int) -> None:
    parts = [FORM[begin : begin + step] for begin in range(0, len(FORM), step)]
    upload = await read_upload(request(*parts), max_file_bytes=100)
    assert upload.fields == {"name": "我"}
    assert upload.files == {"audio": b"\x00\xff"}


@pytest.mark.parametrize("charset", ["undefined", "punycode"])
async def test_codecs_that_are_no_charsets(charset: str) -> None:
    with pytest.raises(SpeechError) as refused:
        await read_upload(request(FORM, charset=charset), max_file_bytes=100)
    assert refused.value.code is ErrorCode.MESSAGE_INVALID


async def test_a_body_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPLOAD_TIMEOUT_S", 0.01)
    with pytest.raises(SpeechError) as refused:
        await read_upload(request(FORM[:50], ends=False), max_file_bytes=100)
    assert refused.value.code is ErrorCode.IDLE_TIMEOUT


async def test_half_a_form() -> None:
    for end in range(0, len(FORM) - 8, 20):
        with contextlib.suppress(SpeechError):
            upload = await read_upload(request(FORM[:end]), max_file_bytes=100)
            assert upload.files.get("audio") in {None, b""}, "what is cut off is no recording"
