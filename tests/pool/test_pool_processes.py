"""Workers as processes: their environment, and that none outlives the front."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import venv
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
from pool_bench import PATIENCE_S, SINE_INFO, eventually, make_clone
from sine_model import sine_samples

from server.pool.pool import ModelSpec

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent


async def look(bench, expression):
    """Evaluate an expression inside the worker."""
    return (await bench.fails(f"!see:{expression}")).message


@pytest.mark.anyio
async def test_a_worker_is_nicer_than_the_front(make_bench):
    bench = await make_bench(settings={"nice": 3})
    assert await look(bench, "os.nice(0)") == str(os.nice(0) + 3)


@pytest.mark.anyio
async def test_a_worker_has_the_environment_that_its_spec_names(make_bench):
    spec = ModelSpec(
        name="sine", factory="sine_model:SineModel", environment={"OMP_NUM_THREADS": "1"}
    )
    bench = await make_bench(spec)
    assert await look(bench, "os.environ['OMP_NUM_THREADS']") == "1"


@pytest.mark.anyio
async def test_a_chatty_worker_does_not_block(bench):
    assert await look(bench, "sys.stderr.write('x' * 1_000_000)") == "1000000"
    assert await look(bench, "print('y' * 1_000_000)") == "None"
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))


@pytest.mark.anyio
async def test_signals_for_the_whole_group_do_not_end_a_worker(make_bench):
    bench = await make_bench()
    [pid] = bench.pids()
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    np.testing.assert_array_equal(await bench.say("next"), sine_samples(4))
    assert bench.pids() == [pid]


@pytest.mark.anyio
async def test_a_worker_imports_little_of_ours(bench):
    ours = "sorted(m for m in sys.modules if m.partition('.')[0] in ('server', 'models'))"
    assert (await look(bench, ours)) == str(
        [
            "models",
            "models.base",
            "models.recognition",
            "server",
            "server.pool",
            "server.pool.feed",
            "server.pool.framing",
            "server.pool.hosted_model",
            "server.pool.hosted_recognizer",
            "server.pool.hosted_stream",
            "server.pool.messages",
            "server.pool.outbox",
            "server.pool.outlet",
            "server.pool.slots",
        ]
    )
    assert await look(bench, "[m for m in ('asyncio', 'structlog') if m in sys.modules]") == "[]"


def names_in(folder):
    return sorted(entry.name for entry in Path(folder).iterdir())


def make_other_python(folder):
    """A virtual environment that has msgspec and numpy, and nothing else."""
    venv.create(folder, symlinks=True, with_pip=False)
    [packages] = folder.glob("lib/python*/site-packages")
    for source in (Path(msgspec.__file__).parent, Path(np.__file__).parent):
        (packages / source.name).symlink_to(source)
    libraries = Path(np.__file__).parents[1] / "numpy.libs"
    if libraries.exists():
        (packages / libraries.name).symlink_to(libraries)
    return folder / "bin" / "python"


@pytest.mark.anyio
async def test_another_interpreter_sees_only_our_two_packages(make_bench, tmp_path):
    python = make_other_python(tmp_path / "other")
    models = tmp_path / "models-of-its-own"
    models.mkdir()
    (models / "sine_model.py").symlink_to(TESTS / "sine_model.py")
    spec = ModelSpec(
        name="sine",
        factory="sine_model:SineModel",
        interpreter=str(python),
        environment={"PYTHONPATH": str(models)},
    )
    bench = await make_bench(spec)
    np.testing.assert_array_equal(await bench.say("hello"), sine_samples(5))
    assert await look(bench, "sys.prefix") == str(tmp_path / "other")
    find = "[m for m in {} if __import__('importlib.util').util.find_spec(m)]"
    hidden = ["structlog", "psutil", "starlette", "pytest", "server_process"]
    assert await look(bench, find.format(hidden)) == "[]"
    assert await look(bench, find.format(["server", "models"])) == "['server', 'models']"
    paths = (await look(bench, "'|'.join(sys.path)")).split("|")
    assert not [path for path in paths if path in (str(ROOT), str(TESTS), str(Path.cwd()))]
    assert names_in(paths[0]) == ["models", "server"]
    await bench.pool.close()
    assert not os.access(paths[0], os.F_OK)


@pytest.mark.anyio
async def test_a_lazy_model_under_another_interpreter_clones_voices(make_bench, studio, tmp_path):
    models = tmp_path / "models-of-its-own"
    models.mkdir()
    for module in (TESTS / "sine_model.py", Path(__file__).with_name("studio_model.py")):
        (models / module.name).symlink_to(module)
    spec = studio.spec(
        lazy=True,
        info=SINE_INFO,
        interpreter=str(make_other_python(tmp_path / "other")),
        environment={"PYTHONPATH": str(models)},
        idle_unload_s=0.01,
    )
    bench = await make_bench(spec)
    for _ in range(2):
        samples = np.zeros(10, np.float32)
        features = await bench.pool.enroll("sine", samples, 16_000, "", PATIENCE_S)
        speech = await bench.say("?silence:1:", clone=make_clone(features.decode()))
        np.testing.assert_array_equal(speech, sine_samples(11, voice="sine-2"))
        await eventually(lambda: bench.seen.lives[-1] == "unloaded")
    assert bench.seen.incidents == [("sine", "silence", 1)] * 2
    assert await look(bench, "sys.prefix") == str(tmp_path / "other")


FRONT = textwrap.dedent("""
    import asyncio
    from models.base import SynthesisRequest
    from server.pool.pool import ModelSpec, WorkerPool

    async def main():
        pool = WorkerPool([ModelSpec(name="sine", factory="sine_model:SineModel")])
        await pool.start()
        await pool.wait_ready(20)
        text = {text!r}
        if text:
            stream = pool.open("sine", SynthesisRequest(voice="sine"), text, deadline_s=0)
            while stream.queue_wait_s is None:
                await asyncio.sleep(0.001)
        print(pool.snapshot().workers[0].pid, flush=True)
        await asyncio.sleep(3600)

    asyncio.run(main())
""")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="idle"),
        pytest.param("x" * 1000, id="speaking"),
        pytest.param("!hang", id="hanging"),
        pytest.param("!stop", id="stopped"),
    ],
)
def test_no_worker_survives_the_front(text):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])}
    with subprocess.Popen(
        [sys.executable, "-c", FRONT.format(text=text)],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as front:
        worker = psutil.Process(int(last_line_of(front.stdout)))
        front.kill()
        front.stdout.close()
    give_up_at = time.monotonic() + PATIENCE_S
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < give_up_at, "the worker lives on"
        time.sleep(0.005)


def last_line_of(stdout):
    """The line that is nothing but a number; log lines go before it."""
    return next(line for line in stdout if line.strip().isdigit())
