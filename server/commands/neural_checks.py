"""What the configured neural models need: checkpoints, the environment, the official package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from server.commands.check import Check
from server.commands.environment_report import EnvironmentReport, EnvironmentReportError, ask
from server.cosyvoice_parts import find_home, find_interpreter, model_directory
from server.model_kinds import (
    CosyVoiceEngine,
    check_options,
    checkpoint_directory,
    engine_of,
    open_checkpoint,
)
from server.releases import RELEASES
from server.settings import ModelSettings, Settings, SettingsError


def neural_checks(settings: Settings) -> Iterator[Check]:
    """Check every configured CosyVoice model, then what they share.

    Problems carry their remedies, as `serve` would tell them.
    """
    neural = []
    for model in settings.models:
        try:
            directory = checkpoint_directory(model, settings)
        except SettingsError as error:
            yield Check(f"model {model.name}", "fail", str(error))
            continue
        if directory is not None:
            neural.append(model)
            yield _checkpoint(model, settings, directory)
    if not neural:
        yield _unused(settings)
        return
    places: dict[tuple[CosyVoiceEngine, str, str], list[str]] = {}
    for model in neural:
        try:
            engine = engine_of(model, settings)
        except SettingsError:
            continue  # has been told as the model's own check
        key = (engine, model.interpreter, str(model.options.get("home") or ""))
        places.setdefault(key, []).append(model.name)
    for (engine, interpreter, home), names in places.items():
        yield from _environment(settings, engine, interpreter, home, names)


def _unused(settings: Settings) -> Check:
    found = [name for name in RELEASES if model_directory(settings, name).is_dir()]
    if found:
        advice = f"serve --model {found[0]}"
        return Check(
            "neural models", "ok", f"downloaded, not configured: {', '.join(found)}", advice
        )
    detail = "none configured; they begin with `cosystream setup cosyvoice --clone`"
    return Check("neural models", "ok", detail)


def _checkpoint(model: ModelSettings, settings: Settings, directory: Path) -> Check:
    name = f"model {model.name}"
    try:
        engine = engine_of(model, settings)
        check_options(model, engine)
        checkpoint = open_checkpoint(model, directory, engine)
    except SettingsError as error:
        return Check(name, "fail", str(error))
    voices = len(checkpoint.speakers)
    detail = f"CosyVoice {checkpoint.version} in {directory}, {voices} voices of its own"
    if not voices:
        advice = "it speaks with cloned voices: cosystream voices add NAME AUDIO --text ..."
        return Check(name, "ok", detail, advice)
    return Check(name, "ok", detail)


def _environment(
    settings: Settings, engine: CosyVoiceEngine, named: str, named_home: str, names: list[str]
) -> Iterator[Check]:
    kind = "native engine" if engine == "native" else "cosyvoice"
    name = kind if not (named or named_home) else f"{kind} for {', '.join(names)}"
    home: Path | None = None
    try:
        interpreter = find_interpreter(settings, named)
        if engine == "official":
            home = find_home(settings, interpreter, named_home)
        report = ask(interpreter, home, official=engine == "official")
    except SettingsError as error:
        yield Check(name, "fail", str(error))
        return
    except EnvironmentReportError as error:
        yield Check(
            name, "fail", f"{interpreter}: {error}", "make it anew: cosystream setup cosyvoice"
        )
        return
    problem = report.native_problem if engine == "native" else report.problem
    if problem:
        advice = "cosystream setup cosyvoice"
        yield Check(name, "fail", f"{interpreter}: {problem}", advice)
        return
    package = f"; official package in {home or 'the environment'}" if engine == "official" else ""
    yield Check(name, "ok", f"{report.summary}{package}")
    yield _processor(report)


def _processor(report: EnvironmentReport) -> Check:
    """Whether torch sees what the driver has."""
    name = "cosyvoice gpu"
    if report.gpus:
        return Check(name, "ok", f"torch sees {', '.join(report.gpus)}")
    if shutil.which("nvidia-smi") is None:
        detail = "none; on a CPU, speech is computed more slowly than it is heard"
        return Check(name, "warn", detail, "use a machine with an NVIDIA GPU")
    if not report.cuda_build:
        detail = "torch was built without CUDA, and sees no GPU"
        return Check(name, "warn", detail, "install the other: cosystream setup cosyvoice")
    detail = f"torch, built for CUDA {report.cuda_build}, sees no GPU"
    return Check(
        name, "warn", detail, "update the driver, or: cosystream setup cosyvoice --cuda 12"
    )
