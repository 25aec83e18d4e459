"""Builds the ASGI application and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from server import keys
from server.accounts import Accounts
from server.auth import Authenticator
from server.endpoints import (
    api_document,
    dashscope,
    dashscope_enrollment,
    dashscope_http,
    nls_async,
    nls_rest,
    openai_models,
    openai_refusal,
    openai_speech,
    operations,
    pages,
    qiniu_asr,
    qiniu_tts,
    qiniu_voices,
    voice_library,
    voices,
)
from server.endpoints.flowing import flowing_speech
from server.endpoints.services import Services
from server.fetching import Fetcher
from server.metrics import Metrics
from server.model_kinds import model_spec
from server.pool.options import ModelSpec, PoolOptions
from server.pool.pool import WorkerPool
from server.protocols.nls_async import render_notice
from server.recognizer_kinds import NONE, recognizer_spec
from server.settings import Settings
from server.speech import normalizer, spoken_files
from server.speech.cloning import VoiceCloning
from server.speech.jobs.service import LongTexts
from server.speech.previews import PreviewShelf
from server.speech.recognition import RecognitionService
from server.speech.service import SpeechService
from server.speech.spoken_files import SpokenFiles
from server.speech.voices import AliasTable

_ENROLL_TIMEOUT_S = 60.0


def build_app(settings: Settings) -> Starlette:
    """An application with its own pool, which starts and stops with the lifespan.

    Raises:
        ValueError: an alias file or the key store cannot be used.
    """
    metrics = Metrics()
    pool = WorkerPool(
        _model_specs(settings),
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
    recognition = RecognitionService(
        pool,
        settings.recognizer.name if settings.recognizer.kind != NONE else None,
        admission=speech.admission,
        accounts=accounts,
        metrics=metrics,
        log_texts=settings.log_texts,
    )
    fetcher = Fetcher(settings.fetch_networks)
    services = Services(
        settings=settings,
        authenticator=Authenticator(settings.tokens, accounts),
        accounts=accounts,
        metrics=metrics,
        pool=pool,
        speech=speech,
        previews=PreviewShelf(speech),
        cloning=VoiceCloning(
            pool,
            speech.voice_store,
            lambda: speech.catalog,
            dictation=recognition,
            # A model that is loaded for the first recording has its time for that, too.
            timeout_s=settings.worker_start_timeout_s + _ENROLL_TIMEOUT_S,
        ),
        recognition=recognition,
        fetcher=fetcher,
        long_texts=LongTexts(
            settings,
            pool,
            speech,
            accounts=accounts,
            fetcher=fetcher,
            metrics=metrics,
            protocol=nls_async.PROTOCOL,
            render_notice=render_notice,
        ),
        spoken_files=SpokenFiles(settings.data_path / spoken_files.DIRECTORY_NAME),
    )
    app = Starlette(
        routes=_routes(),
        middleware=_middleware(settings),
        exception_handlers={HTTPException: openai_refusal.unmatched},
        lifespan=_lifespan,
    )
    app.state.services = services
    return app


def _model_specs(settings: Settings) -> list[ModelSpec]:
    specs = [model_spec(model, settings) for model in settings.models]
    recognizer = recognizer_spec(settings.recognizer)
    return [*specs, recognizer] if recognizer is not None else specs


def _routes() -> list[BaseRoute]:
    return [
        WebSocketRoute("/ws/v1/tts", flowing_speech),
        WebSocketRoute("/ws/v1", flowing_speech),
        WebSocketRoute("/api-ws/v1/inference", dashscope.stream_speech),
        # Slashes are not redirected for WebSockets.
        WebSocketRoute("/api-ws/v1/inference/", dashscope.stream_speech),
        Route(
            "/api/v1/services/audio/tts/SpeechSynthesizer",
            dashscope_http.synthesize,
            methods=["POST"],
        ),
        Route(
            "/api/v1/services/audio/tts/customization",
            dashscope_enrollment.customize,
            methods=["POST"],
        ),
        Route(dashscope_http.FILES_PATH + "{name}", dashscope_http.spoken_file),
        Route("/stream/v1/tts", nls_rest.synthesize, methods=["GET", "POST"]),
        Route(nls_async.PATH, nls_async.long_text, methods=["GET", "POST", "DELETE"]),
        Route(nls_async.FILES_PATH + "{name}", nls_async.long_text_file),
        Route("/stream/v1/tts/voices", voices.list_voices),
        Route("/stream/v1/tts/voices/info", voices.voice_info),
        Route("/stream/v1/tts/voices/refresh", voices.refresh_voices, methods=["GET", "POST"]),
        Route("/v1/voices", voice_library.list_voices),
        Route("/v1/voices", voice_library.add_voice, methods=["POST"]),
        Route("/v1/voices/{voice:path}/preview", voice_library.preview_voice),
        Route("/v1/voices/{voice:path}", voice_library.show_voice),
        Route("/v1/voices/{voice:path}", voice_library.remove_voice, methods=["DELETE"]),
        Route("/v1/audio/speech", openai_speech.create_speech, methods=["POST"]),
        Route("/v1/audio/models", openai_models.list_audio_models),
        Route("/v1/audio/voices", openai_models.list_voices),
        Route("/v1/models", openai_models.list_models),
        Route("/v1/models/{model}", openai_models.show_model),
        *_qiniu_routes("/v1"),
        *_qiniu_routes(""),
        Route("/healthz", operations.healthz),
        Route("/readyz", operations.readyz),
        Route("/metrics", operations.metrics),
        Route("/status", operations.status),
        Route("/openapi.json", api_document.openapi),
        Route("/docs", pages.docs),
        Route("/", pages.index),
        Route("/ws/v1/tts/test", pages.nested_index),
        Mount("/static", pages.PageFiles()),
    ]


def _qiniu_routes(version: str) -> list[BaseRoute]:
    return [
        Route(f"{version}/voice/list", qiniu_voices.list_voices),
        Route(f"{version}/voice/tts", qiniu_tts.synthesize, methods=["POST"]),
        WebSocketRoute(f"{version}/voice/tts", qiniu_tts.stream_speech),
        Route(f"{version}/voice/asr", qiniu_asr.recognize, methods=["POST"]),
        WebSocketRoute(f"{version}/voice/asr", qiniu_asr.stream_recognition),
        Route(version + qiniu_voices.PREVIEW_PATH, qiniu_voices.preview),
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
    await asyncio.to_thread(services.speech.voice_store.load)
    # Grammars take a moment to load: beside the workers, not in the first number that is spoken.
    grammars = asyncio.create_task(asyncio.to_thread(_load_grammars))
    checks = asyncio.create_task(services.speech.check_settings())
    try:
        async with services.accounts.open(), services.long_texts.open():
            yield
    finally:
        await grammars
        checks.cancel()
        await asyncio.gather(checks, return_exceptions=True)
        await services.pool.close()
        services.speech.close()
        services.cloning.close()
