"""Tokens: where they are read from, and what is refused."""

from __future__ import annotations

import pytest

from server.auth import ANONYMOUS, Authenticator, mask
from server.errors import ErrorCode, SpeechError

GUARD = Authenticator(["s3cret-token", "other"])


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"x-nls-token": "s3cret-token"}, {}),
        ({"authorization": "Bearer s3cret-token"}, {}),
        ({"authorization": "bearer  s3cret-token "}, {}),
        ({}, {"token": "s3cret-token"}),
    ],
)
def test_a_token_is_found(headers: dict[str, str], query: dict[str, str]) -> None:
    assert GUARD.identify(headers, query).startswith("token-")


def test_tokens_are_different_tenants() -> None:
    tenants = {GUARD.identify({}, {"token": token}) for token in ["s3cret-token", "other"]}
    assert len(tenants) == 2
    assert not any("s3cret" in tenant for tenant in tenants)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, {}),
        ({"x-nls-token": ""}, {"token": ""}),
        ({"x-nls-token": "wrong"}, {"token": "s3cret-token"}),
        ({"authorization": "Basic s3cret-token"}, {}),
        ({"x-nls-token": "s3cret-token\udcff"}, {}),
    ],
)
def test_anything_else_is_refused(headers: dict[str, str], query: dict[str, str]) -> None:
    with pytest.raises(SpeechError) as caught:
        GUARD.identify(headers, query)
    assert caught.value.code is ErrorCode.TOKEN_INVALID
    assert "s3cret-token" not in caught.value.message


def test_without_tokens_everybody_is_anonymous() -> None:
    assert Authenticator([]).identify({"x-nls-token": "x"}, {}) == ANONYMOUS


@pytest.mark.parametrize(("token", "shown"), [("short", "***"), ("a'long\ntoken", "a?lo***")])
def test_masking(token: str, shown: str) -> None:
    assert mask(token) == shown
