"""How long a session's next chunk is to be.

Long hops are cheaper, because the flow computes what is before a chunk again for each; short ones
are sooner. A chunk is as long as its deadline allows.
"""

from __future__ import annotations

from models.native.scheduler.views import (
    GRID_TOKENS,
    HOPS_TOKENS,
    TOKEN_S,
    Chunk,
    Costs,
    Pause,
    Policy,
    Session,
)


def next_chunk(
    now_s: float,
    session: Session,
    pause: Pause,
    costs: Costs,
    policy: Policy,
    *,
    others_s: float = 0.0,
) -> Chunk | None:
    """The chunk to compute now; None if there is none yet, or if a longer one is worth waiting for.

    Args:
        now_s: the clock.
        session: of which.
        pause: that it has.
        costs: of the device.
        policy: of the operator.
        others_s: that somebody else's batch may take before another chance comes.
    """
    ready = _ready(session, policy)
    if not ready:
        return None
    if not session.begun:
        return ready[0]
    if pause.audio:
        return None
    slack_s = session.deadline_s - now_s - policy.margin_s - costs.batch_s
    fitting = [chunk for chunk in ready if costs.chunk(session, chunk.n_tokens) <= slack_s]
    chunk = fitting[0] if fitting else ready[-1]
    longer = _longer(chunk, session, pause, policy)
    if longer is not None:
        # It takes at least until its tokens are spoken by a model that only just keeps up.
        missing_s = (longer + policy.lookahead_tokens - session.n_ready) * TOKEN_S
        if missing_s + others_s + costs.chunk(session, longer) <= slack_s:
            return None
    return chunk


def _ready(session: Session, policy: Policy) -> list[Chunk]:
    """All chunks for which the client has room and the tokens are there, the longest first."""
    room = int(session.credit_s / TOKEN_S)
    hops = HOPS_TOKENS if session.begun else (session.first_hop_tokens,)
    longest = hops[0] + policy.lookahead_tokens
    ready = []
    if session.ended and 0 < session.n_ready <= longest:
        ready.append(Chunk(session=session.id, n_tokens=session.n_ready, final=True))
    ready += [
        Chunk(session=session.id, n_tokens=hop, final=False)
        for hop in hops
        if hop + policy.lookahead_tokens <= session.n_ready
    ]
    if not session.begun:
        return ready  # its client's queue is empty
    # The end of speech may be a few tokens longer than a hop, and has no smaller piece.
    room = max(room, ready[-1].n_tokens if ready and ready[-1].final and room >= GRID_TOKENS else 0)
    return [chunk for chunk in ready if chunk.n_tokens <= room]


def _longer(chunk: Chunk, session: Session, pause: Pause, policy: Policy) -> int | None:
    """The next longer hop, if tokens for it are still coming."""
    if chunk.final or not session.decodable or pause.tokens:
        return None
    longer = [hop for hop in HOPS_TOKENS if hop > chunk.n_tokens]
    if not longer or longer[-1] + policy.lookahead_tokens <= session.n_ready:
        return None
    return longer[-1] if longer[-1] * TOKEN_S <= session.credit_s else None
