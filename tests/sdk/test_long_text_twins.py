"""Aliyun's samples for long texts, and what was made of them, against a real server."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
import wave

import pytest
from long_text_twins import TWINS, Twin
from tokens import RIGHT_TOKEN

TEXT = "我家的后面有一个很大的园，相传叫作百草园。现在是早已并屋子一起卖给朱文公的子孙了。"


@pytest.fixture(params=TWINS.values(), ids=TWINS.keys())
def twin(request: pytest.FixtureRequest) -> Twin:
    return request.param


def test_the_audio_arrives(twin: Twin, guarded_address: str) -> None:
    address = twin(f"http://{guarded_address}/rest/v1/tts/async", RIGHT_TOKEN, TEXT)
    with urllib.request.urlopen(address) as reply, wave.open(io.BytesIO(reply.read())) as file:
        assert file.getframerate() == 16_000
        assert 4.0 < file.getnframes() / 16_000 < 20.0


def test_a_wrong_token_ends_it(twin: Twin, guarded_address: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        twin(f"http://{guarded_address}/rest/v1/tts/async", "wrong", TEXT)
