"""What an installation needs, one check each; every check answers, whatever is broken."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec

from server.commands.check import Check
from server.commands.player import find_player
from server.settings import Settings, SettingsError, config_file, unknown_keys

LIBRARIES = {
    "starlette": "starlette",
    "python-multipart": "python_multipart",
    "uvicorn": "uvicorn",
    "uvloop": "uvloop",
    "httptools": "httptools",
    "websockets": "websockets",
    "msgspec": "msgspec",
    "pydantic-settings": "pydantic_settings",
    "numpy": "numpy",
    "av": "av",
    "soxr": "soxr",
    "espeakng-loader": "espeakng_loader",
    "wetext": "wetext",
    "pocketsphinx": "pocketsphinx",
    "prometheus-client": "prometheus_client",
    "structlog": "structlog",
    "cyclopts": "cyclopts",
    "httpx": "httpx",
    "httpx-sse": "httpx_sse",
    "wyoming": "wyoming",
    "psutil": "psutil",
}
"""Distribution and module of each dependency."""
ENCODERS = ("libmp3lame", "libopus", "aac", "flac")
_INSTALL = "install again: pip install --force-reinstall cosystream"
_LEAST_MEMORY_BYTES = 512 << 20
_GOOD_MEMORY_BYTES = 1 << 30
_FILES_PER_CONNECTION = 1
_OTHER_FILES = 128
_ANSWER_TIMEOUT_S = 3.0
_GPU_TIMEOUT_S = 20


def run_checks() -> Iterator[Check]:
    """Every check in turn, as it ends."""
    for name, check in _CHECKS:
        try:
            yield from check()
        except Exception as error:  # noqa: BLE001 - a broken library may raise anything at all
            yield Check(name, "fail", f"{type(error).__name__}: {error}", _INSTALL)


def _python() -> Iterator[Check]:
    version = platform.python_version()
    if sys.version_info < (3, 11):  # noqa: UP036 - `pip --ignore-requires-python` exists
        yield Check("python", "fail", version, "use Python 3.11 or newer")
    else:
        yield Check("python", "ok", f"{version} at {sys.executable}")


def _libraries() -> Iterator[Check]:
    versions, broken = [], []
    for distribution, module in LIBRARIES.items():
        try:
            importlib.import_module(module)
            versions.append(f"{distribution} {importlib.metadata.version(distribution)}")
        except (ImportError, OSError) as error:
            broken.append(f"{distribution}: {error}")
    if broken:
        yield Check("libraries", "fail", "; ".join(broken), _INSTALL)
    else:
        yield Check("libraries", "ok", ", ".join(versions))


def _espeak() -> Iterator[Check]:
    from models.base import ModelError, SynthesisRequest  # noqa: PLC0415 - must be able to fail
    from models.espeak import EspeakModel  # noqa: PLC0415

    model = EspeakModel()
    try:
        request = SynthesisRequest(voice="中文女")
        samples = sum(len(chunk.samples) for chunk in model.synthesize(request, "你好"))
    except ModelError as error:
        yield Check("embedded model", "fail", error.message, _INSTALL)
        return
    finally:
        model.close()
    if samples == 0:
        yield Check("embedded model", "fail", "it speaks no sound", _INSTALL)
        return
    length_s = samples / model.sample_rate_hz
    yield Check("embedded model", "ok", f"espeak-ng spoke {length_s:.2f} s for 你好")


def _encoders() -> Iterator[Check]:
    import av  # noqa: PLC0415 - must be able to fail
    from av.codec.codec import UnknownCodecError  # noqa: PLC0415

    missing = []
    for name in ENCODERS:
        try:
            av.Codec(name, "w")
        except UnknownCodecError:
            missing.append(name)
    if missing:
        detail = f"PyAV {av.__version__} has no {', '.join(missing)}"
        yield Check("audio encoders", "fail", detail, "install PyAV's own wheel: pip install av")
    else:
        yield Check("audio encoders", "ok", f"PyAV {av.__version__}: {', '.join(ENCODERS)}")


def _normalizer() -> Iterator[Check]:
    from wetext import Normalizer  # noqa: PLC0415 - must be able to fail

    spoken = Normalizer(lang="zh", operator="tn").normalize("3.14")
    if "三点一四" in spoken:
        yield Check("text normaliser", "ok", f"wetext reads 3.14 as {spoken}")
    else:
        yield Check("text normaliser", "fail", f"wetext reads 3.14 as {spoken!r}", _INSTALL)


def _settings() -> Iterator[Check]:
    where = str(config_file() or "no settings file")
    try:
        settings = Settings.load()
    except SettingsError as error:
        yield Check("settings", "fail", str(error), "correct it; see docs/operations.md")
        return
    unknown = unknown_keys()
    if unknown:
        yield Check("settings", "warn", "; ".join(unknown), "correct or remove it")
    else:
        models = ", ".join(model.name for model in settings.models)
        yield Check("settings", "ok", f"{where}; models: {models}")


def _voices() -> Iterator[Check]:
    from server.speech.voice_store import DIRECTORY_NAME, VoiceStore  # noqa: PLC0415 - likewise

    found: list[str] = []
    directory = _settings_or_defaults().data_path / DIRECTORY_NAME
    store = VoiceStore(directory, tell=lambda one: found.append(f"{one.id}: {one.reason}"))
    store.load()
    if found:
        advice = f"bring them back from a backup, or delete them from {directory}"
        yield Check("cloned voices", "warn", "; ".join(found), advice)
    else:
        yield Check("cloned voices", "ok", f"{len(store.voices)} in {directory}")


def _port() -> Iterator[Check]:
    settings = _settings_or_defaults()
    address = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            failure = error
        else:
            yield Check("port", "ok", f"{address} is free")
            return
    version = _version_at(settings.host, settings.port)
    if version is not None:
        yield Check("port", "ok", f"CosyStream {version} answers at {address}")
    else:
        reason = failure.strerror or str(failure)
        yield Check("port", "fail", f"{address}: {reason}", "choose another: serve --port N")


def _version_at(host: str, port: int) -> str | None:
    """The version of the CosyStream that answers there, None if something else does."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound here
    host = f"[{host}]" if ":" in host else host
    try:
        answer = httpx.get(
            f"http://{host}:{port}/healthz", timeout=_ANSWER_TIMEOUT_S, trust_env=False
        )
        found = msgspec.json.decode(answer.content, type=dict[str, Any])
    except (httpx.HTTPError, msgspec.MsgspecError):
        return None
    return str(found["version"]) if "version" in found else None


