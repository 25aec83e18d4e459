"""How far a session may run ahead of its client."""

from __future__ import annotations

from models.native.scheduler.views import GRID_TOKENS, TOKEN_S, Pause, Policy, Session


def pause_of(now_s: float, session: Session, policy: Policy) -> Pause:
    """What of a session stands still now.

    With hysteresis: what has stopped goes on when the lead has shrunk to a share of the limit, so
    that hops have time to become long.
    """
    audio_s = audio_lead_s(now_s, session)
    return Pause(
        tokens=_stopped(
            token_lead_s(now_s, session), policy.tokens_ahead_s, policy, was=session.pause.tokens
        ),
        audio=_stopped(audio_s, policy.audio_ahead_s, policy, was=session.pause.audio),
        parked_since_s=_parked_since_s(now_s, session),
    )


def audio_lead_s(now_s: float, session: Session) -> float:
    """Speech that is sent and not yet played."""
    return session.deadline_s - now_s if session.begun else 0.0


def token_lead_s(now_s: float, session: Session) -> float:
    """The same, and what is there as tokens."""
    return audio_lead_s(now_s, session) + session.n_ready * TOKEN_S


def resumes_at_s(session: Session, pause: Pause, policy: Policy) -> float | None:
    """When the session's flow and vocoder go on; None if they do not stand still."""
    return session.deadline_s - policy.audio_ahead_s * policy.resume if pause.audio else None


def _stopped(lead_s: float, limit_s: float, policy: Policy, *, was: bool) -> bool:
    return lead_s >= (limit_s * policy.resume if was else limit_s)


def _parked_since_s(now_s: float, session: Session) -> float | None:
    if session.credit_s >= GRID_TOKENS * TOKEN_S:
        return None
    since_s = session.pause.parked_since_s
    return now_s if since_s is None else since_s
