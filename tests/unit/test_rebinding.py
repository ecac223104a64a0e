"""A service that is started again at once gets its port, although connections of the one before are not forgotten."""

import socket

from app.server.start import bind
from tests.support.running import free_port


def test_a_port_can_be_bound_right_after_a_connection_on_it_was_served() -> None:
    port = free_port()
    with bind("127.0.0.1", port) as listener:
        listener.listen()
        with socket.create_connection(("127.0.0.1", port)) as caller:
            served, _ = listener.accept()
            # The service closes first, so the system remembers the connection for a minute.
            served.close()
            assert caller.recv(1) == b""
    with bind("127.0.0.1", port) as again:
        assert again.getsockname() == ("127.0.0.1", port)
