"""`cosystream bench` against real servers: its own, a running one, and its floor."""

from __future__ import annotations

import json
from array import array
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from command_line import Cosystream
from fake_server import FakeServer, Talk

from models.base import SynthesisRequest
from models.espeak import EspeakModel
from server.bench.figures import poisson_arrivals
from server.bench.load import Load, LoadResult, LoadShape
from server.bench.memory import Sample, churn_figures
from server.bench.metrics import Scrape, mean_between
from server.bench.process import MeasuredProcess, Usage
from server.bench.report import warnings
from server.bench.results import ServerMeans, figures, memory_figures, ratio
from server.bench.session import Script, SessionRecord, SimulatedClient
from server.bench.text import BUILTIN
from server.bench.trial import audio_bytes_per_s, warm_up
from server.client import TaskOptions
from server.commands.failure import CommandError
from server.commands.options import ServerAddress

SCRIPT = Script(
    pieces=["你好", "世界"],
    options=TaskOptions(format="pcm", sample_rate=8000),
    consume="fast",
    audio_bytes_per_s=16_000.0,
)
MIB = 1 << 20


def _address(server: FakeServer) -> ServerAddress:
    return ServerAddress.parse(server.address)


def test_the_builtin_text_is_about_six_seconds_of_speech() -> None:
    model = EspeakModel()
    try:
        request = SynthesisRequest(voice="中文女")
        samples = sum(len(chunk.samples) for chunk in model.synthesize(request, BUILTIN))
    finally:
        model.close()
    assert 5.5 < samples / model.sample_rate_hz < 6.5


@pytest.mark.anyio
@pytest.mark.parametrize("consume", ["fast", "realtime", "paced"])
async def test_a_session_notes_when_and_how_much(consume: str) -> None:
    with FakeServer() as server:
        script = replace(SCRIPT, consume=consume)
        record = await SimulatedClient(_address(server), script).run()
    assert record.failure == ""
    assert sum(record.sizes_bytes) == 4 * 1600
    assert record.first_text_s <= record.arrivals_s[0] <= record.completed_s
    assert server.said == ["StartSynthesis", "RunSynthesis", "RunSynthesis", "StopSynthesis"]


@pytest.mark.anyio
async def test_tokens_come_at_their_speed_beside_the_audio() -> None:
    with FakeServer() as server:
        script = replace(SCRIPT, tokens_per_s=20.0)
        record = await SimulatedClient(_address(server), script).run()
    assert len(record.arrivals_s) == 2
    assert record.arrivals_s[1] - record.first_text_s >= 0.05


@pytest.mark.anyio
async def test_failures_are_kept_with_their_kind() -> None:
    def fails(talk: Talk) -> None:
        talk.hear()
        talk.tell("TaskFailed", 40000005, "Too many requests!")
        talk.close()

    def hangs_up(talk: Talk) -> None:
        talk.hear()
        talk.close()

    kinds = []
    for behave in (fails, hangs_up):
        with FakeServer(behave) as server:
            kinds.append((await SimulatedClient(_address(server), SCRIPT).run()).failure)
    kinds.append((await SimulatedClient(_address_of_nobody(), SCRIPT).run()).failure)
    assert kinds == ["40000005", "connection lost", "connect"]


def _address_of_nobody() -> ServerAddress:
    with FakeServer() as server:
        return _address(server)


@pytest.mark.anyio
async def test_a_closed_loop_keeps_its_sessions_and_an_open_loop_its_schedule() -> None:
    with FakeServer() as server:
        held = LoadShape(sessions=3, duration_s=0.2)
        closed = await Load(_address(server), SCRIPT, held).run()
        arriving = LoadShape(rate_per_s=50.0, duration_s=0.2, seed=3)
        opened = await Load(_address(server), SCRIPT, arriving).run()
    assert closed.peak_active == 3
    assert len(closed.records) >= 3
    assert len(opened.records) == len(poisson_arrivals(50.0, 0.2, 3))
    assert not any(record.failure for record in (*closed.records, *opened.records))


