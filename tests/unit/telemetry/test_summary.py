"""A repeated fault is told once, and then how often it came back."""

import io
import logging
from collections.abc import Iterator

import pytest

from app.telemetry.logs import ACCESS, MAX_FAULTS, Summary

LOGGER = "test.summary"


class Log:
    """A logger behind the filter, with a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.written = io.StringIO()
        self.summary = Summary(lambda: self.now)
        self.handler = logging.StreamHandler(self.written)
        self.handler.addFilter(self.summary)
        self.handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self.logger = logging.getLogger(LOGGER)

    @property
    def lines(self) -> list[str]:
        """What was written."""
        return self.written.getvalue().splitlines()


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    log.logger.setLevel(logging.DEBUG)
    log.logger.addHandler(log.handler)
    logging.getLogger(ACCESS).addHandler(log.handler)
    logging.getLogger(ACCESS).setLevel(logging.INFO)
    yield log
    for name in (LOGGER, ACCESS):
        logging.getLogger(name).removeHandler(log.handler)
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_312_more_in_10_s(log: Log) -> None:
    for _ in range(313):
        log.logger.warning("upstream request failed: %s", "upstream-error")
    log.now = 9.9
    log.summary.flush()
    assert log.lines == ["WARNING upstream request failed: upstream-error"]
    log.now = 10.0
    log.summary.flush()
    assert log.lines[1:] == ["WARNING upstream request failed: upstream-error (312 more in 10 s)"]


def test_a_fault_that_lasts_is_one_line_in_ten_seconds(log: Log) -> None:
    for tenth in range(300):
        log.now = tenth / 10
        log.logger.error("x")
        log.summary.flush()
    assert log.lines == ["ERROR x", "ERROR x (99 more in 10 s)", "ERROR x (100 more in 10 s)"]


def test_the_next_one_brings_the_summary_where_nobody_flushed(log: Log) -> None:
    for moment in (0.0, 1.0, 12.0, 13.0, 24.0):
        log.now = moment
        log.logger.error("x")
    assert log.lines == ["ERROR x", "ERROR x (1 more in 10 s)", "ERROR x (2 more in 10 s)"]


def test_a_fault_that_comes_back_after_a_quiet_time_is_told_at_once(log: Log) -> None:
    for moment in (0.0, 1.0, 10.0, 20.0, 21.0):
        log.now = moment
        if moment in (0.0, 1.0, 21.0):
            log.logger.error("x")
        log.summary.flush()
    assert log.lines == ["ERROR x", "ERROR x (1 more in 10 s)", "ERROR x"]


def test_a_fault_that_came_once_has_no_summary(log: Log) -> None:
    log.logger.error("x")
    log.now = 20.0
    log.summary.flush()
    log.summary.flush()
    assert log.lines == ["ERROR x"]


def test_another_fault_is_another_line(log: Log) -> None:
    for slug in ("upstream-error", "upstream-timeout", "upstream-error"):
        log.logger.warning("upstream request failed: %s", slug)
    assert len(log.lines) == 2


def test_information_is_summarised_as_well_but_neither_requests_nor_debugging(log: Log) -> None:
    for _ in range(3):
        log.logger.info("information")
        log.logger.debug("detail")
        logging.getLogger(ACCESS).info("request")
    assert [log.lines.count(line) for line in ("INFO information", "DEBUG detail", "INFO request")] == [1, 3, 3]


def test_what_is_remembered_is_bounded_and_nothing_is_lost(log: Log) -> None:
    for number in range(MAX_FAULTS + 50):
        log.logger.warning("fault %d", number)
    assert len(log.lines) == MAX_FAULTS + 50
    assert len(log.summary._faults) == MAX_FAULTS


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([{}, {}], {"repeated": 1}),
        ([{"why": "refused", "entries": 1}, {"why": "reset"}], {"repeated": 1, "why": "reset"}),
    ],
)
def test_the_number_stands_in_a_field_of_its_own_beside_the_latest_reason(
    log: Log, fields: list[dict[str, object]], told: dict[str, object]
) -> None:
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    keep = Keep()
    log.logger.addHandler(keep)
    try:
        for each in fields:
            log.logger.error("x", extra={"fields": each} if each else None)
        log.now = 10.0
        log.summary.flush()
    finally:
        log.logger.removeHandler(keep)
    assert vars(records[-1])["fields"] == told
