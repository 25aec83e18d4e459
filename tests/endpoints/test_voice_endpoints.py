"""`/stream/v1/tts/voices/refresh`: who may, and what a broken alias file does."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from server_process import ServerProcess

TOKEN = {"X-NLS-Token": "right-token"}


@pytest.fixture
def aliases(tmp_path: Path) -> Path:
    path = tmp_path / "aliases.toml"
    path.write_text('[aliases]\nours = "sine"\n')
    return path


def test_refresh(tmp_path: Path, aliases: Path) -> None:
    with ServerProcess(
        tmp_path / "log",
        *("--model", "sine=sine_model:SineModel", "--token", "right-token"),
        voice_aliases=str(aliases),
    ) as process:
        url = f"http://{process.address}/stream/v1/tts/voices"

        def knows(name: str) -> bool:
            answer = httpx.get(f"{url}/info", params={"voice": name}, headers=TOKEN)
            return answer.status_code == 200

        assert knows("ours")

        aliases.write_text('[aliases]\ntheirs = "sine"\n')
        refused = httpx.post(f"{url}/refresh")
        assert (refused.status_code, refused.json()["status"]) == (403, 40000001)
        assert knows("ours")
        assert not knows("theirs")

        assert httpx.post(f"{url}/refresh", headers=TOKEN).json()["count"] == 2
        assert knows("theirs")
        assert not knows("ours")

        aliases.write_text("[aliases\n")
        refused = httpx.post(f"{url}/refresh")
        assert refused.status_code == 403
        broken = httpx.post(f"{url}/refresh", headers=TOKEN)
        assert (broken.status_code, broken.json()["status"]) == (500, 50000000)
        assert str(aliases) not in broken.text
        assert knows("theirs")
        log = process.log.read_text()
        assert str(aliases) in log
        assert "Traceback" not in log
