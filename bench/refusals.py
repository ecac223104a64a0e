"""``python -m bench.refusals``: how long others wait while a body of 1 MiB is refused or taken.

Exit status 1 where it is too long.

One caller asks ``/livez`` again and again; another one posts the body. What counts is the longest of the first one's
waits while the second one's answer is on its way. What else runs on the machine only ever makes a wait longer, so of
several rounds the shortest counts.
"""

import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.candidates import KEY, ROOT, Platform, service, started

MIB = 1024 * 1024
LIMIT_MS = 50.0
ROUNDS = 7
TOKEN = "bench-webhook-token-4be1f0"
BATCH = ("POST", "/messages/states")
WEBHOOK = ("POST", f"/webhooks/message-states/{TOKEN}")


def bodies() -> Iterator[tuple[str, tuple[str, str], bytes, int]]:
    """What is posted, where to, and the status of the answer."""
    unknown = {"ids": [1]} | {f"{number:x}": 1 for number in range(95_000)}
    yield "1 MiB of unknown keys", BATCH, _json(unknown), 422
    yield "1 MiB of wrong ids", BATCH, _json({"ids": ["x"] * 260_000}), 422
    yield "1 MiB of good ids", BATCH, _json({"ids": list(range(1_000_000, 1_130_000))}), 422
    yield "1 MiB of one key", BATCH, _json({"x" * (MIB - 10): 1}), 422
    reports = [
        {"id_sms": f"{number:07}", "time": "2026-11-26 12:00:00", "state": "deliver"} for number in range(14_000)
    ]
    yield "a webhook of 1 MiB", WEBHOOK, _json(reports), 200


def _json(document: object) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()[:MIB]
    assert len(body) > MIB * 0.8
    return body


def longest_wait(host: str, target: tuple[str, str], body: bytes, status: int) -> float:
    """Seconds that somebody else waited at most while this was answered."""
    waits: list[float] = []
    running, ended = threading.Event(), threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection(host)
        while not ended.is_set():
            begun = time.perf_counter()
            connection.request("GET", "/livez")
            connection.getresponse().read()
            waits.append(time.perf_counter() - begun)
            running.set()
        connection.close()

    asker = threading.Thread(target=ask)
    asker.start()
    running.wait()
    waits.clear()
    connection = http.client.HTTPConnection(host)
    connection.request(*target, body, {"X-API-Key": KEY, "Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    ended.set()
    asker.join()
    connection.close()
    if answer.status != status:
        raise RuntimeError(f"{target}: {answer.status} instead of {status}")
    return max(waits, default=0.0)


def main() -> None:
    """Measure and print."""
    checkout = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    bearable = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            started(Platform(0.03, 16).candidate(), folder) as platform,
            started(service(checkout, WEBHOOK_TOKEN=TOKEN), folder, platform) as process,
        ):
            for what, target, body, status in bodies():
                longest = min(longest_wait(process.host, target, body, status) for _ in range(ROUNDS)) * 1000
                bearable = bearable and longest < LIMIT_MS
                print(f"{what:<24}{longest:>8.1f} ms (limit: {LIMIT_MS:g} ms)", flush=True)
    sys.exit(0 if bearable else 1)


if __name__ == "__main__":
    main()
