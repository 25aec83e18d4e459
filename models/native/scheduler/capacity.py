"""How many sessions the device holds in real time.

A session needs a step of the language model for each token, 25 in a second, and sound of as many.
With more sessions a step has more rows, and a batch more chunks. Two states have to hold: of
sessions that have a lead, whose hops are long, and of newcomers all at once, whose hops are short
until they have one. Without the second a crowd would stay with short hops, for which the device is
too slow, and would never gain the lead that makes them long.
"""

from __future__ import annotations

from math import ceil

from models.native.scheduler.views import GRID_TOKENS, HOPS_TOKENS, TOKEN_S, Costs, Policy

USUAL_BEFORE_TOKENS = 200
"""Before a chunk, of a session that keeps nothing: half of ten seconds, and a prompt of three."""
_LENGTHS = 3
"""Batches at least for many sessions, because only such of about the same length share one."""


def sessions_held(
    costs: Costs, policy: Policy, most: int, n_before: float = USUAL_BEFORE_TOKENS
) -> int:
    """How many sessions the device holds.

    Args:
        costs: of the device.
        policy: of the operator.
        most: to try.
        n_before: tokens before a chunk that are computed again, on average.

    Returns:
        From 0, if it does not compute one in real time, to `most`.
    """
    alone_s = first_chunk_s(costs, policy, 1, n_before)
    # Where a first chunk alone is later than wanted, others may make it twice as late: who is held
    # back instead waits for the end of somebody's speech.
    longest_s = alone_s + max(policy.first_audio_s, alone_s)
    for n_sessions in range(1, most + 1):
        if (
            share_used(costs, policy, n_sessions, n_before, HOPS_TOKENS[1]) > policy.most_used
            or _used_by_newcomers(costs, policy, n_sessions, n_before) > policy.most_used
            or first_chunk_s(costs, policy, n_sessions, n_before) > longest_s
        ):
            return n_sessions - 1
    return most


def _used_by_newcomers(costs: Costs, policy: Policy, n_sessions: int, n_before: float) -> float:
    # They have hardly more before a chunk than the prompt, which is about half of the usual. But
    # where tokens wait for the sound of others, it takes them long to leave short hops behind.
    usual = n_before / 2 if costs.overlap else n_before
    return share_used(costs, policy, n_sessions, usual, GRID_TOKENS)


def share_used(
    costs: Costs, policy: Policy, n_sessions: int, n_before: float, hop_tokens: int
) -> float:
    """The device's time that sessions take to keep up, of the time that they are played in.

    Args:
        costs: of the device.
        policy: of the operator.
        n_sessions: at once.
        n_before: tokens before a chunk that are computed again, on average.
        hop_tokens: length of chunks.
    """
    steps = _round_of_steps_s(costs, policy, n_sessions) / TOKEN_S
    sounds = _round_of_chunks_s(costs, policy, n_sessions, n_before, hop_tokens)
    chunks = sounds / (hop_tokens * TOKEN_S)
    return max(steps, chunks) if costs.overlap else steps + chunks


def first_chunk_s(costs: Costs, policy: Policy, n_sessions: int, n_before: float) -> float:
    """Seconds until a newcomer's first chunk, while the others keep up.

    It comes while a batch is computed, as likely as there is one, and shares its steps with all
    others; what is in no hurry then waits for it.

    Args:
        costs: of the device.
        policy: of the operator.
        n_sessions: at once, the newcomer included.
        n_before: tokens before a chunk that are computed again, on average.
    """
    n_steps = GRID_TOKENS + policy.lookahead_tokens
    steps_s = n_steps * _round_of_steps_s(costs, policy, n_sessions)
    sounds = _round_of_chunks_s(costs, policy, n_sessions - 1, n_before, HOPS_TOKENS[1])
    likely = min(1.0, sounds / (HOPS_TOKENS[1] * TOKEN_S))
    batch_s = likely * _batch_s(costs, policy, n_sessions - 1, n_before)
    own_s = costs.batch_s + _chunk_s(costs, n_before, GRID_TOKENS)
    return (max(batch_s, steps_s) if costs.overlap else batch_s + steps_s) + own_s


def _batch_s(costs: Costs, policy: Policy, n_sessions: int, n_before: float) -> float:
    """Seconds of a usual batch: as many chunks as become ready while another one is computed."""
    if not n_sessions:
        return 0.0
    chunk_s = _chunk_s(costs, n_before, HOPS_TOKENS[1])
    ready_hz = n_sessions / (HOPS_TOKENS[1] * TOKEN_S)
    most_rows = min(policy.most_rows, n_sessions)
    spared = 1 - ready_hz * chunk_s
    n_rows = ready_hz * costs.batch_s / spared if spared > 0 else most_rows
    return costs.batch_s + min(max(n_rows, 1), most_rows) * chunk_s


def _round_of_steps_s(costs: Costs, policy: Policy, n_sessions: int) -> float:
    """A token for each."""
    n_steps = ceil(n_sessions / policy.most_steps)
    return n_steps * costs.step_s + n_sessions * costs.step_row_s


def _round_of_chunks_s(
    costs: Costs, policy: Policy, n_sessions: int, n_before: float, hop_tokens: int
) -> float:
    """A chunk of each."""
    n_batches = max(ceil(n_sessions / policy.most_rows), min(n_sessions, _LENGTHS))
    return n_batches * costs.batch_s + n_sessions * _chunk_s(costs, n_before, hop_tokens)


def _chunk_s(costs: Costs, n_before: float, n_tokens: int) -> float:
    return n_tokens * costs.token_s + n_before * costs.before_token_s
