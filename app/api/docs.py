"""Documentation that the service itself serves: Swagger UI's address, and a page for each problem."""

from html import escape

from fastapi import APIRouter, Path, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.api.catalogue import CATALOGUE, ProblemType
from app.api.problems import responses
from app.api.render import dump
from app.api.schemas import ProblemExplanation

router = APIRouter(tags=["Documentation"])

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; color: #1b2733 }}
h1 {{ font-size: 1.6rem }} h2 {{ font-size: 1.05rem; margin: 1.6rem 0 .2rem }} p {{ margin: .2rem 0 }}
code {{ background: #eef2f6; padding: .1em .3em; border-radius: 3px }}
.status {{ color: #5b6b7b }}
</style></head>
<body>
<p class="status">Problem {status} · <code>{slug}</code></p>
<h1>{title}</h1>
<h2>Cause</h2><p>{cause}</p>
<h2>What the caller does</h2><p>{caller}</p>
<h2>What the operator does</h2><p>{operator}</p>
<p><a href="/docs">All operations</a></p>
</body></html>
"""


@router.get("/", include_in_schema=False)
async def root() -> Response:
    """Whoever opens the bare address wants to look around."""
    return RedirectResponse("/docs")


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
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(_html(row), headers=headers)
    return Response(dump(explanation(row)), headers=headers, media_type="application/json")


def explanation(row: ProblemType) -> dict[str, str | int | bool]:
    """A row as JSON."""
    return {
        "type": row.type,
        "title": row.title,
        "status": row.status,
        "cause": row.cause,
        "caller": row.caller,
        "operator": row.operator,
        "retry_after": row.retry_after,
    }


def _html(row: ProblemType) -> str:
    return _PAGE.format(
        title=escape(row.title),
        status=row.status,
        slug=row.slug,
        cause=_code(row.cause),
        caller=_code(row.caller),
        operator=_code(row.operator),
    )


def _code(text: str) -> str:
    """Escaped text with its `backquotes` as code elements."""
    parts = escape(text, quote=False).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
