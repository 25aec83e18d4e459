"""Whatever a client sends in whatever order, no task is left without an end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from typing import Any, ClassVar

import pytest
from flowing import FlowingSocket
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from server_process import ServerProcess
from websockets.exceptions import ConnectionClosed

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["format", "sample_rate", "volume", "speech_rate", "enable_subtitle", "x"]),
    st.sampled_from(["pcm", "WAV", "mp3", 16000, 24000, 0, 50, True, None]) | JSON_VALUES,
    max_size=3,
)
TEXTS = st.sampled_from(
    ["你好。", "一二三", "", "！", "3", ".14", "😀", "\n", "please raise", "<speak>", "```"]
) | st.text(max_size=20)


class ProtocolMachine(RuleBasedStateMachine):
    """One connection. The model of it is only: a task was started, a stop was sent."""

    url: ClassVar[str]

    @initialize()
    def connect(self) -> None:
        self.runner = asyncio.Runner()
        self.client = FlowingSocket(self.url)
        self.runner.run(self.client.__aenter__())
        self.client.task_id = uuid.uuid4().hex

    def send(self, *arguments: Any, **header: Any) -> None:
        with contextlib.suppress(ConnectionClosed):
            self.runner.run(self.client.send(*arguments, **header))

    @rule(parameters=PARAMETERS)
    def start(self, parameters: dict[str, Any]) -> None:
        self.send("StartSynthesis", {"voice": "sine", **parameters})

    @rule()
    def start_plainly(self) -> None:
        self.send("StartSynthesis", {"voice": "sine"})

    @rule(
        namespace=st.sampled_from(["SpeechSynthesizer", "SpeechLongSynthesizer"]),
        text=TEXTS,
        parameters=PARAMETERS,
    )
    def start_with_all_text(self, namespace: str, text: str, parameters: dict[str, Any]) -> None:
        payload = {"voice": "sine", "text": text, **parameters}
        self.send("StartSynthesis", payload, namespace=namespace)

    @rule(text=TEXTS)
    def run(self, text: str) -> None:
        self.send("RunSynthesis", {"text": text})

    @rule()
    def flush(self) -> None:
        self.send("FlushText")

    @rule(payload=st.sampled_from([None, {}, {"cancel": True}, {"cancel": "yes"}]))
    def stop(self, payload: Any) -> None:
        self.send("StopSynthesis", payload)

    @rule(payload=st.sampled_from([None, {"cancel": True}]))
    def stop_at_once(self, payload: Any) -> None:
        self.send("StopSynthesis", payload, namespace="SpeechSynthesizer")

    @rule(payload=JSON_VALUES)
    def run_with_anything(self, payload: Any) -> None:
        self.send("RunSynthesis", payload)

    @rule(field=st.sampled_from(["task_id", "name", "namespace", "message_id"]), value=JSON_VALUES)
    def break_the_header(self, field: str, value: Any) -> None:
        header = {"name": "RunSynthesis", field: value}
        self.send(header.pop("name"), {"text": "一。"}, **header)

    @rule(frame=st.binary(max_size=20) | st.text(max_size=20) | JSON_VALUES.map(json.dumps))
    def send_a_frame(self, frame: str | bytes) -> None:
        with contextlib.suppress(ConnectionClosed, UnicodeEncodeError):
            self.runner.run(self.client.socket.send(frame))

    @rule()
    def pause(self) -> None:
        self.runner.run(asyncio.sleep(0.005))

    def teardown(self) -> None:
        """A last stop; then every task that was started has ended, in order."""
        if not hasattr(self, "runner"):
            return
        self.send("StopSynthesis")
        self.runner.run(self.client.until_closed())
        begun = 0
        for name in self.client.names:
            begun += name == "SynthesisStarted"
            if name in {"SynthesisCompleted", "TaskFailed"}:
                begun = 0
        assert begun == 0, self.client.names
        assert self.client.names.count("TaskFailed") <= 1
        if "TaskFailed" in self.client.names:
            assert self.client.names[-1] == "TaskFailed"
        self.runner.run(self.client.__aexit__(None, None, None))
        self.runner.close()


def test_no_task_is_left_without_an_end(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    with ServerProcess(
        folder / "log",
        "--model",
        "sine=sine_model:SineModel",
        idle_timeout_s="0.1",
        text_timeout_s="0.1",
        linger_ms="10",
    ) as process:
        ProtocolMachine.url = process.flowing_url
        run_state_machine_as_test(
            ProtocolMachine,
            settings=settings(
                max_examples=60,
                stateful_step_count=12,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
        assert process.metric("cosystream_active_sessions") == 0
        assert process.metric("cosystream_connections") == 0
        log = process.log.read_text()
        assert "broke" not in log
        assert "Traceback" not in log
