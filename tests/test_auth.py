"""Tokens: where they are read from, and what is refused."""

from __future__ import annotations

import pytest

from server.auth import ANONYMOUS, Authenticator
from server.errors import ErrorCode, SpeechError

GUARD = Authenticator(["s3cret-token", "other", "Schlüssel-钥匙"])


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"x-nls-token": "s3cret-token"}, {}),
        ({"authorization": "Bearer s3cret-token"}, {}),
        ({"authorization": "bearer  s3cret-token "}, {}),
        ({}, {"token": "s3cret-token"}),
        ({"x-nls-token": "stale"}, {"token": "s3cret-token"}),
        ({"x-nls-token": "stale", "authorization": "Bearer s3cret-token"}, {}),
        ({"x-nls-token": "s3cret-token"}, {"token": "stale"}),
        ({"x-nls-token": "Schlüssel-钥匙".encode().decode("latin-1")}, {}),
        ({"x-nls-token": "Schlüssel-钥匙"}, {}),
        ({"authorization": "Bearer " + "Schlüssel-钥匙".encode().decode("latin-1")}, {}),
        ({}, {"token": "Schlüssel-钥匙"}),
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
        ({"x-nls-token": "wrong"}, {"token": "also wrong"}),
        ({}, {"token": "Schlüssel-钥匙".encode().decode("latin-1")}),
        ({"authorization": "Basic s3cret-token"}, {}),
        ({"x-nls-token": "s3cret-token\udcff"}, {}),
        ({}, {"token": "\ud800"}),
    ],
)
def test_anything_else_is_refused(headers: dict[str, str], query: dict[str, str]) -> None:
    with pytest.raises(SpeechError) as caught:
        GUARD.identify(headers, query)
    assert caught.value.code is ErrorCode.TOKEN_INVALID
    assert "s3cret-token" not in caught.value.message


def test_without_tokens_everybody_is_anonymous() -> None:
    assert Authenticator([]).identify({"x-nls-token": "x"}, {}) == ANONYMOUS


def test_a_token_from_elsewhere_counts_too() -> None:
    assert GUARD.identify({"x-nls-token": "stale"}, {}, "other").startswith("token-")


def test_the_first_right_token_is_the_tenant() -> None:
    both = GUARD.identify({"x-nls-token": "other"}, {"token": "s3cret-token"})
    assert both == GUARD.identify({}, {"token": "other"})


def test_a_refusal_holds_nothing_of_the_token() -> None:
    with pytest.raises(SpeechError) as caught:
        GUARD.identify({"x-nls-token": "s3creX-almost-right"}, {})
    assert "s3cr" not in caught.value.message
