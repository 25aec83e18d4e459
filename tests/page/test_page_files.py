"""What can be taken away from the page: audio, subtitles, frames, and programs that run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from urllib.parse import quote

import av
import pytest
from server_process import ServerProcess
from speech_page import ODD_TOKEN, TOKEN, OpenPage, SpeechPage

pytestmark = pytest.mark.anyio

TEXT = "一二三四五六。七八九十一二。"
SHORT = "一二三四五。"
SHORT_S = 0.6
# Everything that quoting could break, in a shell and in Python.
AWKWARD = "It's \"5\" o'clock: $HOME `id` \\n {x} %s 你好😀。\nTwo lines; 'end'."
# A shell, Python and a URL quote in ways of their own.
WITH_TOKEN = f"/?token={quote(ODD_TOKEN)}"
CLIPBOARD = ["clipboard-read", "clipboard-write"]
RUN_LIMIT_S = 60


async def test_wav_is_as_long_as_what_was_played(
    server: ServerProcess, open_page: OpenPage, tmp_path: Path
) -> None:
    page = await open_page(server.address)
    stats = await page.speak("今天天气很好。", voice="中文女", sample_rate="22050")
    path = await page.download(page["download-audio"], tmp_path)
    assert path.suffix == ".wav"
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22050)
        assert file.getnframes() / 22050 == pytest.approx(stats["playedS"], abs=1e-6)
        assert len(file.readframes(file.getnframes())) == 2 * file.getnframes() == stats["bytes"]
    assert decoded_s(path) == pytest.approx(stats["playedS"], abs=0.001)


@pytest.mark.parametrize(
    ("audio_format", "path"),
    [
        ("wav", "worklet"),
        ("mp3", "media-source"),
        ("opus", "whole-file"),
        ("aac", "whole-file"),
        ("flac", "whole-file"),
    ],
)
async def test_every_format_is_played_the_best_way_and_saved_as_it_came(
    sine_server: ServerProcess, open_page: OpenPage, tmp_path: Path, audio_format: str, path: str
) -> None:
    page = await open_page(sine_server.address)
    stats = await page.speak(SHORT, voice="sine", format=audio_format)
    assert stats["path"] == path
    assert stats["underruns"] == 0
    # Codecs add up to a tenth of a second at their ends.
    assert stats["audioS"] == pytest.approx(SHORT_S, abs=0.15)
    assert stats["positionS"] == pytest.approx(stats["audioS"], abs=0.15)
    assert await page["path"].inner_text()
    file = await page.download(page["download-audio"], tmp_path)
    assert file.suffix == f".{audio_format}"
    assert decoded_s(file) == pytest.approx(SHORT_S, abs=0.15)


async def test_subtitles_as_srt_and_vtt(
    sine_server: ServerProcess, open_page: OpenPage, tmp_path: Path
) -> None:
    page = await open_page(sine_server.address)
    await page.speak(TEXT, voice="sine")
    srt = (await page.download(page["download-srt"], tmp_path)).read_text(encoding="utf-8")
    assert srt.replace("\r\n", "\n").strip() == (
        "1\n00:00:00,000 --> 00:00:00,700\n一二三四五六。\n\n"
        "2\n00:00:00,700 --> 00:00:01,400\n七八九十一二。"
    )
    vtt = (await page.download(page["download-vtt"], tmp_path)).read_text(encoding="utf-8")
    assert vtt.startswith("WEBVTT")
    assert "00:00:00.700 --> 00:00:01.400" in vtt


async def test_frames_are_exported_and_say_the_same_again(
    guarded_server: ServerProcess, open_page: OpenPage, tmp_path: Path
) -> None:
    page = await open_page(guarded_server.address, path=WITH_TOKEN)
    await page.mode("llm")
    first = await page.speak(SHORT, voice="sine", tokens_per_second="100")
    path = await page.download(page.labelled("frames.export"), tmp_path)
    assert ODD_TOKEN not in path.read_text(encoding="utf-8")
    names = [frame["name"] for frame in json.loads(path.read_text(encoding="utf-8"))["frames"]]
    assert names[0] == "StartSynthesis"
    assert names[-1] == "SynthesisCompleted"
    assert names.count("audio") == first["chunks"]
    pieces = len(await page.frames("RunSynthesis"))

    again = await open_page(guarded_server.address, path=WITH_TOKEN)
    await again.page.locator('input[type="file"][accept*="json"]').set_input_files(path)
    await again.until("done")
    assert len(await again.frames("RunSynthesis")) == pieces
    assert (await again.stats())["audioS"] == first["audioS"]


@pytest.mark.parametrize("audio_format", ["pcm", "mp3"])
async def test_the_copied_python_runs(
    guarded_server: ServerProcess, open_page: OpenPage, tmp_path: Path, audio_format: str
) -> None:
    page = await open_page(guarded_server.address, path=WITH_TOKEN, permissions=CLIPBOARD)
    program = await copied(page, "python", format=audio_format)
    (tmp_path / "speech.py").write_text(program, encoding="utf-8")
    output = run([sys.executable, "speech.py"], tmp_path)
    assert 2 < decoded_s(output) < 30


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
async def test_the_copied_curl_runs(
    guarded_server: ServerProcess, open_page: OpenPage, tmp_path: Path
) -> None:
    page = await open_page(guarded_server.address, path=WITH_TOKEN, permissions=CLIPBOARD)
    program = await copied(page, "curl", format="mp3")
    output = run(["bash", "-c", program], tmp_path)
    assert 2 < decoded_s(output) < 30


async def test_the_copied_javascript_runs(
    guarded_server: ServerProcess, open_page: OpenPage, tmp_path: Path
) -> None:
    page = await open_page(guarded_server.address, path=WITH_TOKEN, permissions=CLIPBOARD)
    program = await copied(page, "javascript", format="pcm")
    (tmp_path / "speech.mjs").write_text(program, encoding="utf-8")
    output = run([*node_with_websocket(), "speech.mjs"], tmp_path)
    assert 2 < decoded_s(output) < 30


async def test_the_token_is_copied_but_not_shown(
    guarded_server: ServerProcess, open_page: OpenPage
) -> None:
    page = await open_page(guarded_server.address, path=f"/?token={TOKEN}", permissions=CLIPBOARD)
    for kind in ("curl", "python", "javascript"):
        assert TOKEN in await copied(page, kind)
        assert TOKEN not in await page["panel-request"].inner_text()
    assert "token" not in json.loads(await copied(page, "json"))


async def copied(page: SpeechPage, kind: str, **chosen: str) -> str:
    """What the Copy button of the request panel puts into the clipboard."""
    await page.ready()
    await page.parameters(**chosen)
    await page["text"].fill(AWKWARD)
    await page["tab-request"].click()
    await page.choose("snippet", kind)
    await page.page.evaluate("() => navigator.clipboard.writeText('')")
    await page["copy-request"].click()
    await page.wait("async () => await navigator.clipboard.readText() !== ''")
    return str(await page.page.evaluate("() => navigator.clipboard.readText()"))


def run(command: list[str], folder: Path) -> Path:
    """Run a program that writes a `speech.*` into the folder; return that file."""
    before = set(folder.iterdir())
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (output,) = set(folder.iterdir()) - before
    assert output.stem == "speech"
    return output


def node_with_websocket() -> list[str]:
    """Node 22 has WebSocket; 20 has it behind a flag."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    major = int(re.findall(r"\d+", version)[0])
    if major < 20:
        pytest.skip(f"node {version.strip()} has no WebSocket")
    return [node] if major >= 22 else [node, "--experimental-websocket"]


def decoded_s(path: Path) -> float:
    """How long a file sounds, as FFmpeg decodes it."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].sample_rate
        return sum(frame.samples for frame in container.decode(audio=0)) / rate
