"""Upstream's defects that matter to a server are gone (numbers as in each module's docstrings)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tiny import LOOKAHEAD, TEXT

from models.base import ModelError, PcmChunk, Samples, SynthesisRequest
from models.cosyvoice.model import CosyVoiceModel

SPEAK = Callable[..., list[Samples]]
PIECES = ("Hello ", "wor", "ld, ", "piece ", "by ", "piece. ", "你", "好。")


class Steps:
    """Counts what a language model decodes, and can break it."""

    def __init__(self, model: CosyVoiceModel) -> None:
        self.count = 0
        self.fail_at = -1
        self.nan_steps = range(0)
        decoder = model._official.model.llm.llm_decoder
        self._hook = decoder.register_forward_hook(self._step)

    def _step(self, module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        self.count += 1
        if self.count == self.fail_at:
            raise ZeroDivisionError("a step went wrong")
        return output * np.nan if self.count in self.nan_steps else output

    def remove(self) -> None:
        self._hook.remove()


@pytest.fixture
def steps(model: CosyVoiceModel) -> Iterator[Steps]:
    counted = Steps(model)
    yield counted
    counted.remove()


def open_stream(
    model: CosyVoiceModel, text: str | Iterator[str], voice: str = "中文女", seed: int = 1
) -> Iterator[PcmChunk]:
    return model.synthesize(SynthesisRequest(voice=voice, seed=seed), text)


def joined(chunks: list[Samples]) -> Samples:
    return np.concatenate(chunks)


def tables(model: CosyVoiceModel) -> list[Any]:
    names = ("tts_speech_token_dict", "llm_end_dict", "hift_cache_dict", "mel_overlap_dict")
    return [getattr(model._official.model, name, {}) for name in (*names, "flow_cache_dict")]


# --- Defect 1: the hop length of all later streams grew --------------------------------------


def test_the_fifth_request_is_heard_as_soon_as_the_first(
    model: CosyVoiceModel, version: int, long_text: str, steps: Steps
) -> None:
    first_chunks, steps_before_sound = [], []
    for number in range(5):
        before = steps.count
        chunks = open_stream(model, long_text)
        first_chunks.append(len(next(chunks).samples))
        steps_before_sound.append(steps.count - before)
        if number == 0:
            assert len(list(chunks)) >= 1  # upstream's hop has grown by now
    assert len(set(first_chunks)) == 1
    assert steps_before_sound == [120 if version == 1 else 25 + LOOKAHEAD] * 5


def test_hops_of_streams_side_by_side(model: CosyVoiceModel, long_text: str, speak: SPEAK) -> None:
    alone = [len(samples) for samples in speak(long_text)]
    streams = [open_stream(model, long_text) for _ in range(2)]
    lengths: list[list[int]] = [[], []]
    for pair in zip(*streams, strict=True):
        for chunk, heard in zip(pair, lengths, strict=True):
            heard.append(len(chunk.samples))
    assert lengths == [alone, alone]


# --- Defects 2 and 6: threads, polling, leaks, exceptions that never arrive --------------------


def test_an_abandoned_stream_stops_at_once(
    model: CosyVoiceModel, long_text: str, steps: Steps
) -> None:
    threads = threading.active_count()
    chunks = open_stream(model, long_text)
    next(chunks)
    decoded = steps.count
    assert threading.active_count() == threads
    chunks.close()
    assert steps.count == decoded
    assert tables(model) == [{}] * 5


def test_a_finished_stream_leaves_nothing(model: CosyVoiceModel, speak: SPEAK) -> None:
    speak(TEXT)
    assert tables(model) == [{}] * 5


def test_an_exception_in_the_language_model_reaches_the_caller(
    model: CosyVoiceModel, speak: SPEAK, steps: Steps
) -> None:
    steps.fail_at = 5
    with pytest.raises(ZeroDivisionError, match="a step went wrong"):
        speak(TEXT)
    assert tables(model) == [{}] * 5
    assert len(speak(TEXT)) > 0


def test_an_exception_in_the_text_reaches_the_caller(version: int, speak: SPEAK) -> None:
    if version == 1:
        pytest.skip("version 1 takes no stream of text")

    def pieces() -> Iterator[str]:
        yield "你好，世界，你好。"
        raise ConnectionError("the text broke off")

    with pytest.raises(ConnectionError, match="the text broke off"):
        speak(pieces())


# --- Defect 8: one random generator for everything --------------------------------------------


def test_a_seed_repeats_the_sound(speak: SPEAK) -> None:
    first, again, other = (joined(speak(TEXT, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or (first != other).any()


def test_without_a_seed_each_time_sounds_different(speak: SPEAK) -> None:
    first, second = (joined(speak(TEXT, seed=None)) for _ in range(2))
    assert len(first) != len(second) or (first != second).any()


@pytest.mark.parametrize("seed", [0, -1, 2**64 + 5])
def test_any_number_is_a_seed(speak: SPEAK, seed: int) -> None:
    np.testing.assert_array_equal(joined(speak(TEXT, seed=seed)), joined(speak(TEXT, seed=seed)))


def test_streams_in_threads_do_not_mix(model: CosyVoiceModel, long_text: str, speak: SPEAK) -> None:
    requests = [(long_text, "clone", 1), (TEXT * 2, "中文男", 2)]
    alone = [joined(speak(*request)) for request in requests]
    together: dict[int, Samples] = {}
    begin = threading.Barrier(len(requests))

    def run(number: int) -> None:
        begin.wait()
        together[number] = joined(speak(*requests[number]))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, samples in enumerate(alone):
        np.testing.assert_array_equal(together[number], samples)


def test_nothing_is_drawn_from_the_process_s_generators(long_text: str, speak: SPEAK) -> None:
    torch.manual_seed(0)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    speak(long_text, voice="clone", seed=None)
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


# --- Defect 10: the end of speech --------------------------------------------------------------


def test_speech_is_not_shorter_than_upstream_s_shortest(
    version: int, load_model: Callable[..., CosyVoiceModel]
) -> None:
    """This model wants to end after a quarter of a token per text token; two are the least."""
    model = load_model(version, rate=0.25)
    steps = Steps(model)
    chunks = list(open_stream(model, TEXT, voice="中文女"))
    steps.remove()
    n_text = len(model._official.text_tokens(TEXT))
    assert steps.count == 2 * n_text + 1  # and then the end
    assert chunks


def test_streamed_text_is_not_ended_before_it_is_used_up(
    version: int, load_model: Callable[..., CosyVoiceModel]
) -> None:
    """Upstream raises "should not get token 6562" when version 3 wants to end early."""
    if version == 1:
        pytest.skip("version 1 takes no stream of text")
    model = load_model(version, rate=0.25)
    n_samples = sum(len(c.samples) for c in open_stream(model, iter(PIECES), voice="中文女"))
    n_text = len(model._official.text_tokens("".join(PIECES)))
    assert n_samples / 960 >= n_text // 5 * 15


def test_endless_speech_is_ended(version: int, load_model: Callable[..., CosyVoiceModel]) -> None:
    """Upstream has no limit at all where text is streamed."""
    if version == 1:
        pytest.skip("version 1 takes no stream of text")
    model = load_model(version, rate=1000.0)
    chunks = [chunk.samples for chunk in open_stream(model, iter([TEXT]), voice="中文女")]
    assert 2.0 < sum(map(len, chunks)) / model.sample_rate_hz < 20.0
    assert model.take_incidents() == {"too_long": 1}
    assert model.take_incidents() == {}


# --- Streamed text -----------------------------------------------------------------------------


def test_a_slow_text_is_heard_before_it_ends(version: int, model: CosyVoiceModel) -> None:
    if version == 1:
        assert not model.capabilities.text_stream
        with pytest.raises(ModelError, match="no stream of text"):
            open_stream(model, iter([TEXT]))
        return
    taken: list[str] = []

    def pieces() -> Iterator[str]:
        for piece in PIECES:
            taken.append(piece)
            yield piece

    chunks = open_stream(model, pieces())
    next(chunks)
    assert 0 < len(taken) < len(PIECES)
    for _ in chunks:
        pass
    assert len(taken) == len(PIECES)


def test_how_a_text_is_cut_does_not_matter(version: int, speak: SPEAK) -> None:
    if version == 1:
        pytest.skip("version 1 takes no stream of text")
    text = "".join(PIECES)
    cuts = (PIECES, tuple(text), (text,))
    sounds = [joined(speak(iter(pieces))) for pieces in cuts]
    for other in sounds[1:]:
        np.testing.assert_array_equal(other, sounds[0])


def test_streamed_text_with_an_instruction(version: int, speak: SPEAK) -> None:
    if version == 1:
        pytest.skip("version 1 takes no stream of text")
    assert speak(iter(PIECES), voice="clone", instruction="sad")


# --- Defect 12: the last chunk ----------------------------------------------------------------


def test_the_chunks_are_those_of_one_pass(version: int, model: CosyVoiceModel) -> None:
    """Upstream computes what it has played anew for the last chunk, and differently."""
    if version != 3:
        pytest.skip("only version 3's vocoder has no cross-fades")
    from models.cosyvoice.vocoding import CausalVocoder, FlowPrompt

    prompt = FlowPrompt(
        tokens=torch.arange(60, dtype=torch.int32).unsqueeze(0),
        mel=torch.randn(1, 120, 80, generator=torch.Generator().manual_seed(0)),
        embedding=torch.ones(1, 192),
    )
    tokens = list(range(200, 360))
    seed = np.random.SeedSequence(0)
    in_chunks = CausalVocoder(model._official.model, prompt, seed)
    chunks = []
    while in_chunks.tokens_needed <= len(tokens):
        chunks.append(in_chunks.next_chunk(tokens))
    chunks.append(in_chunks.last_chunk(tokens))
    at_once = CausalVocoder(model._official.model, prompt, seed)
    whole = at_once._sound(tokens, last=True, stream=True, token_offset=0)
    assert len(chunks) == 3
    np.testing.assert_allclose(joined(chunks), whole, atol=1e-5)


# --- Beside upstream ---------------------------------------------------------------------------


def test_chunks_are_upstream_s(
    version: int, model: CosyVoiceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a fresh model, that is: and but for the last chunk (defect 12)."""
    if version != 3:
        pytest.skip("versions 1 and 2 draw their noise from the process's generator")
    from models.cosyvoice.vocoding import CausalVocoder, FlowPrompt

    official = model._official.model
    monkeypatch.setattr(official, "token_hop_len", official.token_hop_len)
    prompt = FlowPrompt(
        tokens=torch.arange(50, dtype=torch.int32).unsqueeze(0),
        mel=torch.zeros(1, 100, 80),
        embedding=torch.ones(1, 192),
    )
    tokens = list(range(200, 330))
    theirs = [
        output["tts_speech"].numpy()[0]
        for output in official.tts(
            source_speech_token=torch.tensor([tokens], dtype=torch.int32),
            flow_prompt_speech_token=prompt.tokens,
            prompt_speech_feat=prompt.mel,
            flow_embedding=prompt.embedding,
            stream=True,
        )
    ]
    ours = CausalVocoder(official, prompt, np.random.SeedSequence(0))
    for samples in theirs[:-1]:
        np.testing.assert_array_equal(ours.next_chunk(tokens), samples)
    assert len(ours.last_chunk(tokens)) == len(theirs[-1])
    assert len(theirs) == 3


# --- Logging -----------------------------------------------------------------------------------


def test_upstream_s_messages_do_not_cost(version: int, speak: SPEAK) -> None:
    """Importing it sets the root logger to DEBUG, and streamed text is logged token by token."""
    import cosyvoice.llm.llm

    assert logging.getLogger().level > logging.DEBUG
    assert cosyvoice.llm.llm.logging is logging.getLogger("cosyvoice")
    assert not logging.getLogger("cosyvoice").isEnabledFor(logging.INFO)
