"""``python -m bench.kept_answers``: what the answers cost that are kept ready for a state in memory.

Measured by ``tracemalloc`` in this process: the shortcut's own part, besides the record that the cache holds anyway.
"""

import asyncio
import tracemalloc

from app.api.shortcuts import MAX_CONTENTS
from app.main import create_app
from app.settings import Settings
from bench.requests import DOCUMENTED, Ids


async def measured(number: int) -> float:
    """Bytes for each of so many messages whose states are in memory and have been asked for twice."""
    app = create_app(Settings.for_sandbox(pending_ttl=600, delivered_ttl=600, pending_ttl_max=600))
    ids = Ids(1_000, DOCUMENTED, number)
    wanted = [ids[place] for place in range(number)]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: object) -> None:
        return None

    async with app.router.lifespan_context(app):
        for start in range(0, number, 1000):
            await app.state.service.engine.lookup(wanted[start : start + 1000], detail=False)
        before = tracemalloc.get_traced_memory()[0]
        for id_ in wanted:
            path = f"/messages/{id_}/state"
            scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
            await app(scope | {"headers": [], "client": ("127.0.0.1", 1), "root_path": ""}, receive, send)
        return (tracemalloc.get_traced_memory()[0] - before) / number


def main() -> None:
    """Measure and print."""
    tracemalloc.start()
    each = asyncio.run(measured(MAX_CONTENTS))
    print(f"{each:.0f} bytes for each kept answer; {MAX_CONTENTS} are kept at most: {each * MAX_CONTENTS / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
