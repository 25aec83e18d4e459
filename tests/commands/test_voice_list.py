from __future__ import annotations

import http
import json

from command_line import Cosystream
from fake_server import FakeServer


def test_the_table(cosystream: Cosystream) -> None:
    with FakeServer() as server:
        outcome = cosystream("voices", "--url", server.url)
    assert outcome.code == 0
    head, row = outcome.out.decode().splitlines()
    assert head.split() == ["voice", "language", "gender", "model", "Hz", "kind", "aliases"]
    assert row.split() == ["中文女", "cmn", "female", "fake", "24000", "preset", "longxiaochun"]


def test_json(cosystream: Cosystream) -> None:
    with FakeServer() as server:
        outcome = cosystream("voices", "--json", "--url", server.address)
    assert json.loads(outcome.out)["voices"][0]["aliases"] == ["longxiaochun"]


def test_the_real_servers_list(cosystream: Cosystream, server_url: str) -> None:
    outcome = cosystream("voices", "--url", server_url)
    assert outcome.code == 0
    names = {line.split()[0] for line in outcome.out.decode().splitlines() if line.strip()}
    assert {"中文女", "中文男", "英文女", "英文男", "日语男", "韩语女", "粤语女"} <= names


def test_no_server(cosystream: Cosystream) -> None:
    with FakeServer() as server:
        url = server.url
    outcome = cosystream("voices", "--url", url)
    assert outcome.code == 1
    assert "is the server running?" in outcome.err


def test_a_wrong_answer(cosystream: Cosystream) -> None:
    with FakeServer(voices=(http.HTTPStatus.OK, {"voices": "none"})) as server:
        outcome = cosystream("voices", "--url", server.url)
    assert (outcome.code, "no list of voices" in outcome.err) == (1, True)


def test_a_token_is_wanted(cosystream: Cosystream) -> None:
    with FakeServer(voices=(http.HTTPStatus.FORBIDDEN, {})) as server:
        outcome = cosystream("voices", "--url", server.url)
    assert (outcome.code, "--token" in outcome.err) == (1, True)
