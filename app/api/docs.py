"""Documentation that the service itself serves: Swagger UI from local files, a page for each problem, the runbook.

The files of Swagger UI lie in the package, because a cluster has no internet to load them from.
``static/swagger-ui/manifest.json`` names their version, licence and checksums.
"""

import gzip
import hashlib
import json
import pathlib
from functools import cache
from html import escape
from string import Template
from typing import Any, NamedTuple

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.api.caching import matches
from app.api.catalogue import CATALOGUE, ProblemType
from app.api.compression import MIN_COMPRESSED
from app.api.context import root_path_of, service_of
from app.api.negotiation import accepts_gzip, prefers_html
from app.api.problems import responses
from app.api.schemas import ProblemExplanation, dump

router = APIRouter(tags=["Documentation"])

_NOTHING_ELSE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE_POLICY = f"{_NOTHING_ELSE}; style-src 'self'; img-src 'self'"
# Swagger UI draws with data: images. It sets its styles through the object model, which needs no 'unsafe-inline'.
DOCS_POLICY = f"{_NOTHING_ELSE}; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"

_SANDBOX = '<p class="source sandbox"><strong>Sandbox:</strong> every answer is made up, no platform is asked.</p>'
_PLATFORM = '<p class="source"><strong>Live:</strong> the SMS platform answers.</p>'


@router.get("/", include_in_schema=False)
async def root(request: Request) -> Response:
    """Whoever opens the bare address wants to look around."""
    return RedirectResponse(f"{root_path_of(request.scope)}/docs")


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Swagger UI, and whose answers it shows."""
    source = _SANDBOX if service_of(request).settings.sandboxed else _PLATFORM
    page = Template(template("docs.html")).substitute(version=version(), source=source)
    return HTMLResponse(page, headers={"Cache-Control": "no-cache", "Content-Security-Policy": DOCS_POLICY})


@router.get("/docs/runbook", include_in_schema=False)
async def runbook() -> Response:
    """``docs/runbook.md`` as a page: whoever operates a deployed service has no repository at hand."""
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": PAGE_POLICY}
    return HTMLResponse(template("runbook.html"), headers=headers)


@router.get("/docs/{name:path}", include_in_schema=False)
async def asset(request: Request, name: str) -> Response:
    """A file that the pages load."""
    found = (await run_in_threadpool(assets)).get(name)
    if found is None:
        raise HTTPException(404)
    headers = {"ETag": found.etag, "Cache-Control": found.cache_control}
    content = found.content
    if found.compressed is not None:
        headers["Vary"] = "Accept-Encoding"
        if accepts_gzip(",".join(request.headers.getlist("accept-encoding"))):
            content = found.compressed
            headers |= {"ETag": f"W/{found.etag}", "Content-Encoding": "gzip"}
    if matches(request.headers.get("if-none-match", ""), found.etag):
        headers.pop("Content-Encoding", None)
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=found.media_type)


@router.get("/problems/", include_in_schema=False)
async def problems(request: Request) -> Response:
    """Every problem, explained: HTML for a browser, JSON for others."""
    headers = {"Vary": "Accept"}
    if prefers_html(", ".join(request.headers.getlist("accept"))):
        return HTMLResponse(_index(), headers=headers | {"Content-Security-Policy": PAGE_POLICY})
    root_path = root_path_of(request.scope)
    listed = {"problems": [explanation(row, root_path) for row in CATALOGUE.values()]}
    return Response(dump(listed), headers=headers, media_type="application/json")


@router.get(
    "/problems/{slug}",
    operation_id="getProblem",
    summary="A problem explained",
    description="The `type` of every problem document leads here: HTML for a browser, JSON for others.",
    response_model=ProblemExplanation,
    responses={
        200: {"content": {"text/html": {"schema": {"type": "string"}}}},
        **responses("route-not-found"),
    },
)
async def explain(
    request: Request, slug: str = Path(description="The last part of a problem's type.", examples=["message-not-found"])
) -> Response:
    """The catalogue's row for a slug."""
    row = CATALOGUE.get(slug)
    if row is None:
        raise HTTPException(404)
    headers = {"Vary": "Accept"}
    root_path = root_path_of(request.scope)
    if prefers_html(", ".join(request.headers.getlist("accept"))):
        return HTMLResponse(_html(row, root_path), headers=headers | {"Content-Security-Policy": PAGE_POLICY})
    return Response(dump(explanation(row, root_path)), headers=headers, media_type="application/json")


def explanation(row: ProblemType, root_path: str = "") -> dict[str, Any]:
    """A row as JSON."""
    return {
        "type": root_path + row.type,
        "title": row.title,
        "status": row.status,
        "cause": row.cause,
        "caller": row.caller,
        "operator": row.operator,
        "retry_after": row.retry_after,
    }


def _html(row: ProblemType, root_path: str) -> str:
    wait = "<p>Responses say in <code>Retry-After</code> after how many seconds to ask again.</p>"
    return Template(template("problem.html")).substitute(
        title=escape(row.title),
        status=row.status,
        slug=row.slug,
        type=root_path + row.type,
        cause=_code(row.cause),
        caller=_code(row.caller),
        operator=_code(row.operator),
        wait=wait if row.retry_after else "",
    )


def _index() -> str:
    rows = (
        f'<tr><td><span class="status">{row.status}</span></td><td><a href="{row.slug}">{row.slug}</a></td>'
        f"<td>{escape(row.title)}</td></tr>"
        for row in CATALOGUE.values()
    )
    return Template(template("problems.html")).substitute(rows="\n".join(rows))


def _code(text: str) -> str:
    """Escaped text with its `backquotes` as code elements."""
    parts = escape(text, quote=False).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


FOLDER = pathlib.Path(__file__).parent / "static"
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


def _asset(path: pathlib.Path, cache_control: str) -> Asset:
    content = path.read_bytes()
    tag = hashlib.blake2b(content, digest_size=12).hexdigest()
    compressed = gzip.compress(content, mtime=0) if len(content) >= MIN_COMPRESSED else None
    return Asset(content, compressed, _TYPES[path.suffix], f'"{tag}"', cache_control)
