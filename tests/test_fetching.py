"""What clients' URLs may reach: the world, and nothing of the operator's."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from server.errors import SpeechError
from server.fetching import Fetcher, FetchError, Limits

LIMITS = Limits(max_bytes=1000, timeout_s=5.0, content_types=("audio/",))
LOOPBACK = ("127.0.0.0/8",)
pytestmark = pytest.mark.anyio

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def http_server(answer: Answer) -> AsyncIterator[str]:
    """A server that hands the request's head to `answer`."""

    conversations: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            await answer(head, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.gather(*conversations)


def replies(head: str, body: bytes = b"") -> Answer:
    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()

    return answer


def names(**addresses: str) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """A resolver that knows these hosts, several addresses separated by blanks."""

    async def resolve(host: str, _: int) -> Sequence[str]:
        return addresses[host.replace(".", "_")].split()

    return resolve


async def test_what_is_public_is_fetched_by_the_address_that_was_checked() -> None:
    heads: list[str] = []

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\nsound")

    async with http_server(answer) as place:
        port = place.rpartition(":")[2]
        fetcher = Fetcher(LOOPBACK, resolve=names(audio_example="127.0.0.1"))
        data = await fetcher.get(f"http://audio.example:{port}/a.mp3?b=c", LIMITS)
    assert data == b"sound"
    assert heads[0].startswith("GET /a.mp3?b=c HTTP/1.1\r\n")
    assert f"host: audio.example:{port}\r\n" in heads[0].lower()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::80ff:fffe",
        # Private once, another prefix for NAT64, and two more ways to write an IPv4 address.
        "fec0::1",
        "64:ff9b:1::7f00:1",
        "::7f00:1",
        "::ffff:0:7f00:1",
        "93.184.216.34 127.0.0.1",
    ],
)
async def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    fetcher = Fetcher(resolve=names(evil_example=address))
    with pytest.raises(SpeechError, match="not at a public address"):
        await fetcher.get("http://evil.example/", LIMITS)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "0x7f000001", "[::]"]
)
async def test_every_way_to_write_this_machine_is_refused(host: str) -> None:
    with pytest.raises(SpeechError, match=r"not at a public address|cannot be fetched"):
        await Fetcher().get(f"http://{host}:1/", LIMITS)


async def test_a_redirect_is_checked_like_any_address() -> None:
    async with (
        http_server(replies("200 OK", b"secret")) as inside,
        http_server(replies(f"302 Found\r\nLocation: http://inner.example:{inside[10:]}/")) as door,
    ):
        resolve = names(door_example="127.0.0.1", inner_example="127.0.0.2")
        fetcher = Fetcher(["127.0.0.1/32"], resolve=resolve)
        with pytest.raises(SpeechError, match="not at a public address"):
            await fetcher.get(f"http://door.example:{door.rpartition(':')[2]}/", LIMITS)


async def test_redirects_end() -> None:
    async with http_server(replies("301 Moved\r\nLocation: /again")) as place:
        with pytest.raises(SpeechError, match="redirects more than 3 times"):
            await Fetcher(LOOPBACK).get(f"http://{place}/", LIMITS)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", "must begin with"),
        ("ftp://example.com/a", "must begin with"),
        ("//example.com/a", "must begin with"),
        ("http:///a", "must begin with"),
        ("nonsense", "must begin with"),
        ("http://user:word@example.com/", "user name"),
        ("http://example.com/" + "a" * 5000, "too long"),
        ("http://exa mple.com:99999999/", "cannot be fetched"),
        ("http://\x00/", "cannot be fetched"),
    ],
)
async def test_what_is_no_web_address_is_refused(url: str, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        await Fetcher().get(url, LIMITS)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (replies("404 Not Found"), "answers with HTTP 404"),
        (replies("200 OK\r\nContent-Type: text/html", b"<html>"), "is not audio"),
        (replies("200 OK\r\nContent-Type: audio/x", b"a" * 1001), "is over 1000 bytes"),
        (replies("200 OK\r\nContent-Encoding: gzip", b"a"), "is compressed"),
        (replies("nonsense"), "cannot be fetched"),
    ],
)
async def test_an_answer_that_is_of_no_use_is_refused(answer: Answer, message: str) -> None:
    async with http_server(answer) as place:
        with pytest.raises(SpeechError, match=message):
            await Fetcher(LOOPBACK).get(f"http://{place}/", LIMITS)


