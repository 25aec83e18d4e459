"""What an operator may set: command line, environment, `.env`-style secrets and a TOML file.

Precedence, highest first: command line, environment (`COSYSTREAM_*`), secrets directory, TOML file
(`COSYSTREAM_CONFIG`, else `cosystream.toml` in the working directory), defaults. Every field stands
in `docs/operations.md`; a test compares the two.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from server.wyoming_address import WyomingAddress

PREFIX = "COSYSTREAM_"
CONFIG_VARIABLE = "COSYSTREAM_CONFIG"
SECRETS_VARIABLE = "COSYSTREAM_SECRETS_DIR"
RESERVED_VARIABLES = frozenset(
    {
        *(CONFIG_VARIABLE, SECRETS_VARIABLE, "COSYSTREAM_URL", "COSYSTREAM_TOKEN"),
        *("COSYSTREAM_VENV", "COSYSTREAM_COSYVOICE_VENV"),
    }
)
"""Variables with our prefix that are no settings of the server; the last two are the scripts'."""
_PATH = r"[\w.~!$&'()*+,;=:@%-]+(/[\w.~!$&'()*+,;=:@%-]+)*"
"""Segments of a URL's path (RFC 3986, section 3.3), without the slashes around them."""


TextStreamMode: TypeAlias = Literal["auto", "always", "never"]
"""`auto`: only while no full sentence is there; `always`: every sentence; `never`: whole sentences
only."""


class SettingsError(Exception):
    """The settings cannot be used; the message names the field and where it came from."""


_MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class HostedSettings(BaseModel):
    """What is said of anything that worker processes host."""

    model_config = ConfigDict(extra="forbid")

    options: dict[str, Any] = Field(default_factory=dict)
    workers: int = Field(default=0, ge=0, le=64)
    """Processes; 0 chooses by the number of processors."""
    interpreter: str = ""
    """The Python that runs the workers; empty for the server's own."""
    environment: dict[str, str] = Field(default_factory=dict)
    max_requests: int = Field(default=0, ge=0)
    max_rss_bytes: int = Field(default=0, ge=0)
    idle_unload_s: float = Field(default=0.0, ge=0)
    """End its workers after so long without work, until the next request; 0: never."""
    warm_up: bool = True
    """Do something before the first request, which then is as fast as the second."""


class ModelSettings(HostedSettings):
    """One model to host."""

    name: str = Field(pattern=_MODEL_NAME)
    kind: str = "espeak"
    """A built-in kind (`espeak`), or `package.module:Class` of any `models.base.SpeechModel`."""
    load: Literal["start", "lazy"] = "start"
    """`lazy`: not before somebody asks for one of its voices."""
    text_stream: TextStreamMode = "auto"
    """Whether text goes into the model while it is still being written, in models that can."""
    voice_text_stream: dict[str, TextStreamMode] = Field(default_factory=dict)
    """The same for single voices."""


class RecognizerSettings(HostedSettings):
    """The recogniser to host."""

    name: str = Field(default="asr", pattern=_MODEL_NAME)
    kind: str = "sphinx"
    """`sphinx` (embedded), `sensevoice`, `none`, or `package.module:Class` of any
    `models.recognition.SpeechRecognizer`."""
    load: Literal["auto", "start", "lazy"] = "auto"
    """`lazy`: not before somebody has something to be heard; `auto`: so, for the built-in kinds."""


