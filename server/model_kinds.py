"""What can be hosted: from an operator's `ModelSettings` to what the pool runs.

`ModelSettings.kind` is one of

* `espeak`, the embedded model;
* `cosyvoice`, with `options.directory` naming a checkpoint of any official version;
* the name of a checkpoint that `cosystream download` has fetched, `cosyvoice2`;
* the directory of a checkpoint itself;
* an import path, `package.module:Class`, of any `models.base.SpeechModel`.

A CosyVoice checkpoint is computed by the official package or by this project's own engine, as
`options.engine` or the setting `cosyvoice_engine` says: `official` or `native`. It is looked
through here, before anything is started, so that what is missing is said at once and with its
remedy.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from models.cosyvoice.checkpoint import Checkpoint, CheckpointError
from models.cosyvoice.engine_options import EngineOptions
from models.native.options import NativeOptions
from server.cosyvoice_parts import find_home, find_interpreter, model_directory
from server.pool.options import ModelInfo, ModelSpec
from server.releases import RELEASES
from server.settings import ModelSettings, Settings, SettingsError

FACTORIES = {"espeak": "models.espeak:EspeakModel"}
"""Built-in models that run under the server's own Python."""
COSYVOICE_FACTORY = "models.cosyvoice.model:CosyVoiceModel"
NATIVE_FACTORY = "models.native.model:NativeModel"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""A worker has all its files, or says which it lacks; it asks no hub."""
_DEFAULT_WORKERS = 2
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


CosyVoiceEngine: TypeAlias = Literal["official", "native"]


class _SharedOptions(msgspec.Struct, kw_only=True):
    """Options of a CosyVoice model, whatever computes it."""

    engine: CosyVoiceEngine | None = None
    directory: str = ""
    devices: Any = None
    """See `_devices`."""
    slots: Annotated[int, msgspec.Meta(ge=1)] | None = None
    run_ahead_s: Annotated[float, msgspec.Meta(gt=0)] | None = None


class _OfficialOptions(_SharedOptions, kw_only=True):
    """Options for the official package besides those of `EngineOptions`."""

    home: str = ""
    variant: str | None = None


_OPTIONS: dict[CosyVoiceEngine, tuple[type[_SharedOptions], type[EngineOptions | NativeOptions]]]
_OPTIONS = {
    "official": (_OfficialOptions, EngineOptions),
    "native": (_SharedOptions, NativeOptions),
}


def model_spec(model: ModelSettings, settings: Settings) -> ModelSpec:
    """A model's settings as the pool takes them.

    Raises:
        SettingsError: the kind is unknown, or a part of the model is missing or damaged.
    """
    directory = checkpoint_directory(model, settings)
    if directory is not None:
        return _cosyvoice(model, settings, directory)
    factory = FACTORIES.get(model.kind, model.kind)
    if ":" not in factory:
        raise SettingsError(
            f"model {model.name!r}: {model.kind!r} is no model; it can be espeak, a checkpoint's "
            f"directory, package.module:Class, or a downloaded one of {', '.join(RELEASES)}"
        )
    if model.load == "lazy":
        # Its voices are not known before it has run once.
        raise SettingsError(f'model {model.name!r}: load = "lazy" is for CosyVoice checkpoints')
    return ModelSpec(
        name=model.name,
        factory=factory,
        options=model.options,
        workers=model.workers or min(_DEFAULT_WORKERS, os.cpu_count() or 1),
        interpreter=model.interpreter,
        environment=model.environment,
        max_requests=model.max_requests,
        max_rss_bytes=model.max_rss_bytes,
        warm_up=model.warm_up,
        idle_unload_s=model.idle_unload_s,
    )


def checkpoint_directory(model: ModelSettings, settings: Settings) -> Path | None:
    """Where a CosyVoice model's checkpoint lies; None if the model is none.

    Raises:
        SettingsError: the directory is not named, or twice.
    """
    named = model.options.get("directory")
    if model.kind == "cosyvoice":
        if not isinstance(named, str) or not named:
            raise SettingsError(
                f"model {model.name!r}: options.directory has to name a checkpoint's directory"
            )
        return Path(named).expanduser().absolute()
    path = Path(model.kind).expanduser()
    if model.kind in FACTORIES:
        return None
    if model.kind in RELEASES:
        path = model_directory(settings, model.kind)
    elif "/" not in model.kind and not path.is_dir():
        return None
    if named is not None:
        raise SettingsError(
            f'model {model.name!r}: options.directory goes with kind = "cosyvoice" only'
        )
    return path.absolute()


def open_checkpoint(
    model: ModelSettings, directory: Path, engine: CosyVoiceEngine = "official"
) -> Checkpoint:
    """Look a checkpoint through.

    Raises:
        SettingsError: a file is missing or damaged, or it is no checkpoint of what the engine
            computes.
    """
    try:
        checkpoint = Checkpoint.open(directory, variant=model.options.get("variant"))
    except CheckpointError as error:
        advice = ""
        if model.kind in RELEASES:
            advice = f" (get it: cosystream download {model.kind})"
        raise SettingsError(f"model {model.name!r}: {error}{advice}") from None
    if engine == "native" and checkpoint.version == 1:
        raise SettingsError(
            f'model {model.name!r}: {directory} is of version 1, which needs engine = "official"'
        )
    return checkpoint


def engine_of(model: ModelSettings, settings: Settings) -> CosyVoiceEngine:
    """What computes a CosyVoice model.

    Raises:
        SettingsError: the model names something else.
    """
    named = model.options.get("engine", settings.cosyvoice_engine)
    for engine in _OPTIONS:
        if named == engine:
            return engine
    raise SettingsError(
        f"model {model.name!r}: options.engine is {named!r}; it can be {' or '.join(_OPTIONS)}"
    )


def _cosyvoice(model: ModelSettings, settings: Settings, directory: Path) -> ModelSpec:
    engine = engine_of(model, settings)
    check_options(model, engine)
    checkpoint = open_checkpoint(model, directory, engine)
    options = {"name": model.name, **model.options, "directory": str(directory)}
    options.pop("engine", None)
    devices = _devices(model.name, options)
    interpreter = find_interpreter(settings, model.interpreter)
    if engine == "official":
        home = find_home(settings, interpreter, options.pop("home", ""))
        options["home"] = str(home) if home else ""
    return ModelSpec(
        name=model.name,
        factory=COSYVOICE_FACTORY if engine == "official" else NATIVE_FACTORY,
        options=options,
        workers=(model.workers or 1) * max(len(devices), 1),
        interpreter=str(interpreter),
        environment={**OFFLINE, **model.environment},
        worker_options=tuple({"device": device} for device in devices),
        max_requests=model.max_requests,
        max_rss_bytes=model.max_rss_bytes,
        warm_up=model.warm_up,
        lazy=model.load == "lazy",
        idle_unload_s=model.idle_unload_s,
        info=_info(model, checkpoint),
    )


def _info(model: ModelSettings, checkpoint: Checkpoint) -> ModelInfo:
    """What can be told of it without loading it; a worker will report the same."""
    described = checkpoint.describe(
        model.name,
        slots=model.options.get("slots") or 1,
        text_stream=not model.options.get("vllm", False),
    )
    return ModelInfo(
        name=described.name,
        sample_rate_hz=described.sample_rate_hz,
        capabilities=described.capabilities,
        voices=described.voices,
    )


def check_options(model: ModelSettings, engine: CosyVoiceEngine = "official") -> None:
    """Find here what a worker would fail of, again and again.

    Raises:
        SettingsError: an option does not exist, or the options do not fit together.
    """
    general, special = _OPTIONS[engine]
    special_names = {field.name for field in dataclasses.fields(special)}
    known = {*special_names, *general.__struct_fields__}
    for name in model.options:
        if name not in known:
            raise SettingsError(
                f"model {model.name!r}: options.{name} {_why_unknown(name, engine, known)}"
            )
    chosen = {key: value for key, value in model.options.items() if key in special_names}
    if engine == "official":
        chosen["home"] = None
    try:
        msgspec.convert(model.options, general)
        msgspec.convert(chosen, special).check_values()
    except (ValueError, msgspec.ValidationError) as error:
        raise SettingsError(f"model {model.name!r}: options: {error}") from None


def _why_unknown(name: str, engine: CosyVoiceEngine, known: set[str]) -> str:
    for other, (general, special) in _OPTIONS.items():
        names = {field.name for field in dataclasses.fields(special)}
        if name in {*names, *general.__struct_fields__}:
            return f'goes with engine = "{other}" only, and it is "{engine}"'
    near = difflib.get_close_matches(name, known, n=1)
    return f"does not exist; did you mean {near[0]!r}?" if near else "does not exist"


def _devices(model: str, options: dict[str, Any]) -> Sequence[str]:
    """Take `devices` out of the options; each gets the model's `workers`.

    Raises:
        SettingsError: it is no list of devices.
    """
    devices: Any = options.pop("devices", [])
    if not isinstance(devices, list) or not all(
        isinstance(device, str) and _DEVICE.fullmatch(device) for device in devices
    ):
        raise SettingsError(
            f'model {model!r}: options.devices is a list such as ["cuda:0", "cuda:1"] or ["cpu"]'
        )
    if devices and "device" in options:
        raise SettingsError(
            f"model {model!r}: options.device and options.devices exclude each other"
        )
    return devices
