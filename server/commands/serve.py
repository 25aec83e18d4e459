"""`cosystream serve`: run the server."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import structlog
from cyclopts import Parameter

from server.settings import ModelSettings, Settings, SettingsError, unknown_keys

_log = structlog.get_logger(__name__)


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    model: Annotated[list[str] | None, Parameter(negative="")] = None,
    token: Annotated[list[str] | None, Parameter(negative="")] = None,
    log_level: str | None = None,
) -> int:
    """Start the server. Every setting has an environment variable too; see docs/operations.md.

    Args:
        host: Address to listen on (127.0.0.1).
        port: Port to listen on (8000); 0 picks a free one.
        model: A model to host, KIND or NAME=KIND, where KIND is espeak or package.module:Class.
            May be repeated.
        token: A token that clients must show. May be repeated. Without any, everybody may speak.
        log_level: debug, info, warning or error.
    """
    from server import logs  # noqa: PLC0415 - `--help` must not wait for these imports

    try:
        settings = Settings.load(
            host=host, port=port, models=_models(model), tokens=token, log_level=log_level
        )
        logs.configure(settings.log_level, settings.log_format)
        for warning in unknown_keys():
            _log.warning("unknown setting", problem=warning)
        return _run(settings)
    except (SettingsError, ValueError) as error:
        sys.stderr.write(f"cosystream: {error}\n")
        return 1


def _run(settings: Settings) -> int:
    from server.app import build_app  # noqa: PLC0415
    from server.serving import Server  # noqa: PLC0415

    app = build_app(settings)
    server = Server(app, settings, on_started=lambda port: _announce(settings, port))
    server.run()
    return 0 if server.started else 1


def _models(given: list[str] | None) -> list[dict[str, Any]] | None:
    if not given:
        return None
    models = []
    for item in given:
        name, separator, kind = item.partition("=")
        if not separator:
            name, kind = item.rpartition(":")[2].lower(), item
        models.append(ModelSettings(name=name, kind=kind).model_dump())
    return models


def _announce(settings: Settings, port: int) -> None:
    """Say on standard output where to go, once the port is open."""
    host = settings.host if settings.host not in {"0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    secure = "s" if settings.tls_certificate else ""
    base = f"{host}:{port}{settings.root_path}"
    models = ", ".join(f"{model.name} ({model.kind})" for model in settings.models)
    token = " --token ..." if settings.tokens else ""
    url = "" if base == "127.0.0.1:8000" and not secure else f" --url ws{secure}://{base}/ws/v1/tts"
    lines = [
        f"CosyStream speaks with {models}",
        f"  page       http{secure}://{base}/",
        f"  Aliyun     ws{secure}://{base}/ws/v1/tts",
        f"  voices     http{secure}://{base}/stream/v1/tts/voices",
        f"  metrics    http{secure}://{base}/metrics",
        f'  try        cosystream say{url}{token} "你好，很高兴认识你。"',
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
