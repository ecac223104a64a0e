"""What Starlette's routing costs above the server: one route with a parameter, answering a constant."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.peers.bare import BODY


async def message_state(request: Request) -> Response:
    """The documented example for any id that is a number."""
    int(request.path_params["id"])
    return Response(BODY, media_type="application/json")


async def message_states(request: Request) -> Response:
    """The documented example for any batch."""
    await request.body()
    return Response(b'{"states":[' + BODY + b'],"problems":[]}', media_type="application/json")


app = Starlette(
    routes=[
        Route("/messages/{id}/state", message_state),
        Route("/messages/states", message_states, methods=["POST"]),
    ]
)