@pytest.mark.anyio
async def test_in_churn_some_vanish_and_are_not_failures() -> None:
    with FakeServer() as server:
        shape = LoadShape(sessions=4, duration_s=0.5, churn=True, seed=2)
        load = Load(_address(server), SCRIPT, shape)
        result = await load.run()
    assert result.left > 0
    assert load.ended == result.left + len(result.records)
    assert not any(record.failure for record in result.records)


@pytest.mark.anyio
async def test_a_warm_up_records_a_session_for_the_floor() -> None:
    with FakeServer() as server:
        recording = await warm_up(_address(server), SCRIPT)
    trace = recording.trace()
    assert json.loads(trace.started)["header"]["name"] == "SynthesisStarted"
    names = [json.loads(f.text)["header"]["name"] if f.text else f.size_bytes for f in trace.frames]
    sentence = ["SentenceBegin", 3200, "SentenceEnd"]
    assert names == [*sentence, *sentence, "SynthesisCompleted"]
    assert all(frame.offset_s >= 0 for frame in trace.frames)
    assert len(recording.audio) == 6400


@pytest.mark.anyio
async def test_a_load_does_not_begin_where_one_session_fails() -> None:
    with pytest.raises(CommandError, match="the first session failed"):
        await warm_up(_address_of_nobody(), SCRIPT)


@pytest.mark.anyio
async def test_the_floor_repeats_the_trace(tmp_path: Path) -> None:
    with FakeServer() as server:
        trace = (await warm_up(_address(server), SCRIPT)).trace()
    late = msgspec.structs.replace(trace.frames[-1], offset_s=0.05)
    trace = msgspec.structs.replace(trace, frames=(*trace.frames[:-1], late))
    path = tmp_path / "trace.json"
    path.write_bytes(msgspec.json.encode(trace))
    arguments = ["server.bench.floor", str(path), "{port}"]
    async with MeasuredProcess(arguments, "/healthz") as floor:
        recording = await warm_up(ServerAddress.parse(floor.url), SCRIPT)
        usage = floor.usage()
    repeated = recording.trace()
    assert repeated.started == trace.started
    assert [(f.text, f.size_bytes) for f in repeated.frames] == [
        (f.text, f.size_bytes) for f in trace.frames
    ]
    assert recording.record.completed_s - recording.record.first_text_s >= 0.04
    assert usage.front_cpu_s > 0
    assert usage.workers_rss_bytes == 0