def _gpu() -> Iterator[Check]:
    program = shutil.which("nvidia-smi")
    if program is None:
        yield Check("gpu", "ok", "no NVIDIA driver; the embedded model needs none")
        return
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        result = subprocess.run(  # noqa: S603 - a fixed command
            query, capture_output=True, text=True, timeout=_GPU_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        yield Check("gpu", "warn", "nvidia-smi does not answer", "look at the driver: dmesg")
        return
    if result.returncode != 0:
        reason = (result.stdout + result.stderr).strip().splitlines()
        detail = reason[-1] if reason else f"nvidia-smi exit code {result.returncode}"
        yield Check("gpu", "warn", detail, "reload or update the driver")
        return
    yield Check("gpu", "ok", "; ".join(result.stdout.strip().splitlines()))


def _neural() -> Iterator[Check]:
    # Not sooner: it reads what may be broken.
    from server.commands.neural_checks import neural_checks  # noqa: PLC0415

    yield from neural_checks(_settings_or_defaults())


def _memory() -> Iterator[Check]:
    import psutil  # noqa: PLC0415 - must be able to fail

    available = psutil.virtual_memory().available
    detail = f"{available / (1 << 30):.1f} GiB available"
    if available < _LEAST_MEMORY_BYTES:
        yield Check("memory", "fail", detail, "a server with one worker needs 512 MiB")
    elif available < _GOOD_MEMORY_BYTES:
        yield Check("memory", "warn", detail, "little for more than one worker")
    else:
        yield Check("memory", "ok", detail)


def _open_files() -> Iterator[Check]:
    import resource  # noqa: PLC0415 - POSIX only

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _settings_or_defaults().max_connections * _FILES_PER_CONNECTION + _OTHER_FILES
    if limit < needed:
        advice = f"raise it (ulimit -n {needed}) or lower max_connections"
        yield Check("open files", "warn", f"limit {limit}, {needed} may be needed", advice)
    else:
        yield Check("open files", "ok", f"limit {limit}")


def _player() -> Iterator[Check]:
    player = find_player()
    if player is not None:
        yield Check("player", "ok", player.path)
    else:
        yield Check("player", "ok", "none; `say` and `pipe` write files here")


def _settings_or_defaults() -> Settings:
    """Settings, or their defaults while the real ones are broken, which another check tells."""
    try:
        return Settings.load()
    except SettingsError:
        return Settings.model_construct()


_CHECKS: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
    ("python", _python),
    ("libraries", _libraries),
    ("embedded model", _espeak),
    ("audio encoders", _encoders),
    ("text normaliser", _normalizer),
    ("settings", _settings),
    ("cloned voices", _voices),
    ("port", _port),
    ("gpu", _gpu),
    ("neural models", _neural),
    ("memory", _memory),
    ("open files", _open_files),
    ("player", _player),
)