def _split(value: object) -> object:
    """Lists may be written with commas in the environment; TOML has real ones."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


class Settings(BaseSettings):
    """All settings of `cosystream serve`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", populate_by_name=True, env_nested_delimiter="__"
    )

    # --- Where to listen ---
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    root_path: str = ""
    """Path prefix that a reverse proxy strips: empty, or with a leading slash and none after it."""
    tls_certificate: str = ""
    tls_key: str = ""
    cors_origins: Annotated[list[str], NoDecode] = Field(default_factory=list)
    wyoming: str = ""
    """Home Assistant's protocol: `on`, or an address of its own; see `WyomingAddress`."""

    # --- What to host ---
    models: list[ModelSettings] = Field(
        default_factory=lambda: [ModelSettings(name="espeak", kind="espeak")]
    )
    recognizer: RecognizerSettings = Field(default_factory=RecognizerSettings)
    voice_aliases: str = ""
    """A TOML file with more aliases."""
    data_directory: str = ""
    """Where cloned voices, downloaded models and environments lie; empty for the user's own data
    directory, `$XDG_DATA_HOME/cosystream` or `~/.local/share/cosystream`."""
    cosyvoice_home: str = ""
    """A checkout of FunAudioLLM/CosyVoice, with its submodule."""
    cosyvoice_interpreter: str = ""
    """The Python that runs CosyVoice; empty for the one that `cosystream setup cosyvoice` made."""
    cosyvoice_engine: Literal["official", "native"] = "official"
    """What computes CosyVoice models that do not say it themselves by `options.engine`."""

    # --- Who may come in ---
    tokens: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        # Not "tokens": an alias counts in the environment as it is, where TOKENS may be anybody's.
        # The TOML key and the argument of that name come by `populate_by_name`.
        validation_alias=AliasChoices("COSYSTREAM_TOKENS", "APPTOKEN"),
    )
    token_refusal: Literal["task_failed", "handshake"] = "task_failed"  # noqa: S105 - no secret
    require_appkey: bool = False
    fetch_networks: Annotated[list[str], NoDecode] = Field(default_factory=list)
    """CIDR networks from which recordings may be fetched although they are not public."""

    # --- How much at once ---
    max_sessions: int = Field(default=256, ge=1)
    max_sessions_per_token: int = Field(default=0, ge=0)
    max_queued_segments: int = Field(default=512, ge=1)
    max_connections: int = Field(default=1024, ge=1)
    max_jobs: int = Field(default=2, ge=1, le=64)
    """Long texts that are spoken into files at once, if listeners leave room."""
    max_jobs_per_token: int = Field(default=100, ge=0)
    """Long texts that are not finished."""
    job_files_max_bytes: int = Field(default=10 << 30, ge=1)

    # --- How long ---
    linger_ms: int = Field(default=300, ge=0, le=60_000)
    idle_timeout_s: float = Field(default=12.0, ge=0)
    text_timeout_s: float = Field(default=60.0, ge=0)
    send_timeout_s: float = Field(default=60.0, gt=0)
    drain_timeout_s: float = Field(default=30.0, ge=0)
    worker_start_timeout_s: float = Field(default=120.0, gt=0)
    worker_heartbeat_timeout_s: float = Field(default=15.0, gt=0)
    worker_nice: int = Field(default=5, ge=0, le=19)

    # --- What to write down ---
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "pretty", "json"] = "auto"
    log_texts: bool = False

    @field_validator("cors_origins", "tokens", "fetch_networks", mode="before")
    @classmethod
    def _commas(cls, value: object) -> object:
        return _split(value)

    @field_validator("root_path")
    @classmethod
    def _one_leading_slash(cls, value: str) -> str:
        path = value.strip("/")
        if not path:
            return ""
        if not re.fullmatch(_PATH, path, re.ASCII):
            raise ValueError(f"{value!r} is no path such as '/speech'")
        return f"/{path}"

    @field_validator("wyoming", mode="before")
    @classmethod
    def _is_an_address(cls, value: object) -> object:
        # TOML has true, and the command line a flag; a number is a port.
        text = str(value) if isinstance(value, bool | int) else value
        if isinstance(text, str):
            WyomingAddress.parse(text)
        return text

    @field_validator("fetch_networks")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        for network in value:
            ipaddress.ip_network(network)
        return value

    @field_validator("models")
    @classmethod
    def _unique_names(cls, value: list[ModelSettings]) -> list[ModelSettings]:
        names = [model.name for model in value]
        if not names:
            raise ValueError("at least one model is needed")
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise ValueError(f"model names stand twice: {', '.join(sorted(doubled))}")
        return value

    @model_validator(mode="after")
    def _recognizer_has_a_name_of_its_own(self) -> Self:
        if self.recognizer.name in {model.name for model in self.models}:
            raise ValueError(f"the recognizer's name, {self.recognizer.name}, is a model's too")
        return self

    @property
    def wyoming_address(self) -> WyomingAddress | None:
        """Where Wyoming listens, None if it does not."""
        return WyomingAddress.parse(self.wyoming)

    @property
    def data_path(self) -> Path:
        """The data directory; it need not exist yet."""
        if self.data_directory:
            return Path(self.data_directory).expanduser()
        base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
        return Path(base).expanduser() / "cosystream"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings' signature
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the TOML file below the environment."""
        return (
            init_settings,
            env_settings,
            file_secret_settings,
            TomlConfigSettingsSource(settings_cls, config_file()),
        )

    @classmethod
    def load(cls, **overrides: Any) -> Settings:  # noqa: ANN401 - any field
        """Read all sources; `overrides` come from the command line, None means not given.

        Raises:
            SettingsError: a source cannot be read, or a value is of the wrong type or range.
        """
        given = {key: value for key, value in overrides.items() if value is not None}
        path = config_file()
        if os.environ.get(CONFIG_VARIABLE) and not (path and path.is_file()):
            raise SettingsError(f"{CONFIG_VARIABLE} names {path}, which is not a file")
        secrets = os.environ.get(SECRETS_VARIABLE)
        if secrets and not Path(secrets).is_dir():
            raise SettingsError(f"{SECRETS_VARIABLE} names {secrets}, which is not a directory")
        try:
            return cls(_secrets_dir=secrets, **given)  # type: ignore[call-arg]
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path} is no TOML: {error}") from None
        except (ValueError, OSError) as error:
            raise SettingsError(f"settings cannot be read: {error}") from None


def config_file() -> Path | None:
    """The TOML file that would be read, if one is named or lies in the working directory."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    local = Path("cosystream.toml")
    return local if local.is_file() else None


def unknown_keys() -> list[str]:
    """Warnings for keys that look like settings and are none, with the nearest known name."""
    known = sorted(Settings.model_fields)
    warnings = [
        _unknown(f"environment variable {name}", name[len(PREFIX) :].lower(), known)
        for name in sorted(os.environ)
        if name.startswith(PREFIX)
        and name not in RESERVED_VARIABLES
        and name[len(PREFIX) :].lower().split("__")[0] not in known
    ]
    warnings += [
        _unknown(f"secret {name}", name[len(PREFIX) :].lower(), known)
        for name in _secret_names()
        if name[len(PREFIX) :].lower() not in known
    ]
    path = config_file()
    if path and path.is_file():
        keys = tomllib.loads(path.read_text(encoding="utf-8"))
        warnings += [
            _unknown(f"key {key!r} in {path}", key, known)
            for key in sorted(keys)
            if key not in known
        ]
    return warnings


def _secret_names() -> list[str]:
    """Files of the secrets directory that are meant for us; others may share it."""
    folder = os.environ.get(SECRETS_VARIABLE)
    if not folder:
        return []
    names = [path.name for path in Path(folder).expanduser().iterdir() if path.is_file()]
    return sorted(name for name in names if name.lower().startswith(PREFIX.lower()))


def _unknown(where: str, key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{where} is no setting{hint}"


def _explain(error: ValidationError) -> str:
    """One line per wrong field, without pydantic's URLs."""
    lines = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"]) or "settings"
        lines.append(f"{field}: {item['msg']}")
    return "; ".join(lines)
