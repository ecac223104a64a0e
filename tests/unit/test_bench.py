"""The benchmark's own arithmetic: ids, requests, what the load reports, what is made of it."""

import asyncio
import http.client
import itertools
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from app.upstream.sandbox import BY_LAST_DIGIT, Sandbox
from bench import plan
from bench.candidates import BATCHED, KEY, PEERS, ROOT, Candidate, Platform, service, started
from bench.client import Tally, percentile
from bench.load import Load, LoadFailure, parse
from bench.measurements import Counters, Sample, counters
from bench.plots import chart
from bench.report import BEGIN, END, between_marks, plots, tables
from bench.requests import CHANGING, DOCUMENTED, FINAL, UNKNOWN, Ids, Runs, Shape, lua
from bench.soak import growth
from bench.summary import Results, Spread, Start, judged
from tests.support.listening import listening

SAMPLE = Sample(
    lookups_per_second=1000.0,
    p50=10.0,
    p99=20.0,
    p999=30.0,
    cpu_per_lookup=0.5,
    resident_mb=60.0,
    requests_per_lookup=0.01,
    entries_per_lookup=1.0,
    ids_per_request=100.0,
    failed=0,
    settled=True,
    own_core=1.0,
    load_core=0.2,
)
GET = Shape("GET", "/messages/{id}/state", (("X-API-Key", "secret"),))
POST = Shape("POST", "/messages/states", (("Content-Type", "application/json"),), '{"ids":[', ",", "]}")


def first(count: int, ids: Ids) -> list[int]:
    return list(itertools.islice(ids, count))


def results(**samples: list[Sample]) -> Results:
    """One case, ``distinct-256``, with the samples of each candidate."""
    made = Results({"commit": "abc"}, {"distinct-256": "distinct ids"}, {"service": [Start(1.0, 60.0)]})
    made.samples = {("distinct-256", name): rounds for name, rounds in samples.items()}
    return made


def test_fresh_ids_never_repeat_within_a_run_or_between_runs() -> None:
    runs = Runs()
    ids = [id_ for _ in range(20) for id_ in first(5000, runs.fresh())]
    assert len(set(ids)) == len(ids)


def test_fresh_ids_are_never_those_that_were_known_before() -> None:
    known = {id_ for ids in (plan.POLLED, plan.FINALS, plan.CACHED) for id_ in first(ids.count or 0, ids)}
    assert len(known) == 4000
    assert min(known) > 1000
    assert max(known) < min(first(100, Runs().fresh()))


def test_ids_with_a_count_start_again_after_it() -> None:
    assert first(5, Ids(100, (2, 3), 3)) == [1002, 1003, 1012, 1002, 1003]


def test_the_last_digits_mean_in_the_sandbox_what_the_loads_take_them_for() -> None:
    words = [word for word, _ in BY_LAST_DIGIT]
    assert {words[digit] for digit in FINAL} == {"read", "not_deliver", "expired"}
    assert {words[digit] for digit in CHANGING} == {"send", "deliver"}
    assert len({words[digit] for digit in DOCUMENTED}) == 6
    assert words[UNKNOWN] is None


def test_a_single_request_carries_the_id_in_its_path() -> None:
    assert next(GET.requests("host:1", (Ids(100, (2,)),), 1)) == (
        b"GET /messages/1002/state HTTP/1.1\r\nHost: host:1\r\nX-API-Key: secret\r\n\r\n"
    )


def test_a_page_sends_the_tags_that_it_has_with_their_ids_alone() -> None:
    first_, second = itertools.islice(GET.requests("host:1", (Ids(100, (2, 3)),), 1, {1003: '"tag"'}), 2)
    assert b"If-None-Match" not in first_
    assert second == (
        b'GET /messages/1003/state HTTP/1.1\r\nHost: host:1\r\nX-API-Key: secret\r\nIf-None-Match: "tag"\r\n\r\n'
    )


