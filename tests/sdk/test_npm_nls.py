"""The real npm package `alibabacloud-nls` against a real server process.

The package is installed once into `.cache/npm` of the checkout, by npm, as configured on the
machine. Its generic client class speaks any namespace; `flowing_client.cjs` uses it.
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

import pytest
from conversation import Conversation, TaskFailedError, check_complete

PACKAGE = "alibabacloud-nls"
VERSION = "1.0.4"
CACHE = Path(__file__).parents[2] / ".cache" / "npm"
SCRIPT = Path(__file__).with_name("flowing_client.cjs")
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
    defaults = {"pieces": PIECES, "tasks": 1, "start": start, "package_dir": str(package_dir)}
    done = subprocess.run(
        ["node", str(SCRIPT)],
        input=json.dumps(defaults | {"url": f"ws://{address}/ws/v1"} | scenario),
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
