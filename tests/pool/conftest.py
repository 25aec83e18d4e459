"""Pools of real worker processes for the tests of this folder."""

import pytest
from pool_bench import PATIENCE_S, QUICK, Bench, Recorder, Studio, eventually

from server.pool.pool import ModelSpec, PoolOptions, WorkerPool


async def open_bench(*specs, ready=True, workers=1, settings=None, **model_options):
    """Start a pool, by default of one sine worker with these options."""
    spec = ModelSpec(
        name="sine", factory="sine_model:SineModel", workers=workers, options=model_options
    )
    recorder = Recorder()
    options = PoolOptions(**(QUICK | (settings or {})))
    pool = WorkerPool(specs or [spec], options=options, observer=recorder)
    await pool.start()
    if ready:
        await pool.wait_ready(PATIENCE_S)
        await eventually(
            lambda: all(w.state in ("ready", "unloaded") for w in pool.snapshot().workers)
        )
    return Bench(pool, recorder)


@pytest.fixture
async def make_bench():
    """Make pools; all are closed at the end of the test."""
    benches = []

    async def make(*specs, **settings):
        benches.append(await open_bench(*specs, **settings))
        return benches[-1]

    yield make
    for bench in benches:
        await bench.pool.close()


@pytest.fixture(scope="module")
async def shared_bench():
    """A pool of one sine worker, for tests that leave it as it was."""
    bench = await open_bench()
    yield bench
    await bench.pool.close()


@pytest.fixture
def bench(shared_bench):
    """The shared pool, with nothing seen yet."""
    shared_bench.seen.clear()
    return shared_bench


@pytest.fixture
def studio(tmp_path):
    """The studio model, with a journal of its own."""
    return Studio(tmp_path)
