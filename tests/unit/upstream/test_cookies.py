"""Cookies of the platform do not travel back. Over a name: a client keeps none of an address anyway."""

import pytest

from tests.support.platform import FakePlatform, reply
from tests.support.served import JumpingClock, served
from tests.support.service import settings_for

pytestmark = pytest.mark.anyio

COOKIES = ["PHPSESSID=abc", "PHPSESSID=abc; path=/", "PHPSESSID=abc; Max-Age=3600; Path=/json", "a=b; Domain=localhost"]


@pytest.mark.parametrize("cookie", COOKIES)
async def test_a_cookie_of_the_platform_is_not_sent_back(cookie: str) -> None:
    platform = FakePlatform()
    platform.always = reply([], set_cookie=cookie)
    async with (
        platform.serve() as url,
        served(settings_for(url.replace("127.0.0.1", "localhost")), JumpingClock()) as service,
    ):
        assert [(await service.caller.state(id_)).status for id_ in (1, 2, 3)] == [404] * 3
    assert len(platform.requests) == 3
    assert [request.headers.get("cookie") for request in platform.requests] == [None] * 3
