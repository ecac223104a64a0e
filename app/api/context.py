"""What a route may use of the service."""

from typing import TYPE_CHECKING

from starlette.requests import Request

if TYPE_CHECKING:  # ``service`` stands above this package and builds it
    from app.service import Service


def service_of(request: Request) -> "Service":
    """The service that answers a request: the only state of the application."""
    service: Service = request.app.state.service
    return service
