"""Which addresses this machine has."""

import socket


def has_ipv6() -> bool:
    """Whether a server can listen on IPv6's loopback address; not so in many containers."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
