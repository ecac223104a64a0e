"""The example page of ``openapi/examples``, compiled and served from a port of its own."""

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "openapi"
PROGRAMS = FOLDER / "node_modules" / ".bin"
needs_npm = pytest.mark.skipif(
    shutil.which("node") is None or not (PROGRAMS / "tsc").exists(),
    reason="node's packages are not installed; `npm ci --prefix openapi` does it",
)


def npm_program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the installed programs in ``openapi/``."""
    return subprocess.run(
        [str(PROGRAMS / name), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=300
    )


def build(target: Path) -> None:
    """Compile the page into an empty folder, and put beside it all that it loads."""
    done = npm_program("tsc", "-p", "examples", "--outDir", str(target / "build"))
    assert done.returncode == 0, done.stdout
    shutil.copy(FOLDER / "node_modules/openapi-fetch/dist/index.mjs", target / "build/openapi-fetch.js")
    for name in ("index.html", "style.css", "favicon.svg"):
        shutil.copy(FOLDER / "examples" / name, target / name)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Silent."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port; yields the origin."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
