"""Health probes for Kubernetes and load balancers: ``/livez`` and ``/readyz``."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.context import service_of
from app.api.problems import problem, responses
from app.api.schemas import Health, dump

router = APIRouter(tags=["Operations"])


class Lifecycle:
    """Where the process is in its life: starting, ``ready`` for callers, or ``stopping``."""

    def __init__(self) -> None:
        self.ready = False
        self.stopping = False

    def start(self) -> None:
        """Everything is wired."""
        self.ready = not self.stopping

    def stop(self) -> None:
        """The process is asked to end."""
        self.ready = False
        self.stopping = True


@router.get(
    "/livez",
    operation_id="getLiveness",
    summary="Whether the process runs",
    description="Touches nothing, so it says only that the process answers.",
    response_model=Health,
    responses=responses(),
)
async def livez() -> Response:
    """Alive, or there would be no answer."""
    return Response(dump({"status": "alive"}), media_type="application/json")


@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Whether the process wants callers",
    description="503 until started and while stopping, else 200, whatever the platform does: taking a replica away "
    "does not mend the platform, and cached answers still help.",
    response_model=Health,
    responses=responses("overloaded"),
)
async def readyz(request: Request) -> Response:
    """Ready, or on the way in or out."""
    if not service_of(request).lifecycle.ready:
        return problem(request.scope, "overloaded", detail="This replica is starting or stopping.")
    return Response(dump({"status": "ready"}), media_type="application/json")
