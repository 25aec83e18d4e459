"""Whether a new session may begin: an immediate yes or no, never a wait.

Pure and single-threaded: called from the event loop, decided by three numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from server.errors import ErrorCode, SpeechError

_RETRY_AFTER_S = 1.0


class Lease:
    """One admitted session; released when the session ends."""

    def __init__(self, admission: Admission, tenant: str) -> None:
        self._admission = admission
        self._tenant = tenant
        self._released = False

    def release(self) -> None:
        """Give the place back; a second time has no effect."""
        if not self._released:
            self._released = True
            self._admission._leave(self._tenant)  # noqa: SLF001 - the lease is its other half

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Admission:
    """Counts sessions.

    Args:
        max_sessions: of the whole server.
        max_sessions_per_tenant: of one tenant, which is whoever shares a token.
        max_queued: segments that may wait for a worker before new sessions are refused.
        queued: how many wait now.
    """

    def __init__(
        self,
        *,
        max_sessions: int,
        max_sessions_per_tenant: int,
        max_queued: int,
        queued: Callable[[], int],
    ) -> None:
        self._max_sessions = max_sessions
        self._max_sessions_per_tenant = max_sessions_per_tenant
        self._max_queued = max_queued
        self._queued = queued
        self._by_tenant: Counter[str] = Counter()
        self.draining = False
        """When set, no session is admitted any more; those that run go on."""

    @property
    def active(self) -> int:
        """Sessions that hold a lease."""
        return self._by_tenant.total()

    def admit(self, tenant: str, max_of_tenant: int = 0) -> Lease:
        """Admit a session.

        Args:
            tenant: whose it is.
            max_of_tenant: sessions that this tenant may have, 0 for as many as any.

        Raises:
            SpeechError: SHUTTING_DOWN when draining, CAPACITY_EXCEEDED beyond a limit.
        """
        if self.draining:
            raise SpeechError(ErrorCode.SHUTTING_DOWN, "the server is shutting down")
        allowed = max_of_tenant or self._max_sessions_per_tenant
        if self._by_tenant[tenant] >= allowed:
            raise _exceeded(f"this token already runs {allowed} tasks at once, which is its limit")
        if self.active >= self._max_sessions:
            raise _exceeded(
                f"the server already runs {self._max_sessions} tasks at once, which is its limit"
            )
        if self._queued() >= self._max_queued:
            raise _exceeded("too much text is waiting to be spoken; try again later")
        self._by_tenant[tenant] += 1
        return Lease(self, tenant)

    def spare(self, tenant: str, max_of_tenant: int = 0) -> int:
        """How many sessions of a tenant could begin now, for work that lets sessions go first.

        Args:
            tenant: whose work it is.
            max_of_tenant: as in `admit`.
        """
        if self.draining or self._queued() >= self._max_queued:
            return 0
        allowed = max_of_tenant or self._max_sessions_per_tenant
        return max(0, min(allowed - self._by_tenant[tenant], self._max_sessions - self.active))

    def _leave(self, tenant: str) -> None:
        self._by_tenant[tenant] -= 1
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]


def _exceeded(message: str) -> SpeechError:
    return SpeechError(ErrorCode.CAPACITY_EXCEEDED, message, retry_after_s=_RETRY_AFTER_S)