def test_a_batch_takes_its_ids_from_the_streams_in_turn() -> None:
    head, _, body = next(POST.requests("host:1", (Ids(100, (2,)), Ids(500, (3,))), 4)).partition(b"\r\n\r\n")
    assert json.loads(body) == {"ids": [1002, 5003, 1012, 5013]}
    assert f"Content-Length: {len(body)}".encode() in head


def test_the_platform_asked_directly_gets_its_documented_request() -> None:
    shape = Platform(0.03, 16).candidate().many
    head, _, body = next(shape.requests("host:1", (Ids(100, (2,)),), 2)).partition(b"\r\n\r\n")
    assert json.loads(body) == [{"token": "sandbox-token", "detail": 0, "id_sms": id_} for id_ in (1002, 1012)]
    assert b"Content-Type: text/json; charset=utf-8\r\n" in head


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk runs the script; without it the load is Python's")
@pytest.mark.parametrize(("shape", "batch", "tags"), [(GET, 1, {}), (GET, 1, {5003: '"tag"'}), (POST, 3, {})])
def test_wrk_sends_the_same_ids_as_python_and_reports_what_it_saw(
    shape: Shape, batch: int, tags: dict[int, str], tmp_path: Path
) -> None:
    streams = (Ids(2**40, DOCUMENTED), Ids(500, (3, 4), 3))
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            length = re.search(rb"Content-Length: (\d+)", head)
            seen.append(head + await reader.readexactly(int(length[1]) if length else 0))
            await asyncio.sleep(0.002)  # some hundred answers in wrk's second are enough
            status = b"404 Not Found" if len(seen) % 2 else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    async def run() -> str:
        async with listening(answer) as port:
            return await measured(f"127.0.0.1:{port}")

    async def measured(host: str) -> str:
        script = tmp_path / "load.lua"
        script.write_text(lua(shape, host, streams, batch, tags))
        wrk = await asyncio.create_subprocess_exec(
            "wrk", "-t1", "-c1", "-d1s", "-s", str(script), f"http://{host}/", stdout=subprocess.PIPE
        )
        output, _ = await wrk.communicate()
        expected = list(itertools.islice(shape.requests(host, streams, batch, tags), 101))
        # wrk asks the script for one request before it starts, which it never sends.
        assert seen[:100] in (expected[:100], expected[1:101])
        return output.decode()

    report = parse(asyncio.run(run()))
    assert report.answered + report.refused == pytest.approx(len(seen), abs=1)
    assert report.answered == pytest.approx(report.refused, abs=1)
    assert report.broken == 0
    assert 0 < report.p50 <= report.p99 <= report.p999


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def test_the_report_is_read_from_among_what_wrk_prints_for_people() -> None:
    output = """Running 1s test @ http://127.0.0.1:1/
Requests/sec:    100.00

bench {"answered": 99, "refused": 1, "broken": 2, "seconds": 1.000500, "p50": 1.5, "p99": 2.5, "p999": 3.5}
"""
    report = parse(output)
    assert (report.answered, report.refused, report.broken) == (99, 1, 2)
    assert (report.seconds, report.p50, report.p99, report.p999) == (1.0005, 1.5, 2.5, 3.5)


