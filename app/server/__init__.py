"""The HTTP server: start and drain, the HTTP/1.1 protocol, and the limits of every connection.

``start`` reads the settings, binds the sockets and runs the server; ``serving`` is the server and its drain.
``protocol`` speaks HTTP/1.1: it is built on uvicorn's, like ``exchange`` (one request and its answer) and ``lean``;
each says what it relies on. ``connections`` is what all connections share: the limits (``refusals.Limits``), the memory
for input that waits, and the sweep that ends what takes too long. Nothing is imported here: ``start`` checks the
settings before it loads the rest.
"""
