"""`cosystream serve`: run the server."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import structlog
from cyclopts import Parameter

from server.settings import ModelSettings, Settings, SettingsError, unknown_keys

_log = structlog.get_logger(__name__)


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    model: Annotated[list[str] | None, Parameter(negative="")] = None,
    engine: Literal["official", "native"] | None = None,
    token: Annotated[list[str] | None, Parameter(negative="")] = None,
    wyoming: Annotated[bool | str | None, Parameter(negative="")] = None,
    log_level: str | None = None,
) -> int:
    """Start the server. Every setting has an environment variable too; see docs/operations.md.

    Args:
        host: Address to listen on (127.0.0.1).
        port: Port to listen on (8000); 0 picks a free one.
        model: A model to host, WHAT or NAME=WHAT. WHAT is a downloaded checkpoint (cosyvoice2), the
            directory of any CosyVoice checkpoint, espeak, or package.module:Class. May be repeated;
            without any, the settings decide, and else it is espeak.
        engine: What computes CosyVoice checkpoints: the official package (the default), or native,
            this server's own engine for CosyVoice 2 and 3, which serves many listeners at once.
        token: A token that clients must show. May be repeated. Without any, everybody may speak.
        wyoming: Serve Home Assistant too, on port 10200 of the same host, or on HOST:PORT. Its
            protocol has no tokens: where some are needed, HOST:PORT must be written out.
        log_level: debug, info, warning or error.
    """
    # A stop that comes while libraries are still imported is a stop like any other.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from server import logs  # noqa: PLC0415 - `--help` must not wait for these imports

    try:
        settings = Settings.load(
            host=host,
            port=port,
            models=_models(model),
            cosyvoice_engine=engine,
            tokens=token,
            wyoming=wyoming,
            log_level=log_level,
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

    _check_tls(settings)
    with contextlib.ExitStack() as sockets:
        # Before any worker is started: a port that is taken is the commonest mistake.
        sock = sockets.enter_context(_listen(settings.host, settings.port, "--port"))
        wyoming_sock = _listen_for_wyoming(settings)
        if wyoming_sock is not None:
            sockets.enter_context(wyoming_sock)
        app = build_app(settings)
        guarded = app.state.services.authenticator.required
        if not guarded:
            _warn_if_open(sock)
        if wyoming_sock is not None:
            _check_wyoming(settings, wyoming_sock, guarded=guarded)
        server = Server(
            app,
            settings,
            on_started=lambda: _announce(settings, sock, guarded=guarded, wyoming=wyoming_sock),
            wyoming=wyoming_sock,
        )
        server.run(sockets=[sock])
    return 0 if server.started else 1


def _listen_for_wyoming(settings: Settings) -> socket.socket | None:
    address = settings.wyoming_address
    if address is None:
        return None
    return _listen(address.host or settings.host, address.port, "--wyoming HOST:PORT")


def _check_wyoming(settings: Settings, sock: socket.socket, *, guarded: bool) -> None:
    """See that nobody is let in by mistake: this protocol has no place for a key.

    Raises:
        SettingsError: others need a key, and nobody has said that these do not.
    """
    address = settings.wyoming_address
    if guarded and not (address and address.host):
        raise SettingsError(
            "wyoming: tokens or keys are needed here, and Home Assistant's protocol has none; "
            "if whoever reaches it may speak, write its address out: --wyoming HOST:PORT"
        )
    if not _is_loopback(sock):
        _log.warning(
            "everybody who reaches this address may speak: Wyoming has no keys",
            address=_shown(sock),
        )


def _warn_if_open(sock: socket.socket) -> None:
    """Say that nobody is kept out, where others than this machine's own can come."""
    if not _is_loopback(sock):
        _log.warning(
            "everybody who reaches this address may speak; make a key (cosystream keys add NAME), "
            "or set tokens",
            address=sock.getsockname()[0],
        )


