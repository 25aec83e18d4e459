"""What an operator's tools ask: health, readiness, metrics, and the state of the workers."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.endpoints.services import Services
from server.version import __version__


async def healthz(_request: Request) -> Response:
    """The process answers. Says nothing about models."""
    return JSONResponse({"status": "ok", "version": __version__})


async def readyz(request: Request) -> Response:
    """200 when every model that is to be loaded has a worker that can speak, else 503 with what is
    missing; a model that is loaded for its first request, or was unloaded, is not waited for.
    """  # noqa: D205
    services: Services = request.app.state.services
    if services.draining:
        return JSONResponse({"status": "draining"}, 503)
    if not services.pool.ready:
        return JSONResponse({"status": "starting", **_workers(services)}, 503)
    return JSONResponse({"status": "ready", "models": sorted(services.pool.models)})


async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    services: Services = request.app.state.services
    return Response(
        services.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


async def status(request: Request) -> Response:
    """Workers, queue and sessions, for the browser page."""
    services: Services = request.app.state.services
    return JSONResponse(
        {
            "version": __version__,
            "sessions": services.speech.admission.active,
            "connections": len(services.conversations),
            **_workers(services),
        }
    )


def _workers(services: Services) -> dict[str, Any]:
    snapshot = services.pool.snapshot()
    workers = [
        {
            "model": worker.model,
            "state": str(worker.state),
            "slots": worker.slots,
            "running": worker.running,
            "parked": worker.parked,
        }
        for worker in snapshot.workers
    ]
    return {"queued": services.pool.queued, "workers": workers}
