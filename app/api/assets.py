"""The files behind ``/docs``: Swagger UI as its makers published it, and the few lines that are ours.

They lie in the package, because a cluster has no internet to load them from. ``static/swagger-ui/manifest.json``
names their version, licence and checksums.
"""

import gzip
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from app.api.compression import MIN_COMPRESSED

FOLDER = Path(__file__).parent / "static"
VENDORED = FOLDER / "swagger-ui"

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_OWN = ("docs.js", "style.css", "favicon.svg")
_SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")

# Ours change with any release, so a browser asks each time; a 304 costs nothing.
_REVALIDATE = "no-cache"
# The path of Swagger UI's names its version, so what stands there never changes.
_FOR_EVER = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """One file as it is served. ``compressed``: its content as gzip; None where it is too small for that."""

    content: bytes
    compressed: bytes | None
    media_type: str
    etag: str
    cache_control: str


@cache
def assets() -> dict[str, Asset]:
    """Every file by its path below ``/docs/``; read and compressed when the first page asks.

    That takes a tenth of a second: call it in a thread.
    """
    own = {name: _asset(FOLDER / name, _REVALIDATE) for name in _OWN}
    vendored = {f"swagger-ui-{version()}/{name}": _asset(VENDORED / name, _FOR_EVER) for name in _SWAGGER_UI}
    return own | vendored


@cache
def version() -> str:
    """The version of Swagger UI."""
    return str(json.loads((VENDORED / "manifest.json").read_text(encoding="utf-8"))["version"])


@cache
def template(name: str) -> str:
    """The text of a page, with ``$names`` to fill in."""
    return (FOLDER / name).read_text(encoding="utf-8")


def _asset(path: Path, cache_control: str) -> Asset:
    content = path.read_bytes()
    tag = hashlib.blake2b(content, digest_size=12).hexdigest()
    compressed = gzip.compress(content, mtime=0) if len(content) >= MIN_COMPRESSED else None
    return Asset(content, compressed, _TYPES[path.suffix], f'"{tag}"', cache_control)
