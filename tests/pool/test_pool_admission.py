"""Who is let in."""

import pytest

from server.errors import ErrorCode, SpeechError
from server.pool.admission import Admission


def make(*, queued=0, **limits):
    limits = {"max_sessions": 3, "max_sessions_per_tenant": 2, "max_queued": 5} | limits
    return Admission(**limits, queued=lambda: queued)


def refusal(admission, tenant="anna"):
    with pytest.raises(SpeechError) as caught:
        admission.admit(tenant)
    return caught.value


def test_a_tenant_has_a_limit_of_its_own():
    admission = make()
    leases = [admission.admit("anna"), admission.admit("anna")]
    error = refusal(admission)
    assert error.code is ErrorCode.CAPACITY_EXCEEDED
    assert error.retry_after_s is not None
    assert "this token already runs 2 tasks" in error.message
    admission.admit("ben")
    leases[0].release()
    admission.admit("anna")
    assert admission.active == 3


def test_the_server_has_a_limit():
    admission = make()
    for tenant in ("anna", "ben", "cleo"):
        admission.admit(tenant)
    error = refusal(admission, "dora")
    assert error.code is ErrorCode.CAPACITY_EXCEEDED
    assert "the server already runs 3 tasks" in error.message


@pytest.mark.parametrize(("queued", "admitted"), [(4, True), (5, False), (6, False)])
def test_a_full_queue_refuses_newcomers(queued, admitted):
    admission = make(queued=queued)
    if admitted:
        admission.admit("anna")
    else:
        assert refusal(admission).code is ErrorCode.CAPACITY_EXCEEDED
    assert admission.active == admitted


def test_a_refused_session_takes_no_place():
    admission = make(max_sessions=1)
    lease = admission.admit("anna")
    for _ in range(10):
        refusal(admission, "ben")
    lease.release()
    with admission.admit("ben"):
        assert admission.active == 1
    assert admission.active == 0


def test_a_lease_is_released_once_however_often_it_is_told():
    admission = make()
    kept = admission.admit("anna")
    lease = admission.admit("anna")
    for _ in range(3):
        lease.release()
    assert admission.active == 1
    kept.release()
    assert admission.active == 0


def test_draining_refuses_the_new_and_keeps_the_old():
    admission = make()
    lease = admission.admit("anna")
    admission.draining = True
    error = refusal(admission)
    assert error.code is ErrorCode.SHUTTING_DOWN
    assert admission.active == 1
    lease.release()
    assert admission.active == 0
