"""Headers at random: each is understood as its standard says, or ignored, and none makes the service fail."""

import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.anyio

STATE = "/messages/82216/state"
# What a server takes for the value of a header (RFC 9110, section 5.5), without space at its ends.
VALUES = st.binary(max_size=80).map(lambda raw: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", raw).strip(b" \t"))
OTHER_TAGS = st.text("abcdef0123456789 ,;-*W/", max_size=30).map(lambda text: f'"{text}"')


@given(value=VALUES)
async def test_a_request_id_is_taken_over_as_it_is_or_not_at_all(sandboxed: httpx.AsyncClient, value: bytes) -> None:
    reply = await sandboxed.get(STATE, headers=[(b"X-Request-ID", value)])

    assert reply.status_code == 200
    assert len(reply.headers.get_list("x-request-id")) == 1
    if re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", value):
        assert reply.headers["x-request-id"].encode() == value
    else:
        assert re.fullmatch(r"[0-9a-f]{16}", reply.headers["x-request-id"])


@given(value=st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True))
async def test_every_good_request_id_is_taken_over(sandboxed: httpx.AsyncClient, value: str) -> None:
    reply = await sandboxed.get("/nowhere", headers={"X-Request-ID": value})

    assert (reply.status_code, reply.headers["x-request-id"], reply.json()["request_id"]) == (404, value, value)


@given(others=st.lists(OTHER_TAGS, max_size=4), place=st.integers(0, 4), weak=st.booleans(), there=st.booleans())
async def test_a_list_of_tags_matches_where_the_states_own_is_one_of_them(
    sandboxed: httpx.AsyncClient, others: list[str], place: int, weak: bool, there: bool
) -> None:
    own = (await sandboxed.get(STATE)).headers["etag"]
    tags = [tag for tag in others if tag != own]
    if there:
        tags.insert(place, f"W/{own}" if weak else own)
    reply = await sandboxed.get(STATE, headers={"If-None-Match": ", ".join(tags)})

    assert reply.status_code == (304 if there else 200)
    assert reply.headers["etag"] == own
    assert (reply.content == b"") == there


@given(condition=VALUES, cache_control=VALUES)
async def test_no_conditional_header_makes_the_service_fail(
    sandboxed: httpx.AsyncClient, condition: bytes, cache_control: bytes
) -> None:
    headers = [(b"If-None-Match", condition), (b"Cache-Control", cache_control), (b"If-Modified-Since", condition)]
    reply = await sandboxed.get(STATE, headers=headers)

    assert reply.status_code == (304 if condition == b"*" else 200)


@given(name=st.sampled_from(["Authorization", "X-API-Key", "X-Forwarded-For", "Accept", "Range"]), value=VALUES)
async def test_an_open_service_answers_whatever_else_is_sent_along(
    sandboxed: httpx.AsyncClient, name: str, value: bytes
) -> None:
    reply = await sandboxed.get(STATE, headers=[(name.encode(), value)])

    assert (reply.status_code, reply.json()["state"]) == (200, "deliver")
