"""The prefix of ``ROOT_PATH``: which ones there can be, and what is removed from a path."""

import pytest
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from app.api import docs, event_stream, health, messages, webhook
from app.api.context import RootPath, root_path_of
from app.settings import Settings
from app.settings.parsed import OWN_SEGMENTS, root_path

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("text", "prefix"), [("/sms", "/sms"), ("/sms/", "/sms"), ("/a/b-c_d.e~f", "/a/b-c_d.e~f"), ("/", None)]
)
def test_a_prefix_is_taken_without_the_slash_at_its_end(text: str, prefix: str | None) -> None:
    assert root_path(text) == prefix
    assert Settings.for_sandbox(root_path=text).root_path == prefix


@pytest.mark.parametrize(
    "text",
    ["sms", "//sms", "/sms//x", "/s ms", "/sms?x", "/sms#x", "/../sms", "/./sms", "/%73ms", "/смс", "http://x/sms"],
)
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        root_path(text)


def test_a_prefix_that_begins_like_a_path_of_the_services_own_is_refused() -> None:
    routers = [each.router for each in (messages, event_stream, webhook, health, docs)]
    routes = [route for router in routers for route in router.routes if isinstance(route, Route)]
    segments = {route.path.split("/")[1] for route in routes} - {""} | {"openapi.json"}
    assert segments == OWN_SEGMENTS, "settings.parsed.OWN_SEGMENTS has to name every first segment"
    for segment in segments:
        for text in (f"/{segment}", f"/{segment}/sms"):
            with pytest.raises(ValueError, match=f"begins with /{segment}"):
                root_path(text)
        assert root_path(f"/{segment}s") == f"/{segment}s"
        assert root_path(f"/sms/{segment}") == f"/sms/{segment}"


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/sms/messages/1/state", "/messages/1/state"),
        ("/messages/1/state", "/messages/1/state"),
        ("/sms", "/"),
        ("/sms/", "/"),
        ("/sms/sms/docs", "/sms/docs"),
        ("/smsx/docs", "/smsx/docs"),
        ("/docs/sms/x", "/docs/sms/x"),
        ("/SMS/docs", "/SMS/docs"),
        ("/sms//docs", "//docs"),
    ],
)
async def test_the_prefix_is_removed_once_as_whole_segments_where_it_is_there(path: str, inside: str) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    await RootPath(app, "/sms")({"type": "http", "path": path, "raw_path": path.encode()}, receive, send)
    assert (seen[0]["path"], seen[0]["raw_path"], root_path_of(seen[0])) == (inside, inside.encode(), "/sms")
