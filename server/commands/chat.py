"""The tokens of an OpenAI-compatible chat completions stream.

Source of the form: OpenAI's "Chat completions, streaming": server-sent events whose data is a
`chat.completion.chunk`, ended by `[DONE]`. Real servers add keep-alive comments, deltas without
content, a last chunk without choices (usage), and errors as a JSON event or an HTTP answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import httpx
import msgspec
from httpx_sse import EventSource, SSEError

from server.commands.failure import CommandError

_END = "[DONE]"
_TIMEOUTS = httpx.Timeout(10.0, read=120.0)
"""A reasoning model may be silent for a while before its first token."""
_SHOWN_CHARACTERS = 300


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of the conversation."""

    role: str
    content: str


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Chunk(msgspec.Struct):
    choices: tuple[_Choice, ...] | None = ()
    error: msgspec.Raw = msgspec.Raw()


class _ErrorBody(msgspec.Struct):
    message: str


_chunk_decoder = msgspec.json.Decoder(_Chunk)


def completions_url(url: str) -> str:
    """`url` may be an API's base (`http://host/v1`) or the full path."""
    url = url.rstrip("/")
    return url if url.endswith("/chat/completions") else f"{url}/chat/completions"


async def chat_tokens(
    url: str, *, model: str, messages: Sequence[ChatMessage], api_key: str = ""
) -> AsyncIterator[str]:
    """Ask, and yield the answer's pieces of text as they come.

    Closing the iterator closes the connection, which makes servers stop generating.

    Raises:
        CommandError: no answer, a refusal, or a stream that is none or breaks.
    """
    url = completions_url(url)
    body = {"model": model, "messages": msgspec.to_builtins(messages), "stream": True}
    headers = {"Accept": "text/event-stream"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    try:
        async with (
            httpx.AsyncClient(timeout=_TIMEOUTS) as http,
            http.stream("POST", url, json=body, headers=headers) as answer,
        ):
            if answer.is_error:
                await answer.aread()
                raise CommandError(f"the LLM at {url} answered {_refusal(answer)}")
            async for event in EventSource(answer).aiter_sse():
                if event.data == _END:
                    return
                token = token_of(event.data)
                if token:
                    yield token
    except httpx.TimeoutException as error:
        raise CommandError(f"the LLM at {url} did not answer in time") from error
    except SSEError as error:
        raise CommandError(f"the LLM at {url} does not stream: {error}") from error
    except httpx.HTTPError as error:
        raise CommandError(f"no stream from the LLM at {url}: {error}") from error
    except httpx.InvalidURL as error:
        raise CommandError(f"--llm-url: {error}") from error


def token_of(data: str) -> str:
    """The text in one event, empty for role-only, reasoning and usage chunks.

    Raises:
        CommandError: the event tells an error, or is no chunk.
    """
    if not data.strip():
        return ""
    try:
        chunk = _chunk_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise CommandError(f"the LLM sent what is no chunk of a chat: {error}") from error
    if bytes(chunk.error) not in {b"", b"null"}:
        raise CommandError(f"the LLM failed: {_error_text(bytes(chunk.error))}")
    if not chunk.choices:
        return ""
    return chunk.choices[0].delta.content or ""


def _refusal(answer: httpx.Response) -> str:
    try:
        chunk = _chunk_decoder.decode(answer.content)
        reason = _error_text(bytes(chunk.error)) if bytes(chunk.error) else answer.text
    except msgspec.MsgspecError:
        reason = answer.text
    reason = " ".join(reason.split())[:_SHOWN_CHARACTERS]
    return f"HTTP {answer.status_code} {reason or answer.reason_phrase}"


def _error_text(error: bytes) -> str:
    """OpenAI writes `{"message": ...}`, Ollama and others a bare string."""
    try:
        found = msgspec.json.decode(error, type=_ErrorBody | str)
    except msgspec.MsgspecError:
        return error.decode(errors="replace")[:_SHOWN_CHARACTERS]
    return found if isinstance(found, str) else found.message
