"""What an operator's tools ask, and the pages."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from server.openapi.operation import JSON, Example, Operation, Reply, Section

_HTML = "text/html"


class Health(msgspec.Struct, kw_only=True):
    """The front answers."""

    status: str
    version: str


class Worker(msgspec.Struct, kw_only=True):
    """A process that hosts a model."""

    model: str
    state: Annotated[str, Meta(description="`starting`, `ready`, `draining`, `dead`, `unloaded`.")]
    slots: Annotated[
        int,
        Meta(
            description="Sentences that it computes at once now; fewer where the device is slower."
        ),
    ]
    running: Annotated[int, Meta(description="Sentences that it computes.")]
    parked: Annotated[int, Meta(description="Sentences that wait for their listeners.")]


class Ready(msgspec.Struct, kw_only=True):
    """All models can speak."""

    status: str
    models: list[str]


class NotReady(msgspec.Struct, kw_only=True):
    """Why not; while the server starts with its workers."""

    status: Annotated[str, Meta(description="`starting` or `draining`.")]
    queued: int | msgspec.UnsetType = msgspec.UNSET
    workers: list[Worker] | msgspec.UnsetType = msgspec.UNSET


class Status(msgspec.Struct, kw_only=True):
    """What goes on."""

    version: str
    sessions: Annotated[int, Meta(description="Tasks that run.")]
    connections: Annotated[int, Meta(description="Open WebSockets.")]
    queued: Annotated[int, Meta(description="Sentences that wait for a worker.")]
    workers: list[Worker]


SECTION = Section(
    name="Server",
    prefix="Server",
    about="Health, metrics and pages. They need no token: keep the first four from the public with "
    "a reverse proxy.",
    page="operations.md",
    operations=(
        Operation(
            method="GET",
            path="/healthz",
            summary="Say that the front runs",
            replies=(Reply(about="It does.", kind=Health),),
            public=True,
            examples=(Example(title="Health"),),
        ),
        Operation(
            method="GET",
            path="/readyz",
            summary="Say whether all models can speak",
            replies=(
                Reply(about="They can, or are loaded by the next request.", kind=Ready),
                Reply(about="Not yet, or no more.", status=503, kind=NotReady),
            ),
            public=True,
            examples=(Example(title="Readiness"),),
        ),
        Operation(
            method="GET",
            path="/metrics",
            summary="Metrics for Prometheus",
            replies=(Reply(about="Prometheus' text format.", media_types=("text/plain",)),),
            public=True,
            examples=(Example(title="Metrics"),),
        ),
        Operation(
            method="GET",
            path="/status",
            summary="Workers, queue and tasks",
            replies=(Reply(about="What goes on.", kind=Status),),
            public=True,
            examples=(Example(title="Status"),),
        ),
        Operation(
            method="GET",
            path="/openapi.json",
            summary="This document",
            replies=(Reply(about="OpenAPI 3.1.", media_types=(JSON,)),),
            public=True,
            examples=(Example(title="This document", output="openapi.json"),),
        ),
        Operation(
            method="GET",
            path="/docs",
            summary="This document for people",
            replies=(Reply(about="A page.", media_types=(_HTML,)),),
            public=True,
            examples=(Example(title="The page", output="docs.html"),),
        ),
        Operation(
            method="GET",
            path="/",
            aliases=("/ws/v1/tts/test",),
            summary="The page that speaks",
            replies=(Reply(about="A page.", media_types=(_HTML,)),),
            public=True,
            examples=(Example(title="The page", output="page.html"),),
        ),
    ),
)
