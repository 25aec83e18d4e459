"""Requests to addresses that clients name, which must not reach into the operator's network.

A server that fetches what strangers ask for is a way past its own firewall (server-side request
forgery). So each address is resolved once, every result must be public (or in a network that the
operator allows), the connection is made to the very address that was checked, and a redirect is a
new request that is checked in the same way. Environment proxies are not used: they would connect to
what was not checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import httpx

from server.errors import ErrorCode, SpeechError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to addresses; raises OSError for a name that is unknown."""

RECORDING_TYPES = (
    *("audio/", "video/", "application/ogg"),
    # What object stores call anything.
    *("application/octet-stream", "binary/octet-stream"),
)
"""For `Limits.content_types`."""
_MAX_REDIRECTS = 3
_MAX_URL_CHARACTERS = 4096
_CONNECT_TIMEOUT_S = 5.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that is assigned to the public (RFC 4291); outside of it lie deprecated private networks
(fec0::/10) and other ways to write an IPv4 address, which the standard library calls global."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may come, and how long it may take."""

    max_bytes: int
    timeout_s: float
    """For everything, redirects included."""
    content_types: tuple[str, ...]
    """Beginnings of `Content-Type` that are taken; an answer without one is taken too."""


class FetchError(SpeechError):
    """An address that cannot be used.

    Args:
        reason: what is to be said after the name that the address has in a protocol.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(ErrorCode.PARAMETER_INVALID, f"audio.url {reason}")
        self.reason = reason


class Fetcher:
    """Gets what clients' URLs name.

    Args:
        networks: CIDR networks that are allowed although they are not public.
        resolve: instead of the system's resolver.

    Raises:
        ValueError: a network is none.
    """

    def __init__(self, networks: Sequence[str] = (), *, resolve: Resolve | None = None) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._resolve = resolve or _resolve
        # To read all certificates takes as long as some audio, so it is not done for each request.
        self._tls = httpx.create_ssl_context(trust_env=False)

    async def get(self, url: str, limits: Limits) -> bytes:
        """Fetch a body.

        Raises:
            FetchError: PARAMETER_INVALID; the URL is not allowed, or its answer not usable.
        """
        try:
            async with asyncio.timeout(limits.timeout_s):
                return await self._follow(url, limits)
        except TimeoutError:
            raise FetchError(f"did not answer within {limits.timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            # The reason may tell what is behind the firewall, so it is not told.
            raise FetchError("cannot be fetched") from None

    async def _follow(self, url: str, limits: Limits) -> bytes:
        for _ in range(1 + _MAX_REDIRECTS):
            answer = await self._get_once(_parse(url), limits)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise FetchError(f"redirects more than {_MAX_REDIRECTS} times")

    async def _get_once(self, url: httpx.URL, limits: Limits) -> bytes | str:
        """The body, or where it is instead."""
        async with self._ask("GET", url, limits.timeout_s) as response:
            if response.is_redirect:
                return str(url.join(response.headers.get("location", "")))
            if response.status_code != httpx.codes.OK:
                raise FetchError(f"answers with HTTP {response.status_code}")
            return await _read(response, limits)

    def check(self, url: str) -> None:
        """Refuse early what `post` would refuse, as far as that is known without asking anybody.

        Raises:
            FetchError: it is no URL, or its host is a number outside the allowed networks.
        """
        try:
            host = _host(_parse(url))
        except httpx.InvalidURL:
            raise FetchError("is no URL") from None
        if _is_number(host) and not self._is_allowed_number(host):
            raise FetchError("must name its host, not give its address")

    def _is_allowed_number(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            # Such as 127.1 and 0x7f000001, which only disguise one.
            return False
        return any(address in network for network in self._networks)

    async def post(self, url: str, body: bytes, *, timeout_s: float) -> None:
        """Send JSON. What is answered is not read; a redirect is not followed.

        Raises:
            FetchError: the URL is not allowed, or its answer is not 2xx, or none in time.
        """
        self.check(url)
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._ask("POST", _parse(url), timeout_s, body) as response,
            ):
                if not response.is_success:
                    raise FetchError(f"answers with HTTP {response.status_code}")
        except TimeoutError:
            raise FetchError(f"did not answer within {timeout_s:g} s") from None
        except (httpx.HTTPError, OSError):
            raise FetchError("cannot be reached") from None

    @contextlib.asynccontextmanager
    async def _ask(
        self, method: str, url: httpx.URL, timeout_s: float, body: bytes | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Ask the very address that is checked."""
        address = await self._address(url)
        timeout = httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S)
        # No compression: what inflates cannot be bounded by what was received.
        headers = {"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        async with (
            httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=timeout) as client,
            client.stream(
                method,
                url.copy_with(host=str(address)),
                content=body,
                headers=headers,
                extensions={"sni_hostname": _host(url)},
            ) as response,
        ):
            yield response

    async def _address(self, url: httpx.URL) -> Address:
        port = url.port or _DEFAULT_PORTS[url.scheme]
        found = [ipaddress.ip_address(text) for text in await self._resolve(_host(url), port)]
        # One private address among public ones is an attack, not a preference.
        if not found or not all(self._is_allowed(address) for address in found):
            raise FetchError("is not at a public address")
        return found[0]

    def _is_allowed(self, address: Address) -> bool:
        if any(address in network for network in self._networks):
            return True
        inner = _embedded(address)
        if inner is not None:
            return self._is_allowed(inner)
        if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
            return False
        return address.is_global and not address.is_multicast


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for, in any of the ways that there are."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


def _is_number(host: str) -> bool:
    """Whether a host is an address and no name, as browsers decide it."""
    last = host.rstrip(".").rpartition(".")[2]
    return ":" in host or re.fullmatch(r"0[xX][0-9a-fA-F]*|[0-9]+", last) is not None


def _parse(text: str) -> httpx.URL:
    if len(text) > _MAX_URL_CHARACTERS:
        raise FetchError("is too long")
    url = httpx.URL(text)
    if url.scheme not in _DEFAULT_PORTS or not url.raw_host:
        raise FetchError("must begin with http:// or https://")
    if url.userinfo:
        raise FetchError("must not hold a user name or password")
    return url


def _host(url: httpx.URL) -> str:
    """In ASCII, as requests have it; `url.host` reads Punycode, and fails where it is none."""
    return url.raw_host.decode("ascii")


async def _resolve(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        # One of its labels is empty, or too long.
        raise OSError(f"{host!r} is no host's name") from None
    # A scope (fe80::1%eth0) is no part of the address.
    return [str(address[0]).partition("%")[0] for *_, address in found]


async def _read(response: httpx.Response, limits: Limits) -> bytes:
    content_type = response.headers.get("content-type", "").lower()
    if content_type and not content_type.startswith(limits.content_types):
        raise FetchError("is not audio")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise FetchError("is compressed")
    data = bytearray()
    async for piece in response.aiter_raw():
        data += piece
        if len(data) > limits.max_bytes:
            raise FetchError(f"is over {limits.max_bytes} bytes")
    return bytes(data)
