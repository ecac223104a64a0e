"""Running a load on its own core: wrk where it is installed, else ``client.py``; and reading what it reports."""

import dataclasses
import http.client
import itertools
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.candidates import ROOT, Candidate
from bench.processes import cores, pinned
from bench.requests import Ids, lua

PATIENCE = 30
"""Seconds after which wrk calls a request timed out: longer than any candidate lets its callers wait here."""
MARK = "bench "
MAX_IDS = 1000
"""Ids that the batch endpoint takes."""


class LoadFailure(Exception):
    """The load did not run, or a candidate does not answer at all."""


@dataclass(frozen=True)
class Load:
    """What callers do: each of ``connections`` asks for ``batch`` ids, waits for the answer, and asks again.

    The ids come from ``streams`` in turn. ``single`` asks the endpoint for one message. ``burst``: each connection
    asks once, all at the same moment, after a second in which they were open and silent. ``headers`` are sent besides
    the candidate's own, and ``tags`` as ``If-None-Match`` with the ids that they belong to.
    """

    streams: tuple[Ids, ...]
    connections: int
    seconds: float
    batch: int = 1
    single: bool = True
    burst: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    tags: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What the load saw. ``answered`` counts requests with a status below 400, ``refused`` the others, ``broken``
    the connections and requests that ended without an answer; percentiles are in milliseconds."""

    answered: int
    refused: int
    broken: int
    seconds: float
    p50: float
    p99: float
    p999: float
    load_cpu_seconds: float = 0.0


def tool(load: Load) -> str:
    """What runs this load."""
    return "wrk" if shutil.which("wrk") and not load.burst else "python"


def run(load: Load, candidate: Candidate, host: str, folder: Path, *, pin: bool = True) -> Report:
    """Run it against a candidate, on the second core or on any.

    Raises LoadFailure where it does not run; that nobody was answered is a result.
    """
    pair = cores() if pin else None
    command = pinned(_command(load, candidate, host, folder), None if pair is None else pair[1])
    before = _children_cpu()
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=load.seconds + PATIENCE + 30
    )
    if done.returncode:
        raise LoadFailure(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    report = parse(done.stdout)
    return dataclasses.replace(report, load_cpu_seconds=_children_cpu() - before)


def fill(ids: Ids, candidate: Candidate, host: str) -> None:
    """Ask once for all ids of a sequence that ends, in batches: what can be cached is cached then."""
    assert ids.count is not None
    connection = http.client.HTTPConnection(host, timeout=PATIENCE)
    shape = candidate.many
    chosen = iter(ids)
    for start in range(0, ids.count, MAX_IDS):
        batch = itertools.islice(chosen, min(MAX_IDS, ids.count - start))
        body = shape.opening + shape.between.join(map(str, batch)) + shape.closing
        connection.request(shape.method, shape.path, body, dict(shape.headers))
        reply = connection.getresponse()
        if reply.status != 200:
            raise LoadFailure(f"{candidate.name} refused a batch: {reply.status} {reply.read()!r}")
        reply.read()
    connection.close()


def tags(ids: Ids, share: int, candidate: Candidate, host: str) -> dict[int, str]:
    """The entity tags of every ``share``-th id of a sequence that ends; one that never matches where none is sent."""
    assert ids.count is not None
    connection = http.client.HTTPConnection(host, timeout=PATIENCE)
    found = {}
    for place in range(0, ids.count, share):
        id_ = ids[place]
        connection.request("GET", candidate.one.path.format(id=id_), headers=dict(candidate.one.headers))
        reply = connection.getresponse()
        reply.read()
        found[id_] = reply.headers.get("ETag", '"none"')
    connection.close()
    return found


def parse(output: str) -> Report:
    """The last line that begins with the mark; whatever else wrk prints is for people."""
    lines = [line for line in output.splitlines() if line.startswith(MARK)]
    if not lines:
        raise LoadFailure(f"the load reported nothing:\n{output[-2000:]}")
    return Report(**json.loads(lines[-1].removeprefix(MARK)))


def _command(load: Load, candidate: Candidate, host: str, folder: Path) -> list[str]:
    shape = candidate.one if load.single else candidate.many
    shape = dataclasses.replace(shape, headers=shape.headers + load.headers)
    if tool(load) == "wrk":
        script = folder / "load.lua"
        script.write_text(lua(shape, host, load.streams, load.batch, load.tags))
        options = ["-t1", f"-c{load.connections}", f"-d{load.seconds:.0f}s", f"--timeout={PATIENCE}s"]
        return ["wrk", *options, "-s", str(script), f"http://{host}/"]
    spec = folder / "load.json"
    settings = {each.name: getattr(load, each.name) for each in dataclasses.fields(load)}
    streams = [dataclasses.asdict(each) for each in load.streams]
    spec.write_text(
        json.dumps(
            {"shape": dataclasses.asdict(shape), "host": host}
            | settings
            | {"streams": streams, "tags": dict(load.tags)}
        )
    )
    return [sys.executable, "-m", "bench.client", str(spec)]


def _children_cpu() -> float:
    """CPU time of the child processes that have ended; the servers are still running."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
