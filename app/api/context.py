"""What a route may use of the service."""

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.types import Scope

from app.lookup.caller import Caller

if TYPE_CHECKING:  # ``service`` stands above this package and builds it
    from app.service import Service


def service_of(request: Request) -> "Service":
    """The service that answers a request: the only state of the application."""
    service: Service = request.app.state.service
    return service


def caller_of(scope: Scope) -> Caller:
    """Who asks, as ``Access`` has found out."""
    caller: Caller = scope["state"]["caller"]
    return caller
