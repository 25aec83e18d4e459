"""Where streamed text, a prompt and speech stand in what the language model reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import END_OF_PROMPT_ID, TEXT, n_samples

from models.base import Samples
from models.cosyvoice.model import CosyVoiceModel
from models.cosyvoice.request_text import StreamedText

SPEAK = Callable[..., list[Samples]]
ENGLISH = "Hello, my dear world, how are you today?"


class Reading:
    """What a language model is given to read, as one letter per position: t for text, s for
    speech, and . for anything else.
    """

    def __init__(self, model: CosyVoiceModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        llm = model._official.model.llm
        self._tables = {
            "t": llm.llm.model.model.embed_tokens.weight,
            "s": llm.speech_embedding.weight[: llm.speech_token_size],
        }
        original = llm.llm.forward_one_step

        def forward_one_step(xs: torch.Tensor, masks: Any = None, cache: Any = None) -> Any:
            self.steps.append("".join(map(self._kind, xs[0])))
            return original(xs, masks, cache)

        monkeypatch.setattr(llm.llm, "forward_one_step", forward_one_step)

    def _kind(self, row: torch.Tensor) -> str:
        with torch.inference_mode():
            for kind, table in self._tables.items():
                if (table == row).all(dim=1).any():
                    return kind
        return "."


@pytest.fixture
def reading(version: int, model: CosyVoiceModel, monkeypatch: pytest.MonkeyPatch) -> Reading:
    if version == 1:
        pytest.skip("version 1 takes no stream of text")
    return Reading(model, monkeypatch)


@pytest.mark.parametrize("instruction", ["", "happy"])
def test_no_speech_is_decoded_before_there_is_text(
    version: int, speak: SPEAK, reading: Reading, instruction: str
) -> None:
    """Upstream has version 3 say 15 tokens of nothing first, where no speech is in the prompt."""
    speak(iter([TEXT * 2]), voice="silent", instruction=instruction)
    if version == 3:
        assert set(reading.steps[0]) == {".", "t"}  # the instruction, and no speech follows it
        assert reading.steps[1] == "ttttt"
        assert reading.steps[2:17] == ["s"] * 15
    else:
        assert reading.steps[:16] == [".ttttt", *["s"] * 15]


def test_a_short_text_keeps_the_whole_recording(
    model: CosyVoiceModel, speak: SPEAK, reading: Reading
) -> None:
    """Upstream drops what the text did not reach of it, and says the rest of the transcript."""
    chunks = speak(iter(["你"]), voice="clone")
    assert reading.steps[0].count("s") == 60
    assert reading.steps[0].endswith("t." + "s" * 60)
    n_text = len(model._official.text_tokens("你"))
    assert sum(map(len, chunks)) >= n_samples(2, 2 * n_text)


def test_text_that_reaches_the_end_of_the_recording_is_streamed(
    speak: SPEAK, reading: Reading
) -> None:
    speak(iter([TEXT * 6]), voice="clone")
    assert reading.steps[0].endswith(("t" * 5 + "s" * 15) * 4)
    assert reading.steps[1:16] == ["s"] * 15  # the fill after the last recorded turn
    assert reading.steps[16] == "ttttt"


@pytest.mark.parametrize("pieces", [(ENGLISH,), tuple(ENGLISH)], ids=["whole", "letters"])
def test_streamed_text_of_another_script_does_not_go_on_from_the_transcript(
    speak: SPEAK, reading: Reading, pieces: tuple[str, ...]
) -> None:
    """The Chinese recording would colour the English."""
    speak(iter(pieces), voice="clone")
    assert "s" not in reading.steps[0]


def test_the_begin_of_a_text_does_not_depend_on_its_pieces() -> None:
    def begin(*pieces: str) -> tuple[str, str]:
        text = StreamedText(iter(pieces), (), lambda text: list(map(ord, text)))
        return text.begin(), "".join(
            chr(token) for passage in text.passages() for token in passage.read(_Anything())
        )

    text = "[laughter]Hello, <strong>my</strong> dear world."
    assert begin(text) == begin(*text) == ("Hello, my dea", text)
    assert begin("Hi.") == ("Hi.", "Hi.")


class _Anything:
    def add_text(self, text: str, n_tokens: int) -> None:
        pass


# --- The end of speech -------------------------------------------------------------------------


def test_speech_that_misses_its_end_is_an_incident(
    version: int, load_model: Callable[..., CosyVoiceModel]
) -> None:
    """Upstream cuts it off at 20 tokens per text token, and takes it for a good one."""
    from models.base import SynthesisRequest

    model = load_model(version, rate=1000.0)
    request = SynthesisRequest(voice="中文女", seed=1)
    heard = sum(len(chunk.samples) for chunk in model.synthesize(request, TEXT))
    assert 2.0 < heard / model.sample_rate_hz < 10.0
    assert model.take_incidents() == {"too_long": 1}


def test_the_prompt_s_control_token_is_upstream_s(version: int, model: CosyVoiceModel) -> None:
    if version == 3:
        ids = model._official.text_tokens("You are a helpful assistant.<|endofprompt|>")
        assert ids[-1] == END_OF_PROMPT_ID
