"""Sees that a checkpoint's YAML file builds what official files build, and nothing else.

hyperpyyaml, which upstream reads these files with, builds any object that a file names. A tag is
not the only way to that: a plain value in brackets is parsed again by PyYAML's unsafe loader
(`!tuple`), a reference with a dot reads an attribute, and a name such as
`cosyvoice.utils.common.random._os.system` stands under a harmless package. So names are compared
whole, with those of upstream's configurations over its history (git log of `examples/`), and values
are kept to forms that mean the same to both of the parsers that hyperpyyaml puts to use.

Runs where ruamel.yaml and PyYAML are, in the worker, before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from models.cosyvoice.errors import CheckpointError

_MAX_BYTES = 256 << 10
_MAX_DEPTH = 32
_APPLY = ("random.seed", "numpy.random.seed", "torch.manual_seed", "torch.cuda.manual_seed_all")
_CLASSES = (
    "cosyvoice.flow.DiT.dit.DiT",
    "cosyvoice.flow.decoder.CausalConditionalDecoder",
    "cosyvoice.flow.decoder.ConditionalDecoder",
    "cosyvoice.flow.flow.CausalMaskedDiffWithDiT",
    "cosyvoice.flow.flow.CausalMaskedDiffWithXvec",
    "cosyvoice.flow.flow.MaskedDiffWithXvec",
    "cosyvoice.flow.flow_matching.CausalConditionalCFM",
    "cosyvoice.flow.flow_matching.ConditionalCFM",
    "cosyvoice.flow.length_regulator.InterpolateRegulator",
    "cosyvoice.hifigan.discriminator.MultiResSpecDiscriminator",
    "cosyvoice.hifigan.discriminator.MultiResolutionDiscriminator",
    "cosyvoice.hifigan.discriminator.MultipleDiscriminator",
    "cosyvoice.hifigan.f0_predictor.CausalConvRNNF0Predictor",
    "cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor",
    "cosyvoice.hifigan.generator.CausalHiFTGenerator",
    "cosyvoice.hifigan.generator.HiFTGenerator",
    "cosyvoice.hifigan.hifigan.HiFiGan",
    "cosyvoice.llm.llm.CosyVoice3LM",
    "cosyvoice.llm.llm.Qwen2Encoder",
    "cosyvoice.llm.llm.Qwen2LM",
    "cosyvoice.llm.llm.TransformerLM",
    "cosyvoice.transformer.encoder.ConformerEncoder",
    "cosyvoice.transformer.encoder.TransformerEncoder",
    "cosyvoice.transformer.upsample_encoder.PreLookaheadLayer",
    "cosyvoice.transformer.upsample_encoder.UpsampleConformerEncoder",
    "matcha.hifigan.models.MultiPeriodDiscriminator",
    "omegaconf.DictConfig",
)
_FUNCTIONS = (
    *(
        f"cosyvoice.dataset.processor.{step}"
        for step in (
            "batch", "compute_f0", "compute_fbank", "compute_whisper_fbank", "filter", "padding",
            "parquet_opener", "parse_embedding", "resample", "shuffle", "sort", "tokenize",
            "truncate",
        )
    ),
    "cosyvoice.tokenizer.tokenizer.get_qwen_tokenizer",
    "cosyvoice.tokenizer.tokenizer.get_tokenizer",
    "cosyvoice.utils.common.ras_sampling",
    "matcha.utils.audio.mel_spectrogram",
    "torchaudio.functional.compute_kaldi_pitch",
    "whisper.tokenizer.get_tokenizer",
)  # fmt: skip
_TAGS = frozenset(
    [
        "!ref",
        *(f"!apply:{name}" for name in _APPLY),
        *(f"!new:{name}" for name in _CLASSES),
        *(f"!name:{name}" for name in _FUNCTIONS),
    ]
)
_REFERENCE = re.compile(r"<\w+>(\s*[-+*/]\s*(<\w+>|\d+))*")
_ODD_CHARACTERS = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_ENDS_OF_ONE_PARSER = re.compile("[\x85\u2028\u2029\ufeff]")


def check_yaml_tags(path: Path) -> str:
    """Check a checkpoint's YAML file.

    Returns:
        Its text, which is what may be given to hyperpyyaml: the file might change meanwhile.

    Raises:
        CheckpointError: it would build something that official files do not, or is no YAML.
        OSError: it cannot be read.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise CheckpointError(f"{path}: is too big for a configuration")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise CheckpointError(f"{path}: is no UTF-8 text; fetch it again") from None
    if _ODD_CHARACTERS.search(text) or _LINE_ENDS_OF_ONE_PARSER.search(text):
        raise CheckpointError(f"{path}: has control characters")
    for events in (_ruamel_events(text, path), _pyyaml_events(text, path)):
        _check_events(events, path)
    return text


def _ruamel_events(text: str, path: Path) -> Iterator[object]:
    from ruamel.yaml import YAML  # noqa: PLC0415 - the front has no ruamel.yaml
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        yield from YAML().parse(text)
    except YAMLError as error:
        raise CheckpointError(f"{path}: is no YAML: {error}") from None


def _pyyaml_events(text: str, path: Path) -> Iterator[object]:
    import yaml  # noqa: PLC0415 - nor PyYAML

    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise CheckpointError(f"{path}: is no YAML: {error}") from None


def _check_events(events: Iterator[object], path: Path) -> None:
    depth = documents = 0
    for event in events:
        kind = type(event).__name__
        documents += kind == "DocumentStartEvent"
        depth += kind.endswith("StartEvent")
        depth -= kind.endswith("EndEvent")
        if documents > 1 or getattr(event, "version", None) or getattr(event, "tags", None):
            raise CheckpointError(f"{path}: has several documents, or directives")
        if kind == "AliasEvent" or getattr(event, "anchor", None):
            raise CheckpointError(f"{path}: has anchors, which official files do without")
        if depth > _MAX_DEPTH:
            raise CheckpointError(f"{path}: is nested too deeply")
        _check_tag(getattr(event, "tag", None), path)
        _check_value(getattr(event, "value", None), path)


def _check_tag(tag: object, path: Path) -> None:
    if tag is not None and str(tag) not in _TAGS:
        raise CheckpointError(
            f"{path}: would build {tag}, which no official checkpoint does; "
            "do not use it unless you know where it comes from"
        )


def _check_value(value: object, path: Path) -> None:
    if not isinstance(value, str):
        return
    if value.startswith("(") or ("<" in value and not _REFERENCE.fullmatch(value)):
        raise CheckpointError(f"{path}: has the value {value[:80]!r}, which hyperpyyaml would run")