def test_bytes_per_second_are_exact_for_samples_and_measured_for_the_rest(tmp_path: Path) -> None:
    import av
    import numpy as np

    assert audio_bytes_per_s(b"", "pcm", 8000) == 16_000
    path = tmp_path / "a.flac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=16000, layout="mono")
        noise = np.random.default_rng(1).integers(-9999, 9999, (1, 32000)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(noise, "s16", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    assert audio_bytes_per_s(data, "flac", 16000) == pytest.approx(len(data) / 2, rel=0.01)


def _record(first_s: float, *arrivals_s: float, failure: str = "") -> SessionRecord:
    sizes = array("L", [1600] * len(arrivals_s))
    return SessionRecord(first_s, array("d", arrivals_s), sizes, failure=failure)


RESULT = LoadResult(
    records=[
        _record(0.0, 0.010, 0.020, 0.030),
        _record(1.0, 1.030, 1.500, 1.510),
        _record(2.0),
        _record(3.0, failure="40000005"),
    ],
    wall_s=2.0,
    client_cpu_s=0.06,
    loop_lags_s=[0.001],
    peak_active=2,
)


def test_a_load_is_reduced_to_figures() -> None:
    found = figures(
        RESULT,
        SCRIPT,
        usage=Usage(0.6, 1.2, 0, 0),
        means=ServerMeans(model_first_chunk_s=0.005, added_s=0.004),
        memory=None,
        cores=2,
    )
    assert (found.sessions, found.completed, found.silent) == (4, 3, 1)
    assert found.failures == {"40000005": 1}
    assert found.audio_s == pytest.approx(0.6)
    assert found.first_audio_ms.p50 == pytest.approx(20.0)
    assert found.server_added_mean_ms == pytest.approx(15.0)
    assert found.server_reported_added_ms == pytest.approx(4.0)
    # 0.2 s of prebuffer are there at 1.500; then all is in time.
    assert (found.underruns, found.sessions_with_underruns) == (0, 0)
    assert found.chunk_gap_ms.max == pytest.approx(470.0)
    assert found.real_time_factor.max == pytest.approx(0.51 / 0.3)
    assert found.cpu_per_audio_s.front == pytest.approx(1.0)
    assert found.cpu_per_audio_s.server == pytest.approx(3.0)
    assert found.client_core_share == pytest.approx(0.03)
    assert found.machine_share == pytest.approx(1.86 / 4)


def test_without_prebuffer_the_late_chunk_is_an_underrun() -> None:
    hasty = replace(SCRIPT, prebuffer_s=0.0)
    found = figures(RESULT, hasty, usage=None, means=ServerMeans(), memory=None, cores=2)
    assert (found.underruns, found.sessions_with_underruns) == (1, 1)
    assert found.stalled_s == pytest.approx(0.37)
    assert found.cpu_per_audio_s.front is None
    assert found.server_added_p50_ms is None


def test_a_wait_for_text_is_not_the_servers_latency() -> None:
    slow = replace(SCRIPT, tokens_per_s=8.0)
    means = ServerMeans(model_first_chunk_s=0.005, added_s=0.004)
    found = figures(RESULT, slow, usage=None, means=means, memory=None, cores=2)
    assert found.server_added_p50_ms is None
    assert found.server_reported_added_ms == pytest.approx(4.0)


def test_a_busy_client_and_failures_are_warned_of() -> None:
    busy = LoadResult(
        records=RESULT.records, wall_s=1.0, client_cpu_s=0.95, loop_lags_s=[0.05], peak_active=1
    )
    usage = Usage(0.9, 0.1, 0, 0)
    found = figures(busy, SCRIPT, usage=usage, means=ServerMeans(), memory=None, cores=2)
    told = "\n".join(warnings(found))
    assert "the client used 95% of a core" in told
    assert "50 ms late" in told
    assert "used 98% of the machine" in told
    assert "1 of 4 sessions failed" in told
    assert "1 sessions completed without audio" in told


def test_the_server_in_multiples_of_the_floor() -> None:
    def cost(front_s: float, workers_s: float) -> object:
        usage = Usage(front_s, workers_s, 0, 0)
        return figures(RESULT, SCRIPT, usage=usage, means=ServerMeans(), memory=None, cores=2)

    found = ratio(cost(0.3, 0.6), cost(0.1, 0.0))
    assert found.front_cpu == pytest.approx(3.0)
    assert found.server_cpu == pytest.approx(9.0)
    assert found.first_audio_p50 == pytest.approx(1.0)


def test_memory_per_session_is_what_the_peak_adds() -> None:
    samples = [
        Sample(0.0, 100 * MIB, 0, 0),
        Sample(1.0, 120 * MIB, 10, 0),
        Sample(2.0, 110 * MIB, 2, 8),
    ]
    found = memory_figures(100 * MIB, samples, Usage(0, 0, 110 * MIB, 50 * MIB))
    assert (found.idle_mib, found.peak_mib, found.workers_mib) == (100, 120, 50)
    assert found.per_active_session_mib == pytest.approx(2.0)


def test_a_leak_shows_as_a_slope_and_a_first_growth_does_not() -> None:
    grown = [Sample(float(t), 100 * MIB + t * 1024 * 10, 1, t * 10) for t in range(100)]
    found = churn_figures(grown, left=5)
    assert found.kib_per_session == pytest.approx(1.0)
    assert found.mib_per_hour == pytest.approx(10 * 3600 / 1024)
    flat = [Sample(float(t), (100 + min(t, 10)) * MIB, 1, t) for t in range(100)]
    assert churn_figures(flat, left=0).mib_per_hour == pytest.approx(0.0)


METRICS = """# TYPE x_seconds histogram
x_seconds_bucket{model="a",le="+Inf"} 2.0
x_seconds_count{model="a"} %s
x_seconds_sum{model="a"} %s
x_seconds_count{model="b"} 1.0
x_seconds_sum{model="b"} 5.0
"""


def test_a_histograms_mean_between_two_scrapes() -> None:
    before, after = Scrape.parse(METRICS % (2, 1.0)), Scrape.parse(METRICS % (4, 4.0))
    assert mean_between(before, after, "x_seconds") == pytest.approx(1.5)
    assert mean_between(before, before, "x_seconds") is None
    assert mean_between(before, after, "y_seconds") is None
    assert mean_between(None, after, "x_seconds") is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate", "1", "--sessions", "1"],
        ["--url", "127.0.0.1:1", "--serve-args", "--model x"],
        ["--url", "127.0.0.1:1", "--churn-seconds", "1"],
        ["--seconds", "0"],
        ["--rate", "-1"],
    ],
)
def test_wrong_usage(cosystream: Cosystream, arguments: list[str]) -> None:
    assert cosystream("bench", *arguments).code == 2


