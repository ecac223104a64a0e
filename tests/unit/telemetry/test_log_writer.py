"""The thread that writes the log, before a stream that takes everything, nothing, or less than it is given."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.telemetry import log_writer
from app.telemetry.log_writer import LogWriter

pytestmark = pytest.mark.usefixtures("own_logging")


class Pipe:
    """A pipe whose reader reads when it is told to."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def fill(self) -> int:
        """Write until it takes no more. Returns how much that was."""
        os.set_blocking(self.write_end, False)
        written = 0
        try:
            while True:
                written += os.write(self.write_end, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(self.write_end, True)
            return written

    def read(self, size: int) -> bytes:
        """So many bytes."""
        text = b""
        while len(text) < size:
            text += os.read(self.read_end, size - len(text))
        return text


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe that nobody reads from afterwards."""
    made = Pipe()
    yield made
    # Only this end: a thread may still write to the other one, whose number must be nobody else's.
    os.close(made.read_end)


def test_lines_are_written_whole_and_in_their_order(pipe: Pipe) -> None:
    writer = LogWriter(pipe.write_end)
    lines = [f"line {number} ä\n" for number in range(1000)]
    for line in lines:
        writer.write(line)
    assert writer.flush()
    expected = "".join(lines).encode()
    assert pipe.read(len(expected)) == expected
    assert (writer.lost, writer.stuck_seconds) == (0, 0)


def test_a_character_that_cannot_be_written_is_escaped(pipe: Pipe) -> None:
    writer = LogWriter(pipe.write_end)
    writer.write("half a pair: \ud800\n")
    assert pipe.read(20) == b"half a pair: \\ud800\n"


def test_a_pipe_that_nobody_reads_costs_lines_and_no_time(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "MAX_CHARACTERS", 100)
    filled = pipe.fill()
    told: list[str] = []
    writer = LogWriter(pipe.write_end)
    monkeypatch.setattr(log_writer.log, "error", lambda text, *args: told.append(text % args))
    writer.write("0123456789\n")
    assert not writer.flush(0.05)
    for _ in range(20):
        writer.write("0123456789\n")
    assert writer.stuck_seconds > 0
    # One is being written, eight wait.
    assert writer.lost == 12
    writer.report_losses()
    assert told == []
    pipe.read(filled)
    assert writer.flush()
    writer.report_losses()
    writer.report_losses()
    assert told == ["12 log lines are lost: standard error did not take them"]
    assert pipe.read(99) == b"0123456789\n" * 9


def test_the_loss_is_told_where_the_lines_are_missing(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the log itself: behind the lines that waited, which are the oldest, and before all that come later."""
    monkeypatch.setattr(log_writer, "MAX_LINES", 5)
    filled = pipe.fill()
    writer = LogWriter(pipe.write_end)
    monkeypatch.setattr(log_writer.log, "error", lambda text, *args: writer.write(text % args + "\n"))
    writer.write("line 0\n")
    writer.flush(0.05)
    for number in range(1, 21):
        writer.write(f"line {number}\n")
    pipe.read(filled)
    assert writer.flush()
    writer.report_losses()
    writer.write("line 21\n")
    assert writer.flush()
    written = [*(f"line {number}" for number in range(6)), "15 log lines are lost: standard error did not take them"]
    expected = "\n".join([*written, "line 21", ""]).encode()
    assert pipe.read(len(expected)) == expected


def test_the_number_of_lines_that_wait_is_bounded_as_well(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "MAX_LINES", 5)
    pipe.fill()
    writer = LogWriter(pipe.write_end)
    writer.write("\n")
    writer.flush(0.05)
    for _ in range(20):
        writer.write("\n")
    assert writer.lost == 15


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """``os.write`` as of a disk that takes so many bytes more; None for one that takes all."""
    room: list[int | None] = [None]
    write = os.write

    def write_if_there_is_room(descriptor: int, data: bytes) -> int:
        if room[0] is None:
            return write(descriptor, data)
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write_if_there_is_room)

    def leave(size: int | None) -> None:
        room[0] = size

    return leave


def test_a_full_disk_costs_the_lines_that_do_not_fit_and_harms_none_after_them(
    pipe: Pipe, refusing: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(log_writer.log, "error", lambda text, *args: told.append(text % args))
    writer = LogWriter(pipe.write_end)
    refusing(7)
    writer.write("fits\n")
    writer.flush()
    writer.write("is cut\n")
    writer.flush()
    writer.write("is lost\n")
    writer.flush()
    writer.report_losses()
    assert (writer.lost, told) == (2, [])
    refusing(None)
    writer.write("is whole\n")
    assert writer.flush()
    assert pipe.read(17) == b"fits\nis\nis whole\n"
    writer.report_losses()
    assert told == ["2 log lines are lost: standard error did not take them"]


def test_a_stream_that_does_not_wait_is_tried_again(pipe: Pipe) -> None:
    filled = pipe.fill()
    os.set_blocking(pipe.write_end, False)
    writer = LogWriter(pipe.write_end)
    writer.write("later\n")
    assert not writer.flush(0.05)
    pipe.read(filled)
    assert writer.flush()
    assert pipe.read(6) == b"later\n"
    assert writer.lost == 0


def test_a_forked_process_writes_its_own_lines(pipe: Pipe) -> None:
    filled = pipe.fill()
    writer = LogWriter(pipe.write_end)
    writer.write("parent\n")
    writer.flush(0.05)
    child = os.fork()
    if not child:
        writer.write("child\n")
        os._exit(0 if writer.flush(10) else 1)
    pipe.read(filled)
    assert os.waitpid(child, 0)[1] == 0
    assert writer.flush()
    assert sorted(pipe.read(13).splitlines()) == [b"child", b"parent"]


def test_without_lines_there_is_no_thread() -> None:
    before = threading.active_count()
    assert LogWriter().flush()
    assert threading.active_count() == before


def test_a_finalizer_that_writes_while_its_own_thread_writes_stops_nothing(tmp_path: Path) -> None:
    class Finalized(str):
        """Writes when it is looked at, as a finalizer does whenever the collector of garbage runs."""

        def __len__(self) -> int:
            writer.write("from a finalizer\n")
            return super().__len__()

    with (tmp_path / "log").open("wb") as file:
        writer = LogWriter(file.fileno())
        thread = threading.Thread(target=writer.write, args=(Finalized("a line\n"),), daemon=True)
        writer.write("the first\n")
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
        assert writer.flush(5)
    assert (tmp_path / "log").read_text().startswith("the first\n")
    assert "a line\n" in (tmp_path / "log").read_text()
