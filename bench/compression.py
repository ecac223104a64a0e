"""``python -m bench.compression``: what gzip saves in bytes and costs in CPU.

A batch of 1000 messages that are cached, and the document, asked for with ``Accept-Encoding: gzip``
and without. CPU is that of the service's process for one answer; the two ways take turns, and of several rounds the
median counts, since what else runs on the machine makes single ones longer. Then the same bodies at several levels of
zlib, here.
"""

import gzip
import http.client
import json
import statistics
import tempfile
import time
from pathlib import Path

from bench.candidates import KEY, ROOT, Platform, service, started
from bench.processes import Process

ROUNDS = 7
ANSWERS = 200
"""Of each round: the system counts CPU in steps of 10 ms."""
BATCH = json.dumps({"ids": list(range(1_000_000, 1_001_000))})
REQUESTS = {
    "a batch of 1000 cached ids": ("POST", "/messages/states", BATCH),
    "/openapi.json": ("GET", "/openapi.json", None),
}
ENCODINGS = ("identity", "gzip")
LEVELS = (1, 4, 6, 9)


def ask(connection: http.client.HTTPConnection, request: tuple[str, str, str | None], encoding: str) -> bytes:
    """The body as it travels."""
    headers = {"X-API-Key": KEY, "Content-Type": "application/json", "Accept-Encoding": encoding}
    connection.request(*request, headers)
    answer = connection.getresponse()
    body = answer.read()
    used = answer.headers.get("Content-Encoding", "identity")
    if (answer.status, used) != (200, encoding):
        raise RuntimeError(f"{request[1]}: {answer.status}, {used} instead of {encoding}")
    return body


def measure(process: Process, request: tuple[str, str, str | None]) -> dict[str, tuple[int, float]]:
    """For each encoding: bytes of the body, and CPU seconds for one answer."""
    connection = http.client.HTTPConnection(process.host)
    sizes = {encoding: len(ask(connection, request, encoding)) for encoding in ENCODINGS}
    seconds: dict[str, list[float]] = {encoding: [] for encoding in ENCODINGS}
    for _ in range(ROUNDS):
        for encoding in ENCODINGS:
            before = process.cpu_seconds()
            for _ in range(ANSWERS):
                ask(connection, request, encoding)
            seconds[encoding].append((process.cpu_seconds() - before) / ANSWERS)
    connection.close()
    return {encoding: (sizes[encoding], statistics.median(seconds[encoding])) for encoding in ENCODINGS}


def compare_levels(process: Process, request: tuple[str, str, str | None]) -> dict[int, tuple[int, float]]:
    """For each level: bytes of the compressed body, and CPU seconds that compressing it takes here."""
    connection = http.client.HTTPConnection(process.host)
    body = ask(connection, request, "identity")
    connection.close()
    seconds: dict[int, list[float]] = {level: [] for level in LEVELS}
    for _ in range(ROUNDS):
        for level in LEVELS:
            before = time.process_time()
            for _ in range(ANSWERS):
                gzip.compress(body, level)
            seconds[level].append((time.process_time() - before) / ANSWERS)
    return {level: (len(gzip.compress(body, level)), statistics.median(seconds[level])) for level in LEVELS}


def main() -> None:
    """Measure and print."""
    # The batch must come from the cache: what is measured is the answer and not the lookup.
    candidate = service(ROOT, PENDING_TTL="600", DELIVERED_TTL="600", NOT_FOUND_TTL="600")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            started(Platform(0.03, 16).candidate(), folder) as platform,
            started(candidate, folder, platform) as process,
        ):
            for what, request in REQUESTS.items():
                found = measure(process, request)
                for encoding, (size, seconds) in found.items():
                    print(f"{what:<28}{encoding:<10}{size:>9,} bytes{seconds * 1000:>8.2f} ms CPU", flush=True)
                for level, (size, seconds) in compare_levels(process, request).items():
                    print(f"{what:<28}level {level:<4}{size:>9,} bytes{seconds * 1000:>8.2f} ms CPU", flush=True)


if __name__ == "__main__":
    main()
