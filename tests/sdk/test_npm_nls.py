"""The real npm package `alibabacloud-nls` against a real server process.

The package is installed once into `.cache/npm` of the checkout, by npm, as configured on the
machine. Its generic client class speaks any namespace; `flowing_client.cjs` uses it. Its class for
one-shot and long synthesis is used as it is, by `oneshot_client.cjs`.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversation import Conversation, TaskFailedError, check_complete

PACKAGE = "alibabacloud-nls"
VERSION = "1.0.4"
CACHE = Path(__file__).parents[2] / ".cache" / "npm"
FLOWING_SCRIPT = Path(__file__).with_name("flowing_client.cjs")
ONE_SHOT_SCRIPT = Path(__file__).with_name("oneshot_client.cjs")
INSTALL_LIMIT_S = 300
RUN_LIMIT_S = 60
PIECES = ["今天的天气", "很好，我们", "一起去", "公园走一走吧。"]


def missing(reason: str) -> None:
    """Skip on a developer's machine; CI has Node, so there it is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def package_dir() -> Path:
    """A directory from which Node can require the package."""
    if not (shutil.which("node") and shutil.which("npm")):
        missing("node and npm are not installed (on Debian: apt-get install nodejs npm)")
    home = CACHE / f"{PACKAGE}-{VERSION}"
    if not home.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            install(Path(scratch) / "package")
            (Path(scratch) / "package").rename(home)
    return home


def install(directory: Path) -> None:
    """Install the package without running any script of it or of what it depends on."""
    directory.mkdir()
    command = [
        "npm",
        "install",
        "--prefix",
        str(directory),
        "--ignore-scripts",
        "--no-package-lock",
    ]
    quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    done = subprocess.run(
        [*command, *quiet, f"{PACKAGE}@{VERSION}"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=INSTALL_LIMIT_S,
        check=False,
    )
    if done.returncode:
        missing(f"npm could not install {PACKAGE}@{VERSION}: {done.stderr.strip()[-500:]}")


def run_node(package_dir: Path, address: str, **scenario: Any) -> dict[str, Any]:
    start = {"voice": "longxiaochun", "format": "pcm", "sample_rate": 16000, "volume": 50}
    defaults = {"pieces": PIECES, "tasks": 1, "start": start}
    return run_script(FLOWING_SCRIPT, package_dir, address, defaults | scenario)


def speak_at_once(package_dir: Path, address: str, text: str, **scenario: Any) -> dict[str, Any]:
    param = {"text": text, **scenario.pop("param", {})}
    defaults = {"is_long": False, "voice": "xiaoyun", "param": param}
    return run_script(ONE_SHOT_SCRIPT, package_dir, address, defaults | scenario)


def run_script(
    script: Path, package_dir: Path, address: str, scenario: dict[str, Any]
) -> dict[str, Any]:
    where = {"package_dir": str(package_dir), "url": f"ws://{address}/ws/v1"}
    done = subprocess.run(
        ["node", str(script)],
        input=json.dumps(where | scenario),
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def conversation(task: dict[str, Any]) -> Conversation:
    talk = Conversation(task["task_id"], 16000)
    for step in task["steps"]:
        if "audio" in step:
            talk.hear_audio(base64.b64decode(step["audio"]))
        else:
            talk.hear_text(step["text"])
    return talk


def test_package_speaks(package_dir: Path, server_url: str) -> None:
    heard = run_node(package_dir, server_url)
    talk = conversation(heard["tasks"][0])
    check_complete(talk)
    assert 1.5 < talk.duration_s < 10.0


def test_package_speaks_again_on_the_same_connection(package_dir: Path, server_url: str) -> None:
    heard = run_node(package_dir, server_url, tasks=2)
    first, second = (conversation(task) for task in heard["tasks"])
    check_complete(second)
    assert second.duration_s == pytest.approx(first.duration_s, rel=0.05)


def test_package_pings_are_answered(package_dir: Path, server_url: str) -> None:
    heard = run_node(package_dir, server_url, ping_ms=5, tasks=2)
    assert heard["pongs"] > 0
    check_complete(conversation(heard["tasks"][1]))


def test_package_shows_a_failure_and_the_close(package_dir: Path, server_url: str) -> None:
    heard = run_node(package_dir, server_url, start={"voice": "nobody"}, tasks=2)
    assert heard["closed"]
    assert len(heard["tasks"]) == 1
    with pytest.raises(TaskFailedError, match="nobody"):
        conversation(heard["tasks"][0])


def test_package_may_vanish_in_mid_sentence(package_dir: Path, server_url: str) -> None:
    """`shutdown()` ends the TCP connection without a Close frame, as after every task."""
    heard = run_node(package_dir, server_url, hang_up_after_frames=1)
    assert heard["tasks"][0]["end"] == "hung up"
    check_complete(conversation(run_node(package_dir, server_url)["tasks"][0]))


# --- The package's own class: all text at once ------------------------------------------------

TEXT = "今天的天气很好，我们一起去公园走一走吧。晚上再回家吃饭！"


@pytest.mark.parametrize("is_long", [False, True], ids=["one-shot", "long"])
def test_package_speaks_a_text(package_dir: Path, server_url: str, is_long: bool) -> None:
    param = {"enable_subtitle": True}
    heard = speak_at_once(package_dir, server_url, TEXT, is_long=is_long, param=param)
    namespace = "SpeechLongSynthesizer" if is_long else "SpeechSynthesizer"
    completed = json.loads(heard["completed"])["header"]
    assert (completed["name"], completed["namespace"]) == ("SynthesisCompleted", namespace)
    file = b"".join(map(base64.b64decode, heard["audio"]))
    assert file.startswith(b"RIFF"), "its default is wav"
    samples = np.frombuffer(file[44:], "<i2") / 32768
    assert 3.0 < len(samples) / 16000 < 12.0
    assert np.sqrt(np.mean(samples**2)) > 0.005, "the audio is silence"
    messages = [json.loads(text) for text in heard["meta"]]
    assert {one["header"]["name"] for one in messages} == {"MetaInfo"}
    items = [item for one in messages for item in one["payload"]["subtitles"]]
    words = "".join(item["text"] for item in items)
    assert words == "今天的天气很好我们一起去公园走一走吧晚上再回家吃饭"


def test_package_shows_why_a_text_is_refused(package_dir: Path, server_url: str) -> None:
    heard = speak_at_once(package_dir, server_url, TEXT, voice="nobody")
    assert heard["completed"] is None
    failed = json.loads(heard["failed"])["header"]
    assert (failed["name"], failed["status"]) == ("TaskFailed", 40000003)
    assert "nobody" in failed["status_text"]
    assert heard["closed"]
