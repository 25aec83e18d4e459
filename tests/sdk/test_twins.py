"""Every known client holds its conversation against a real server process."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from client_twins import SeedLlm, SeedPage, SeedPython, Xiaozhi
from conversation import TaskFailedError, check_complete
from server_process import ServerProcess
from vendor_twins import CppSdk, JavaSdk, PythonSdk

PIECES = ("今天的天气", "很好，我们", "一起去", "公园走一走吧。", "晚上再回家吃饭！")
CLIENTS = {
    "python-sdk": PythonSdk,
    "cpp-sdk": CppSdk,
    "java-sdk": JavaSdk,
    "xiaozhi-2025": partial(Xiaozhi, one_message_id=True),
    "xiaozhi-2026": partial(Xiaozhi, one_message_id=False),
    "seed-python": SeedPython,
    "seed-page": SeedPage,
    "seed-llm": SeedLlm,
}


@pytest.fixture(params=CLIENTS.values(), ids=CLIENTS.keys())
def client(request: pytest.FixtureRequest, server_url: str) -> Any:
    with closing(request.param(server_url)) as twin:
        yield twin


def test_conversation_succeeds(client: Any) -> None:
    talk = client.speak(PIECES)
    check_complete(talk)
    assert 2.0 < talk.duration_s < 12.0


def test_rate_is_the_one_asked_for(server_url: str) -> None:
    """The same text takes the same time at 24000, 22050 and 16000 Hz."""
    text = ("我们一起去公园走一走吧。",)
    durations = []
    for make in (PythonSdk, SeedPage, CppSdk):
        with closing(make(server_url)) as client:
            durations.append(client.speak(text).duration_s)
    assert max(durations) < 1.03 * min(durations), durations


@pytest.mark.parametrize("make", [CppSdk, JavaSdk, Xiaozhi])
def test_next_task_on_the_same_connection(make: Any, server_url: str) -> None:
    with closing(make(server_url)) as client:
        first = client.speak(PIECES)
        second = client.speak(PIECES)
    check_complete(first)
    check_complete(second)
    assert first.task_id != second.task_id
    # The C++ SDK's second StartSynthesis still holds the first task's last text: not to be spoken.
    assert second.duration_s == pytest.approx(first.duration_s, rel=0.03)


@pytest.mark.parametrize("make", [CppSdk, Xiaozhi])
def test_subtitles_reach_the_clients_that_ask(make: Any, server_url: str) -> None:
    with closing(make(server_url)) as client:
        talk = client.speak(PIECES)
    ends = [payload["subtitles"] for payload in talk.payloads("SentenceEnd")]
    items = [item for subtitles in ends for item in subtitles]
    assert items
    assert all(type(item[key]) is int for item in items for key in ("begin_time", "end_time"))
    last_ms = max(item["end_time"] for item in items)
    assert last_ms <= 1000 * talk.duration_s + 1
    assert last_ms > 800 * talk.duration_s


def test_cpp_single_round_is_ssml(server_url: str) -> None:
    with closing(CppSdk(server_url)) as client:
        short = client.speak_single_round("<speak>你好。再见。</speak>")
        long = client.speak_single_round('<speak>你好。<break time="2s"/>再见。</speak>')
    check_complete(long)
    assert long.duration_s > short.duration_s + 1.5


@pytest.mark.parametrize(
    "piece", ["没有标点的一句话", "有标点。", "3.", "！", "……", "😀"], ids=repr
)
def test_seed_client_gets_a_sentence_end_for_every_piece(piece: str, server_url: str) -> None:
    """It waits for one without limit, whatever it sent."""
    with closing(SeedPython(server_url)) as client:
        talk = client.speak(["第一句话。", piece, "最后一句话。"])
    assert talk.order.count("SentenceEnd") >= 3
    assert talk.order[-1] == "SynthesisCompleted"


def test_python_sdk_reads_why_a_voice_is_refused(server_url: str) -> None:
    with closing(PythonSdk(server_url)) as client:
        with pytest.raises(TaskFailedError, match="nobody") as failure:
            client.speak(PIECES, voice="nobody")
        assert failure.value.header["status"] in {40000003, 41020001}
        client.wait_for_close()


def test_python_sdk_reads_why_its_token_is_refused(guarded_address: str) -> None:
    """It would show nothing of an HTTP 403."""
    with closing(PythonSdk(guarded_address, token="a-wrong-token")) as client:
        with pytest.raises(TaskFailedError) as failure:
            client.speak(PIECES)
        assert failure.value.header["status"] == 40000001
        client.wait_for_close()


@pytest.mark.parametrize("make", [PythonSdk, CppSdk, JavaSdk, Xiaozhi])
def test_right_token_is_let_in(make: Any, guarded_address: str) -> None:
    with closing(make(guarded_address, token="the-right-token")) as client:
        check_complete(client.speak(PIECES[:1]))


def test_shutdown_closes_with_a_code_that_the_python_sdk_knows(tmp_path: Path) -> None:
    """uvicorn's own 1012 is an error to it."""
    with ServerProcess(tmp_path / "log") as process, closing(PythonSdk(process.address)) as client:
        process.terminate()
        client.wait_for_close()


def test_clients_do_not_disturb_each_other(server_url: str) -> None:
    """A task that waits for text, and one that speaks at the same time."""
    with (
        closing(SeedPython(server_url)) as waiting,
        closing(PythonSdk(server_url)) as speaking,
    ):
        waiting.start()
        check_complete(speaking.speak(PIECES))
        waiting.send_text(PIECES[0])
        check_complete(waiting.stop())
