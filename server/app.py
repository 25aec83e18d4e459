"""Builds the ASGI application and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from server import keys
from server.accounts import Accounts
from server.auth import Authenticator
from server.endpoints import nls_rest, operations, pages, qiniu_tts, qiniu_voices, voices
from server.endpoints.flowing import flowing_speech
from server.endpoints.services import Services
from server.metrics import Metrics
from server.pool.options import ModelSpec, PoolOptions
from server.pool.pool import WorkerPool
from server.settings import ModelSettings, Settings
from server.speech import normalizer
from server.speech.previews import PreviewShelf
from server.speech.service import SpeechService
from server.speech.voices import AliasTable

MODEL_KINDS = {"espeak": "models.espeak:EspeakModel"}
"""Built-in kinds of models; anything else is an import path."""
_DEFAULT_WORKERS = 2


def build_app(settings: Settings) -> Starlette:
    """An application with its own pool, which starts and stops with the lifespan.

    Raises:
        ValueError: an alias file or the key store cannot be used.
    """
    metrics = Metrics()
    pool = WorkerPool(
        [model_spec(model) for model in settings.models],
        options=PoolOptions(
            max_queued=settings.max_queued_segments,
            start_timeout_s=settings.worker_start_timeout_s,
            heartbeat_timeout_s=settings.worker_heartbeat_timeout_s,
            nice=settings.worker_nice,
        ),
        observer=metrics,
    )
    metrics.watch(pool)
    accounts = Accounts(settings.data_path / keys.FILE_NAME, metrics)
    aliases = AliasTable.load(settings.voice_aliases)
    speech = SpeechService(settings, pool, aliases, metrics, accounts)
    services = Services(
        settings=settings,
        authenticator=Authenticator(settings.tokens, accounts),
        previews=PreviewShelf(speech),
        accounts=accounts,
        metrics=metrics,
        pool=pool,
        speech=speech,
    )
    app = Starlette(routes=_routes(), middleware=_middleware(settings), lifespan=_lifespan)
    app.state.services = services
    return app


def model_spec(model: ModelSettings) -> ModelSpec:
    """A model's settings as the pool takes them."""
    return ModelSpec(
        name=model.name,
        *_qiniu_routes("/v1"),
        *_qiniu_routes(""),
        factory=MODEL_KINDS.get(model.kind, model.kind),
        options=model.options,
        workers=model.workers or min(_DEFAULT_WORKERS, os.cpu_count() or 1),
        interpreter=model.interpreter,
        environment=model.environment,
        max_requests=model.max_requests,
        max_rss_bytes=model.max_rss_bytes,
    )


def _qiniu_routes(version: str) -> list[BaseRoute]:
    return [
        Route(f"{version}/voice/list", qiniu_voices.list_voices),
        Route(f"{version}/voice/tts", qiniu_tts.synthesize, methods=["POST"]),
        WebSocketRoute(f"{version}/voice/tts", qiniu_tts.stream_speech),
        Route(version + qiniu_voices.PREVIEW_PATH, qiniu_voices.preview),
    ]


def _routes() -> list[BaseRoute]:
    return [
        WebSocketRoute("/ws/v1/tts", flowing_speech),
        WebSocketRoute("/ws/v1", flowing_speech),
        Route("/stream/v1/tts", nls_rest.synthesize, methods=["GET", "POST"]),
        Route("/stream/v1/tts/voices", voices.list_voices),
        Route("/stream/v1/tts/voices/info", voices.voice_info),
        Route("/stream/v1/tts/voices/refresh", voices.refresh_voices, methods=["GET", "POST"]),
        Route("/healthz", operations.healthz),
        Route("/readyz", operations.readyz),
        Route("/metrics", operations.metrics),
        Route("/status", operations.status),
        Route("/", pages.index),
        Route("/ws/v1/tts/test", pages.nested_index),
        Mount("/static", pages.PageFiles()),
    ]


def _middleware(settings: Settings) -> list[Middleware]:
    if not settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
        )
    ]


def _load_grammars() -> None:
    normalizer.load()
    # What is there by now stays: the collector need not walk through it again and again.
    gc.collect()
    gc.freeze()


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    services: Services = app.state.services
    await services.pool.start()
    # Grammars take a moment to load: beside the workers, not in the first number that is spoken.
    grammars = asyncio.create_task(asyncio.to_thread(_load_grammars))
    try:
        async with services.accounts.open():
            yield
    finally:
        await grammars
        await services.pool.close()
        services.speech.close()