async def test_a_body_that_never_ends_is_given_up() -> None:
    async def drip(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.02)

    limits = Limits(max_bytes=1000, timeout_s=0.2, content_types=("audio/",))
    async with http_server(drip) as place:
        with pytest.raises(SpeechError, match=r"within 0\.2 s"):
            await Fetcher(LOOPBACK).get(f"http://{place}/", limits)


def test_a_network_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        Fetcher(["somewhere"])


# --- Posting --------------------------------------------------------------------------------


async def test_json_is_posted_to_the_address_that_was_checked() -> None:
    received: list[str] = []

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        received.append(head)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    async with http_server(answer) as place:
        port = place.rpartition(":")[2]
        fetcher = Fetcher(LOOPBACK, resolve=names(told_example="127.0.0.1"))
        await fetcher.post(f"http://told.example:{port}/x?y", b"{}", timeout_s=5.0)
    assert received[0].startswith("POST /x?y HTTP/1.1\r\n")
    assert f"host: told.example:{port}\r\n" in received[0].lower()
    assert "content-type: application/json\r\n" in received[0].lower()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (replies("500 Broken"), "answers with HTTP 500"),
        (replies("302 Found\r\nLocation: /again"), "answers with HTTP 302"),
        (replies("nonsense"), "cannot be reached"),
    ],
)
async def test_a_post_that_is_not_taken(answer: Answer, message: str) -> None:
    async with http_server(answer) as place:
        with pytest.raises(FetchError, match=message):
            await Fetcher(LOOPBACK).post(f"http://{place}/", b"", timeout_s=5.0)


async def test_a_post_that_is_not_answered_is_given_up() -> None:
    async def wait(_: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)

    async with http_server(wait) as place:
        with pytest.raises(FetchError, match=r"within 0\.1 s"):
            await Fetcher(LOOPBACK).post(f"http://{place}/", b"", timeout_s=0.1)


@pytest.mark.parametrize("address", ["10.1.2.3", "169.254.169.254", "::1", "8.8.8.8 127.0.0.1"])
async def test_nothing_is_posted_inside(address: str) -> None:
    fetcher = Fetcher(resolve=names(evil_example=address))
    with pytest.raises(FetchError, match="not at a public address"):
        await fetcher.post("http://evil.example/", b"", timeout_s=5.0)


@pytest.mark.parametrize(
    "host",
    ["8.8.8.8", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0X7F.1.", "[::1]", "[2606::1]"],
)
def test_a_host_that_is_an_address_is_refused_before_anybody_is_asked(host: str) -> None:
    with pytest.raises(FetchError, match="must name its host"):
        Fetcher(["10.0.0.0/8"]).check(f"http://{host}/")


@pytest.mark.parametrize("url", ["nonsense", "ftp://a.b/", "http://a:b@c.d/", "http://[::1"])
def test_what_is_no_web_address_is_not_posted_to(url: str) -> None:
    with pytest.raises(FetchError):
        Fetcher().check(url)


@pytest.mark.parametrize("host", ["a..example", "a" * 64 + ".example", "xn--a", "xn--"])
async def test_a_host_that_no_resolver_takes_is_refused(host: str) -> None:
    with pytest.raises(FetchError, match="cannot be reached"):
        await Fetcher().post(f"http://{host}/", b"", timeout_s=5.0)
    with pytest.raises(FetchError, match="cannot be fetched"):
        await Fetcher().get(f"http://{host}/", LIMITS)


async def test_certificates_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fetcher = Fetcher(LOOPBACK)
    monkeypatch.setattr(ssl, "create_default_context", None)
    async with http_server(replies("204 No Content")) as place:
        for _ in range(2):
            await fetcher.post(f"http://{place}/", b"", timeout_s=5.0)


@pytest.mark.parametrize("url", ["http://10.1.2.3:99/a", "https://a.example/", "http://4.you/"])
def test_names_and_addresses_of_allowed_networks_pass(url: str) -> None:
    Fetcher(["10.0.0.0/8"]).check(url)
