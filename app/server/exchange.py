"""The cycle of a request and its answer, for requests with a body and for HTTP/1.0.

Relies on uvicorn's ``RequestResponseCycle``: ``send`` writes the head at ``http.response.start``, in chunks unless
``chunked_encoding`` is set, and counts the body against ``expected_content_length``; ``more_body`` is true until the
request was read; ``keep_alive`` false ends the connection with the answer. ``tests/door/test_uvicorn.py`` holds it
to that.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class Exchange(RequestResponseCycle):
    """One request that has a body, and its answer."""

    async def send(self, message: Any) -> None:
        """Say that the connection ends where the answer begins before the request was read."""
        if self.more_body and not self.response_started:
            self.keep_alive = False
        await super().send(message)


class Http10Exchange(Exchange):
    """HTTP/1.0: no chunks. A body whose length is not told ends with the connection."""

    _until_closed = False

    async def send(self, message: Any) -> None:
        """Send the body as it is where uvicorn would send it in chunks."""
        if message["type"] == "http.response.start":
            self._until_closed = not any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            if self._until_closed:
                # Decided already, so uvicorn adds no header.
                self.chunked_encoding = True
        elif self._until_closed:
            self.chunked_encoding = False
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
