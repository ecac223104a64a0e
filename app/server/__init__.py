"""The HTTP server: start and drain, the HTTP/1.1 protocol, and the limits of every connection.

``serving`` starts and drains. ``protocol`` speaks HTTP/1.1: it is built on uvicorn's, and is the only module that
relies on uvicorn's internals. ``connections`` is what all connections share: the limits (``limits``), the memory for
input that waits, and the sweep that ends what takes too long.
"""

from app.server.limits import Limits
from app.server.serving import Server

__all__ = ["Limits", "Server"]
