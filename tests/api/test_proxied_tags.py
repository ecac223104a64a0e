"""Entity tags that a proxy on the way has changed still match."""

import httpx
import pytest

from tests.support.platform import FakePlatform
from tests.support.virtual_time import on_virtual_time
from tests.support.watching import stage

pytestmark = pytest.mark.anyio

# What a proxy that compresses makes of "tag".
CHANGED = [
    'W/"{}"',  # nginx, HAProxy
    '"{}-gzip"',  # Apache, Caddy
    'W/"{}-gzip"',
    '"{}--gzip"',  # Jetty
    '"{};gzip"',
    '"{}-br"',
    '"{}-zstd"',
    '"other", W/"{}-gzip"',
]


@pytest.mark.parametrize("form", CHANGED)
async def test_a_changed_tag_matches(client: httpx.AsyncClient, form: str) -> None:
    tag = (await client.get("/messages/82216/state")).headers["etag"]
    again = await client.get("/messages/82216/state", headers={"If-None-Match": form.format(tag.strip('"'))})
    assert (again.status_code, again.headers["etag"]) == (304, tag)


@pytest.mark.parametrize("form", ['"{}-other"', '"gzip-{}"', '"-gzip"', "{}", '"x{}"'])
async def test_another_tag_does_not_match(client: httpx.AsyncClient, form: str) -> None:
    tag = (await client.get("/messages/82216/state")).headers["etag"]
    again = await client.get("/messages/82216/state", headers={"If-None-Match": form.format(tag.strip('"'))})
    assert again.status_code == 200


@pytest.mark.parametrize("form", CHANGED)
def test_a_wait_with_a_changed_tag_waits(form: str) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = FakePlatform()
        platform.knows(82216, state="send")
        async with stage(platform) as service:
            tag = (await service.client.get("/messages/82216/state")).headers["etag"]
            changed = form.format(tag.strip('"'))
            answer, seconds = await service.wait(82216, 25, if_none_match=changed)
            assert answer.status_code == 304
            assert seconds == pytest.approx(25, abs=0.5)

    scenario()