def test_a_server_that_is_not_there(cosystream: Cosystream) -> None:
    address = _address_of_nobody().http_url
    outcome = cosystream("bench", "--url", address)
    assert outcome.code == 1
    assert "is the server running?" in outcome.err


def test_a_running_server_and_the_floor(
    cosystream: Cosystream, server_url: str, tmp_path: Path
) -> None:
    arguments = ["--url", server_url, "--sessions", "2", "--seconds", "0.2", "--ramp-seconds", "0"]
    outcome = cosystream("bench", *arguments, "--consume", "fast", "--floor", "--json", "r.json")
    assert outcome.code == 0, outcome.err
    report = json.loads((tmp_path / "r.json").read_bytes())
    assert report["server"]["completed"] == report["server"]["sessions"] >= 2
    assert report["load"]["sample_rate"] == 22050
    assert report["server"]["model_first_chunk_ms"] > 0
    assert report["floor"]["cpu_per_audio_s"]["front"] > 0
    per_session = [report[n]["audio_s"] / report[n]["sessions"] for n in ("server", "floor")]
    assert per_session[0] == pytest.approx(per_session[1])
    table = outcome.out.decode()
    assert report["machine"]["processor"] in table
    assert "first audio p50 / p95 / p99 / max" in table


def test_a_server_of_its_own_with_churn(cosystream: Cosystream, tmp_path: Path) -> None:
    arguments = ["--rate", "20", "--seconds", "0.3", "--consume", "fast", "--json", "r.json"]
    outcome = cosystream("bench", *arguments, "--churn-seconds", "0.3", "--format", "mp3")
    assert outcome.code == 0, outcome.err
    report = json.loads((tmp_path / "r.json").read_bytes())
    assert report["server"]["cpu_per_audio_s"]["front"] > 0
    assert report["server"]["memory"]["idle_mib"] > 10
    assert report["churn"]["sessions"] > 0
    assert report["churn"]["failed"] == 0
    assert 5 < report["server"]["audio_s"] / report["server"]["completed"] < 7


def test_a_server_that_does_not_start_says_why(cosystream: Cosystream) -> None:
    outcome = cosystream("bench", "--serve-args", "--bogus")
    assert outcome.code == 1
    assert "the server ended at once" in outcome.err
    assert "--bogus" in outcome.err


def test_a_model_that_cannot_be_loaded_says_why(cosystream: Cosystream) -> None:
    """The server itself tries again and again."""
    outcome = cosystream("bench", "--serve-args", "--model bad=models.espeak:Nothing")
    assert outcome.code == 1
    assert "the model cannot be loaded" in outcome.err
    assert "Nothing" in outcome.err


@pytest.mark.anyio
async def test_sessions_of_a_closed_loop_may_begin_at_random() -> None:
    with FakeServer() as server:
        shape = LoadShape(sessions=3, duration_s=0.2, ramp_s=0.15, random_ramp=True, seed=5)
        result = await Load(_address(server), SCRIPT, shape).run()
    assert result.peak_active <= 3
    assert len(result.records) >= 3
    assert all(record.lasted_s > 0 for record in result.records)
