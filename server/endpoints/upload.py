"""A form with one file (`multipart/form-data`), read within its bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from server import limits
from server.errors import ErrorCode, SpeechError

_MAX_FIELDS = 16
_MAX_FIELD_BYTES = 16_384
_FORM_TYPE = "multipart/form-data"


@dataclass(frozen=True, slots=True)
class Upload:
    """What a form holds.

    Attributes:
        fields: its texts by name; of two with one name the last.
        files: its one file, if it has one, by the field's name.
    """

    fields: dict[str, str]
    files: dict[str, bytes]


async def read_upload(request: Request, *, max_file_bytes: int) -> Upload:
    """Read the whole body.

    Raises:
        SpeechError: MESSAGE_INVALID: it is no such form; PARAMETER_INVALID: it is too large;
            IDLE_TIMEOUT: it did not come in time.
        ClientDisconnect: the client went away.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _FORM_TYPE:
        raise SpeechError(ErrorCode.MESSAGE_INVALID, f"Send a form, of type {_FORM_TYPE}!")
    most_bytes = max_file_bytes + _MAX_FIELDS * _MAX_FIELD_BYTES
    parser = MultiPartParser(
        request.headers,
        _bounded(request, most_bytes),
        max_files=1,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    # In memory: a recording of somebody's voice has no business among temporary files.
    parser.spool_max_size = most_bytes
    try:
        async with asyncio.timeout(limits.UPLOAD_TIMEOUT_S):
            form = await parser.parse()
    except MultiPartException as error:
        raise SpeechError(ErrorCode.MESSAGE_INVALID, f"Invalid form: {error.message}") from error
    except UnicodeError as error:
        # The form's type may name any of Python's codecs, and some of them refuse in their own way.
        message = "Invalid form: its texts are not in its charset; use UTF-8!"
        raise SpeechError(ErrorCode.MESSAGE_INVALID, message) from error
    except TimeoutError:
        message = f"The upload did not come within {limits.UPLOAD_TIMEOUT_S:g} seconds!"
        raise SpeechError(ErrorCode.IDLE_TIMEOUT, message) from None
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            files[name] = await value.read()
            await value.close()
        else:
            fields[name] = value
    return Upload(fields, files)


async def _bounded(request: Request, most_bytes: int) -> AsyncGenerator[bytes]:
    """The body as it comes, as long as it is not too long."""
    message = f"The upload is larger than {most_bytes >> 20} MiB!"
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes:
        raise SpeechError(ErrorCode.PARAMETER_INVALID, message)
    size_bytes = 0
    async for part in request.stream():
        size_bytes += len(part)
        if size_bytes > most_bytes:
            raise SpeechError(ErrorCode.PARAMETER_INVALID, message)
        yield part