def _is_loopback(sock: socket.socket) -> bool:
    return ipaddress.ip_address(sock.getsockname()[0].partition("%")[0]).is_loopback


def _check_tls(settings: Settings) -> None:
    """Read certificate and key once, because the server's own failure to do so names no setting.

    Raises:
        SettingsError: they cannot be used.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if key and not certificate:
        raise SettingsError("tls_key needs tls_certificate")
    for name, path in [("tls_certificate", certificate), ("tls_key", key)]:
        try:
            if path:
                Path(path).read_bytes()
        except OSError as error:
            raise SettingsError(f"{name}: {path} cannot be read: {error.strerror}") from None
    try:
        if certificate:
            # A key with a password is refused: nobody may be there to be asked for it.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key or None, password=lambda: "")
    except ssl.SSLError as error:
        files = certificate if not key else f"{certificate} and {key}"
        raise SettingsError(
            f"tls_certificate, tls_key: {files} are no PEM certificate and its key, without a "
            f"password ({error.reason or 'unreadable'})"
        ) from None


def _listen(host: str, port: int, option: str) -> socket.socket:
    """A bound socket; `option` says how to choose another address.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        advice = f" (another server? choose one with {option})" if port else ""
        raise SettingsError(
            f"cannot listen on {host} port {port}: {error.strerror}{advice}"
        ) from None
    return sock


def _models(given: list[str] | None) -> list[dict[str, Any]] | None:
    if not given:
        return None
    models = []
    for item in given:
        name, separator, kind = item.partition("=")
        if not separator:
            name, kind = _default_name(item), item
        models.append({"name": name, "kind": kind})
    return models


def _default_name(kind: str) -> str:
    """A class's own name, a directory's own name, or the kind itself, in small letters."""
    if "/" in kind:
        return Path(kind).expanduser().absolute().name.lower()
    return kind.rpartition(":")[2].lower()


def _announce(
    settings: Settings,
    sock: socket.socket,
    *,
    guarded: bool,
    wyoming: socket.socket | None = None,
) -> None:
    """Say on standard output where to go, once the port is open."""
    port = sock.getsockname()[1]
    host = settings.host if settings.host not in {"0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    secure = "s" if settings.tls_certificate else ""
    base = f"{host}:{port}{settings.root_path}"
    models = ", ".join(_titled(model) for model in settings.models)
    token = " --token ..." if guarded else ""
    url = "" if base == "127.0.0.1:8000" and not secure else f" --url ws{secure}://{base}/ws/v1/tts"
    lines = [
        f"CosyStream speaks with {models}",
        f"  page       http{secure}://{base}/",
        f"  Aliyun     ws{secure}://{base}/ws/v1/tts",
        f"  DashScope  ws{secure}://{base}/api-ws/v1/inference",
        f"  OpenAI     http{secure}://{base}/v1",
        f"  Qiniu      http{secure}://{base}/v1/voice/tts",
        f"  voices     http{secure}://{base}/stream/v1/tts/voices",
        f"  endpoints  http{secure}://{base}/docs",
        f"  metrics    http{secure}://{base}/metrics",
        *([f"  Wyoming    {_shown(wyoming)}"] if wyoming is not None else []),
        f'  try        {_own_command()} say{url}{token} "你好，很高兴认识你。"',
    ]
    _print("\n".join(lines))


def _shown(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _titled(model: ModelSettings) -> str:
    return model.name if model.name == model.kind else f"{model.name} ({model.kind})"


def _print(text: str) -> None:
    """Write to standard output, without which a server still serves: it may be full or closed."""
    try:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except OSError as error:
        _log.warning("standard output cannot be written", reason=error.strerror)
        # What it still holds would fail again at the interpreter's last flush.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _own_command() -> str:
    """How this program is called from here."""
    own = Path(sys.executable).with_name("cosystream")
    if shutil.which("cosystream") == str(own):
        return "cosystream"
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)
