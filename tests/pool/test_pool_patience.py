"""How long a segment waits for a worker depends on how long its model takes to start."""

import pytest

from server.pool.loading import Loading
from server.pool.options import ModelSpec, PoolOptions


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.mark.parametrize(
    ("start_s", "patience_s"),
    [(1.0, 10.0), (5.0, 10.0), (20.0, 40.0), (200.0, 300.0)],
)
def test_a_lost_worker_is_waited_for_as_long_as_a_start_may_take(start_s, patience_s):
    clock = Clock()
    loading = Loading(
        ModelSpec(name="sine", factory="sine_model:SineModel"),
        PoolOptions(ready_timeout_s=10.0, start_timeout_s=300.0),
        in_use=lambda: False,
        failed=lambda: None,
        clock=clock,
    )
    loading.open([])
    assert loading.patience_s == 10.0  # nothing is known yet
    clock.now_s += start_s
    loading.note_ready()
    assert loading.patience_s == patience_s
    clock.now_s += 1000.0
    loading.note_all_left()
    clock.now_s += 2.0
    loading.note_ready()
    assert loading.patience_s == 10.0