def test_a_load_without_a_report_is_a_failure_and_not_a_zero() -> None:
    with pytest.raises(LoadFailure, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1\n")


def test_the_python_load_reports_in_the_same_form() -> None:
    tally = Tally()
    tally.latencies = [n / 1000 for n in range(1000, 0, -1)]
    tally.refused = 10
    report = parse(tally.line(2.0))
    assert (report.answered, report.refused, report.seconds) == (990, 10, 2.0)
    assert (report.p50, report.p99, report.p999) == pytest.approx((500, 990, 999))


def test_a_percentile_is_a_value_that_was_seen() -> None:
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert percentile([1.0, 2.0, 3.0], 0.999) == 3.0
    assert percentile([1.0], 0.5) == 1.0
    assert percentile([], 0.5) == 0.0


def test_every_case_names_candidates_that_are_run_and_has_a_name_of_its_own() -> None:
    cases = [case for _, each in plan.FULL for case in each]
    assert len({case.name for case in cases}) == len(cases)
    runnable = {"service", "wide", "platform"} | {peer.name for peer in PEERS}
    assert {name for case in cases for name in case.candidates} == runnable
    for case in cases:
        load: Load = case.load(Runs())
        assert load.streams
        assert load.seconds == int(load.seconds), "wrk takes whole seconds"


def test_the_service_runs_with_everything_on() -> None:
    candidate: Candidate = service(ROOT)
    assert re.fullmatch(r"bench:\S{26,32}", candidate.env["API_KEYS"])
    assert dict(candidate.one.headers)["X-API-Key"] == candidate.env["API_KEYS"].partition(":")[2]
    assert candidate.env["METRICS_PORT"] != "0"


def test_a_spread_is_the_median_between_the_lowest_and_the_highest() -> None:
    assert Spread.of([5.0, 1.0, 3.0]) == (3.0, 1.0, 5.0)


def test_a_ratio_divides_the_runs_of_one_round() -> None:
    made = results(
        service=[replace(SAMPLE, lookups_per_second=rate) for rate in (2000.0, 900.0)],
        plain=[replace(SAMPLE, lookups_per_second=rate) for rate in (100.0, 30.0)],
    )
    assert made.ratios("distinct-256", "lookups_per_second", "service", "plain") == [20.0, 30.0]


def test_targets_are_judged_by_the_median_and_left_out_where_nothing_was_measured() -> None:
    slow, fast = replace(SAMPLE, lookups_per_second=100.0), replace(SAMPLE, lookups_per_second=2000.0)
    made = results(service=[fast, fast, slow], plain=[slow, slow, slow])
    verdicts = {target.title: (spread, kept) for target, spread, kept in judged(made)}
    assert verdicts["256 connections, distinct ids: lookups/s, times the plain proxy's"] == ((20.0, 1.0, 20.0), True)
    assert verdicts["… p99, ms"][1]
    assert "… of the ceiling's" not in verdicts
    made = results(service=[fast, slow, slow], plain=[slow, slow, slow])
    assert not judged(made)[0][2]


def test_a_time_is_compared_with_the_platforms_where_that_had_more_rounds() -> None:
    made = results(platform=[SAMPLE] * 5)
    made.samples = {
        ("distinct-1", "platform"): [SAMPLE] * 5,
        ("batch-1000", "service"): [replace(SAMPLE, p50=35.0)] * 3,
    }
    verdicts = {target.title: spread for target, spread, _ in judged(made)}
    assert verdicts["a batch of 1000 distinct ids: median, times the platform's own"] == (3.5, 3.5, 3.5)


def test_results_are_the_same_after_a_trip_through_json() -> None:
    made = results(service=[SAMPLE, replace(SAMPLE, ids_per_request=None)], ceiling=[SAMPLE])
    made.memory = {0: 60.0, 1_000_000: 360.5}
    made.notes = ["a note"]
    assert Results.load(json.loads(json.dumps(made.document()))) == made


def test_the_table_shows_median_spread_and_a_broken_promise() -> None:
    rates = (1000.0, 1200.0, 1100.0)
    made = results(service=[replace(SAMPLE, lookups_per_second=rate, p99=300.0) for rate in rates])
    text = tables(made)
    assert "| this service | 1,100 | 1,000 - 1,200 | 10.0 | 300.0 | 30.0 | 0.500 | 60 | 0.0100 | 1.00 | 0 |" in text
    assert "| … p99, ms | at most 250 | 300 | 300 - 300 | **no** |" in text


def test_the_memory_of_a_full_cache_is_shown_and_judged() -> None:
    made = results()
    assert "final states in the cache" not in tables(made)
    made.memory = {0: 60.0, 1_000_000: 480.0}
    text = tables(made)
    assert "| final states in the cache | 0 | 1,000,000 |" in text
    assert "| memory, MB | 60 | 480 |" in text
    assert "| a million cached final states: MB more | at most 400 | 420 | 420 - 420 | **no** |" in text


def test_the_tables_replace_only_what_stands_between_the_marks() -> None:
    assert between_marks(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nb"
    with pytest.raises(ValueError, match="no <!-- bench"):
        between_marks("no marks", "new")


def test_plots_are_well_formed_and_keep_every_point_inside() -> None:
    made = Results({}, {}, {}, memory={0: 60.0, 1_000_000: 360.5})
    for callers in (1, 16, 1024):
        for name, factor in (("service", 30), ("plain", 1), ("ceiling", 100), ("platform", 2)):
            sample = replace(SAMPLE, lookups_per_second=callers * factor, p99=0.0 if callers == 1 else 5.0 * factor)
            made.samples[f"distinct-{callers}", name] = [sample]
    drawn = plots(made)
    assert drawn.keys() == {"throughput", "p99", "upstream", "memory"}
    for svg in drawn.values():
        root = ElementTree.fromstring(svg)
        width, height = (float(side) for side in root.attrib["viewBox"].split()[2:])
        circles = root.findall("{http://www.w3.org/2000/svg}circle")
        assert circles
        for circle in circles:
            assert 0 < float(circle.attrib["cx"]) < width
            assert 0 < float(circle.attrib["cy"]) < height


def test_a_greater_value_stands_higher_and_further_right() -> None:
    for log in (False, True):
        svg = chart("t", "x", "y", {"a & b": [(10, 3), (200, 70)]}, log_x=log, log_y=log)
        low, high = ElementTree.fromstring(svg).findall("{http://www.w3.org/2000/svg}circle")
        assert float(low.attrib["cx"]) < float(high.attrib["cx"])
        assert float(low.attrib["cy"]) > float(high.attrib["cy"])


def test_a_soak_sees_growth_but_not_the_warm_up() -> None:
    warm = [60.0, 70.0, 80.0, 90.0]
    assert growth(warm + [100.0] * 16) == 0.0
    assert growth(warm + [100.0 + n for n in range(16)]) == pytest.approx(13.0)


def test_the_stand_alone_sandbox_tells_its_counters() -> None:
    sandbox = Sandbox()
    sandbox.requests, sandbox.entries = 3, 250
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    async def ask() -> None:
        await sandbox({"type": "http", "path": "/counters"}, receive, send)

    asyncio.run(ask())
    assert json.loads(sent[1]["body"]) == {"requests": 3, "entries": 250}
    assert sandbox.requests == 3


def test_the_day_s_work_batches_caches_and_compares_tags_as_the_service_does(tmp_path: Path) -> None:
    def ask(method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, Any, str | None]:
        connection = http.client.HTTPConnection(peer.host, timeout=10)
        connection.request(method, path, body, {"X-API-Key": KEY, "Content-Type": "application/json", **headers})
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, json.loads(content) if content else None, reply.headers["ETag"]

    with (
        started(Platform(0.0, 4).candidate(), tmp_path) as platform,
        started(BATCHED, tmp_path, platform) as peer,
    ):
        status, batch, _ = ask("POST", "/messages/states", '{"ids":[10002,10003,10004],"detail":false}')
        assert (status, [each["state"] for each in batch["states"]]) == (200, ["read", "not_deliver", "expired"])
        assert counters(platform) == Counters(requests=1, entries=3)
        status, state, tag = ask("GET", "/messages/10003/state")
        assert (status, state["outcome"], state["final"]) == (200, "failed", True)
        assert tag
        assert ask("GET", "/messages/10003/state", **{"If-None-Match": tag})[0] == 304
        assert counters(platform) == Counters(requests=1, entries=3), "what is cached is not asked for again"
        assert ask("GET", "/messages/10003/state", **{"X-API-Key": "wrong"})[0] == 401
