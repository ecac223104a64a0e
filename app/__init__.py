"""message-state-proxy: what became of message 82216?

main       the application that production serves and the tests ask; service builds what it stands on
server     the start, the HTTP server and its end
settings   every setting, its sources, secrets that change while the service runs
api        the public face over HTTP: routes, JSON, problem documents
lookup     the engine: from ids to answers, with as few upstream requests as possible
upstream   the platform behind state.php: the array format, the HTTP client, the sandbox
telemetry  logs, metrics, traces; usable from everywhere
collectors metrics that are read from the running service at a scrape

Imports go one way: api -> lookup <- upstream; service connects them, main builds the application, server runs it.
"""

__version__ = "0.1.0"
