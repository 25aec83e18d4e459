"""Imports the official package and builds its model for a checkpoint.

The official classes `CosyVoice`, `CosyVoice2` and `CosyVoice3` are not used: they load everything
that a checkpoint's configuration names, training and text normalisers included. What they are made
of is: `CosyVoiceModel` and its kin, and `CosyVoiceFrontEnd`.
"""

from __future__ import annotations

import importlib
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from models.base import ModelError
from models.cosyvoice import shims
from models.cosyvoice.acceleration import accelerate
from models.cosyvoice.checkpoint import Checkpoint, check_yaml_tags
from models.cosyvoice.engine_options import EngineOptions
from models.cosyvoice.sampling import SamplingRule, SpeechVocabulary
from models.cosyvoice.steps import install_steps

_MODEL_CLASSES = {1: "CosyVoiceModel", 2: "CosyVoice2Model", 3: "CosyVoice3Model"}
_NEEDED = frozenset({"sample_rate", "llm", "flow", "hift", "get_tokenizer", "feat_extractor"})
"""What speech needs of a configuration; `allowed_special` is a plain value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Official:
    """A loaded model of the official package."""

    version: int
    model: Any
    """`cosyvoice.cli.model.CosyVoiceModel`, `CosyVoice2Model` or `CosyVoice3Model`."""
    front_end: Any
    """`cosyvoice.cli.frontend.CosyVoiceFrontEnd`."""
    device: torch.device
    sample_rate_hz: int
    token_rate_hz: int
    text_vocabulary: int
    vocabulary: SpeechVocabulary
    sampling: SamplingRule
    silent_tokens: frozenset[int]
    """Of which upstream lets pass only so many in a row."""
    fp16: bool
    vllm: bool
    _tokenizing: threading.Lock = field(default_factory=threading.Lock)

    def text_tokens(self, text: str) -> list[int]:
        """`text` in the ids of the version's tokenizer, control tokens included.

        Raises:
            ModelError: `failed`, the language model does not know one of them.
        """
        encode = self.front_end.tokenizer.encode
        with self._tokenizing:  # Hugging Face's tokenizers raise when two threads use one at once
            ids = list(encode(text, allowed_special=self.front_end.allowed_special))
        if max(ids, default=0) >= self.text_vocabulary:
            # On CUDA it would break the process.
            raise ModelError("failed", "the checkpoint's tokenizer is not its language model's")
        return ids

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """What the tokenizer of versions 2 and 3 knows besides words."""
        special = getattr(self.front_end.tokenizer, "special_tokens", {})
        return tuple(special.get("additional_special_tokens", ())) if self.version != 1 else ()


def load_official(checkpoint: Checkpoint, options: EngineOptions) -> Official:
    """Import the official package and load `checkpoint` with it.

    Raises:
        ModelError: the package is missing or too old, the weights do not fit the configuration, or
            an option cannot be had.
    """
    options.check_machine(checkpoint, cuda=torch.cuda.is_available())
    with shims.quiet_import(), shims.without_text_front_ends():
        classes = import_package(options.home)
        model_class = getattr(classes, _MODEL_CLASSES[checkpoint.version], None)
        if model_class is None:
            raise ModelError(
                "unsupported",
                f"this copy of the official package does not know version {checkpoint.version}: "
                "set COSYSTREAM_COSYVOICE_HOME to a newer checkout",
            )
        configuration = _build_configuration(checkpoint)
        model = _load_weights(model_class, configuration, checkpoint, options)
        front_end = _build_front_end(configuration, checkpoint)
        accelerate(model, checkpoint, options)
    return _official(checkpoint, options, model, front_end)


def _official(
    checkpoint: Checkpoint,
    options: EngineOptions,
    model: Any,  # noqa: ANN401 - upstream has no types
    front_end: Any,  # noqa: ANN401
) -> Official:
    llm = model.llm
    device = model.device
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
        _move_tables(model, device)
    if checkpoint.version != 1 and not options.vllm:
        install_steps(llm)
    if checkpoint.version == 3:  # noqa: PLR2004
        # Upstream converts it in each call; two streams' first calls would meet in it.
        model.hift.f0_predictor.to(torch.float64)
    for name in ("mel_window", "speech_window"):
        if hasattr(model, name):
            # Upstream multiplies tensors by an array, which NumPy is about to end.
            setattr(model, name, torch.as_tensor(getattr(model, name)))
    return Official(
        version=checkpoint.version,
        model=model,
        front_end=front_end,
        device=device,
        sample_rate_hz=checkpoint.sample_rate_hz,
        token_rate_hz=checkpoint.token_rate_hz,
        text_vocabulary=checkpoint.text_vocabulary,
        vocabulary=SpeechVocabulary.of_version(
            checkpoint.version, llm.speech_token_size, llm.llm_decoder.out_features
        ),
        sampling=_sampling_rule(llm.sampling),
        silent_tokens=frozenset(getattr(model, "silent_tokens", ())),
        fp16=options.fp16,
        vllm=options.vllm,
    )


def import_package(home: Path | None) -> Any:  # noqa: ANN401
    """Import the official package from a checkout, or wherever it is installed.

    To be called with `shims.quiet_import` and `shims.without_text_front_ends` in force.

    Returns:
        Its module `cosyvoice.cli.model`.

    Raises:
        ModelError: `failed`, it is missing, incomplete, or another copy came in its place.
    """
    if home is not None:
        _put_on_path(home)
    try:
        shims.repair_torchaudio()
        shims.lighten_matcha()
        classes = importlib.import_module("cosyvoice.cli.model")
    except ImportError as error:
        raise ModelError("failed", f"the official package cannot be imported: {error}") from error
    if home is not None and not Path(classes.__file__ or "").is_relative_to(home.resolve()):
        raise ModelError("failed", f"the official package was imported from {classes.__file__}")
    return classes


def _put_on_path(home: Path) -> None:
    home = home.resolve()
    if not (home / "cosyvoice" / "cli" / "model.py").is_file():
        raise ModelError("failed", f"{home} is no checkout of the official package")
    for place in (home / "third_party" / "Matcha-TTS", home):
        if str(place) not in sys.path:
            sys.path.insert(0, str(place))


def _move_tables(model: Any, device: torch.device) -> None:  # noqa: ANN401
    """Move what upstream copies to the device anew for each chunk (defect 15)."""
    sine = getattr(getattr(model.hift, "m_source", None), "l_sin_gen", None)
    for owner, name in (
        (model.flow.decoder, "rand_noise"),
        (model.hift, "stft_window"),
        (sine, "rand_ini"),
        (sine, "sine_waves"),
    ):
        if isinstance(table := getattr(owner, name, None), torch.Tensor):
            setattr(owner, name, table.to(device))


def _build_configuration(checkpoint: Checkpoint) -> dict[str, Any]:
    from hyperpyyaml import load_hyperpyyaml  # noqa: PLC0415 - slow, and not for the front
    from ruamel.yaml import YAML  # noqa: PLC0415

    text = check_yaml_tags(checkpoint.yaml_path)
    overrides: dict[str, Any] = {}
    for key, value in YAML(typ="safe").compose(text).value:
        if key.value not in _NEEDED and _is_built(value):
            overrides[key.value] = None  # training: discriminators, data loading
    if checkpoint.version != 1:
        overrides["qwen_pretrain_path"] = str(checkpoint.blank_model_path)
    configuration: dict[str, Any] = load_hyperpyyaml(text, overrides=overrides)
    return configuration


def _is_built(node: Any) -> bool:  # noqa: ANN401
    """A YAML node makes or names something of Python, or lists things that may."""
    tag = str(node.tag or "")
    return tag.startswith(("!new:", "!name:")) or node.id == "sequence"


def _load_weights(
    model_class: Any,  # noqa: ANN401
    configuration: dict[str, Any],
    checkpoint: Checkpoint,
    options: EngineOptions,
) -> Any:  # noqa: ANN401
    # From version 5 on, transformers makes the language model bfloat16, and loading would round.
    llm = configuration["llm"].float()
    model = model_class(llm, configuration["flow"], configuration["hift"], options.fp16)
    try:
        model.load(*(str(checkpoint.directory / f"{name}.pt") for name in ("llm", "flow", "hift")))
    except RuntimeError as error:
        raise ModelError(
            "failed", f"{checkpoint.directory}: the weights do not fit the configuration: {error}"
        ) from error
    return model


def _build_front_end(configuration: dict[str, Any], checkpoint: Checkpoint) -> Any:  # noqa: ANN401
    front_end = importlib.import_module("cosyvoice.cli.frontend").CosyVoiceFrontEnd
    directory = checkpoint.directory
    # Preset voices are not read here: `models.cosyvoice.speakers` knows all their layouts.
    return front_end(
        configuration["get_tokenizer"],
        configuration["feat_extractor"],
        str(directory / "campplus.onnx"),
        str(directory / f"speech_tokenizer_v{checkpoint.version}.onnx"),
        "",
        configuration["allowed_special"],
    )


def _sampling_rule(sampling: Any) -> SamplingRule:  # noqa: ANN401
    """The rule that a configuration names: a `functools.partial` of `ras_sampling`."""
    function = getattr(sampling, "func", sampling)
    if function.__name__ != "ras_sampling":
        raise ModelError("unsupported", f"sampling by {function.__name__} is not known here")
    try:
        return SamplingRule(**getattr(sampling, "keywords", {}))
    except TypeError as error:
        raise ModelError("unsupported", f"ras_sampling: {error}") from error
