"""Clients of `/rest/v1/tts/async` as they are in the wild, told apart by what they look at.

They follow Aliyun's samples for Java, Python and Node, and programs made of these: keys are
indexed, not asked for, and whatever does not look like an end is waited for.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

Twin = Callable[[str, str, str], str]
"""URL, token and text to the address of the audio."""

_POLL_S = 0.05
"""Instead of the samples' ten seconds."""
_TRIES = 400


def _post(url: str, body: Any) -> tuple[int, str, Any]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        return reply.status, reply.headers["Content-Type"], json.load(reply)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url) as reply:
        return json.load(reply)


def _body(token: str, text: str, **payload: Any) -> dict[str, Any]:
    spoken = {"text": text, "format": "wav", "voice": "xiaoyun", "sample_rate": 16000}
    return {
        "context": {"device_id": "my_device_id"},
        "header": {"appkey": "my-appkey", "token": token},
        "payload": {
            "enable_notify": False,
            "notify_url": "http://123.com",
            "tts_request": {**spoken, "enable_subtitle": True},
            **payload,
        },
    }


def _query(url: str, token: str, task_id: str, request_id: str) -> str:
    return f"{url}?appkey=my-appkey&task_id={task_id}&token={token}&request_id={request_id}"


def _polled(ask: Callable[[], str | None]) -> str:
    for _ in range(_TRIES):
        address = ask()
        if address is not None:
            return address
        time.sleep(_POLL_S)
    raise AssertionError("it would wait for ever")


def java(url: str, token: str, text: str) -> str:
    """fastjson: a key that is missing is null; the code decides, then the address."""
    _, _, taken = _post(url, _body(token, text))
    assert taken.get("error_code") == 20000000
    task_id, request_id = taken["data"]["task_id"], taken["request_id"]

    def ask() -> str | None:
        reply = _get(_query(url, token, task_id, request_id))
        done = (
            "error_code" in reply
            and reply["error_code"] == 20000000
            and "data" in reply
            and reply["data"].get("audio_address") is not None
        )
        return reply["data"]["audio_address"] if done else None

    return _polled(ask)


def python(url: str, token: str, text: str) -> str:
    """Indexes `audio_address` before it looks at anything else."""
    status, _, taken = _post(url, _body(token, text))
    assert status == 200
    task_id, request_id = taken["data"]["task_id"], taken["request_id"]

    def ask() -> str | None:
        reply = _get(_query(url, token, task_id, request_id))
        if reply["data"]["audio_address"] is None:
            return None
        assert reply["error_code"] == 20000000
        return reply["data"]["audio_address"]

    return _polled(ask)


def node(url: str, token: str, text: str) -> str:
    """Ends at any code but success, and takes the address when the message says SUCCESS."""
    _, content_type, taken = _post(url, _body(token, text))
    assert content_type.startswith("application/json")
    task_id, request_id = taken["data"]["task_id"], taken["request_id"]

    def ask() -> str | None:
        reply = _get(_query(url, token, task_id, request_id))
        assert reply["error_code"] == 20000000
        return reply["data"]["audio_address"] if reply["error_message"] == "SUCCESS" else None

    return _polled(ask)


def unreal(url: str, token: str, text: str) -> str:
    """A plug-in of a game engine: goes on while the message is one of two, else wants SUCCESS."""
    _, _, taken = _post(url, _body(token, text))

    def ask() -> str | None:
        reply = _get(f"{url}?appkey=k&task_id={taken['data']['task_id']}&token={token}")
        if reply["error_message"] in {"QUEUEING", "RUNNING"}:
            return None
        assert reply["error_message"] == "SUCCESS"
        return reply["data"]["audio_address"]

    return _polled(ask)


def batch(url: str, token: str, text: str) -> str:
    """A service that takes `status` of the body for HTTP's, and reads the sentences."""
    _, _, taken = _post(url, _body(token, text))
    assert taken.get("status") == 200

    def ask() -> str | None:
        reply = _get(_query(url, token, taken["data"]["task_id"], ""))
        address = reply["data"]["audio_address"]
        if address:
            assert int(reply["data"]["sentences"][0]["begin_time"]) == 0
        return address or None

    return _polled(ask)


TWINS: dict[str, Twin] = {
    "java": java, "python": python, "node": node, "unreal": unreal, "batch": batch,
}  # fmt: skip
