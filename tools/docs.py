"""The documents and tables that come from the code: ``make docs``.

``GENERATED`` names each file and the pure function that makes its text from the code and from the text that is there.
"""

import ast
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic.fields import FieldInfo

from app.api.catalogue import CATALOGUE, ProblemType
from app.settings import Settings
from app.settings.fields import allowed_values
from app.settings.parsed import Secret
from app.upstream import sandbox
from tools import dashboard, drawing, runbook_page, start_mistakes
from tools import faults as fault_table

ROOT = Path(__file__).parent.parent
MADE = "<!-- Made by `make docs`. Change the code, not this file. -->\n"

_ERRORS = """# Problems

Every response with a status of 400 or above is a problem document (`application/problem+json`, RFC 9457). Its `type`
is `/problems/<slug>` on the service itself: open it in a browser for the text below, or ask for it as JSON.

![The page of the problem upstream-throttled: cause, what the caller does, what the operator does](images/problem.png)

Branch on `type`, never on `title` or `detail`: those are for people and may change. `Retry-After` is in seconds.
A failure of the platform is always a 502, 503 or 504; 401 is about the caller's own key alone.
"""

_CONFIGURATION = """# Configuration

Every setting is a variable. It is looked up in this order, and the first place that has it wins:

1. the environment,
2. a file `.env` in the working directory (start from `.env.example`),
3. a file named like the variable, in capitals or not, in the folder `SECRETS_DIR`: the way Docker and Kubernetes mount
   secrets. `/run/secrets` may be missing; a folder that `SECRETS_DIR` names must be there.

Empty means unset. Space around a value, as a final line end in a file, is no part of it. Times are in seconds.

In `.env` a line is `NAME=value`, with or without `export` before it; a comment begins with `#`; quotes may stand around
a value. A value is taken as it is written: `${NAME}` is not expanded (up to 0.1 it was), so a password may contain it.
Of a name that is there twice the last value counts that is not empty. `docker run --env-file` reads such a file in its
own way: there quotes and comments become part of the value. The start refuses quotes around a variable's value.

The service needs either `UPSTREAM_TOKEN`, or `UPSTREAM_LOGIN` and `UPSTREAM_PASSWORD`; with `UPSTREAM_URL=sandbox:` it
needs neither. The times must not decrease in the order `UPSTREAM_CONNECT_TIMEOUT`, `UPSTREAM_ATTEMPT_TIMEOUT`,
`REQUEST_DEADLINE`.
"""

_MISTAKES = """## Mistakes and warnings

A mistake stops the start with exit status 2 and one line for each mistake: the file and the line or the name, what is
wrong, what is allowed; of a secret never the value. Without a mistake these are in the log as warnings:

- plain http to another machine, no `API_KEYS`, a deadline without room for a second attempt,
- a token beside a login, a credential of fewer than four characters (the log is not searched for it),
- the sandbox; beside the account's credentials it is an error in the log,
- a name that is no setting but at most two letters off one, or begins with `UPSTREAM_`, with the nearest one that is:
  in the environment, in `.env` and in `SECRETS_DIR` (`API_KEYS.txt`),
- a file in `SECRETS_DIR` that a variable hides, or that is empty; in `.env` a name that is there twice, or `${...}`,
- traces that are asked for without the extra `tracing`.

The start also logs the names of the callers that have a key.
"""

_LIBRARIES = """## Variables of libraries

These are no settings, and are read from the environment alone:

| variable | heeded by |
| --- | --- |
| `SSL_CERT_FILE`, `SSL_CERT_DIR` | TLS to the platform: the authorities to trust instead of the built-in ones |
| `OTEL_EXPORTER_OTLP_ENDPOINT` and the other `OTEL_...` | [traces](metrics.md#traces), with the extra `tracing` |
| `OTEL_PROPAGATORS` | the headers by which a trace goes on, with and without that extra |
| `PROMETHEUS_MULTIPROC_DIR` | the metrics' library; one process needs none, so leave it unset |

Authorities that cannot be loaded stop the start, except with `UPSTREAM_URL=sandbox:`. Proxy variables (`HTTP_PROXY` and
the like) are not heeded.
"""

_ENV_EXAMPLE = """# Made by `make docs`. Copy it to `.env`, or hand the copy to Docker with --env-file.
# Fill in the account's credentials, and keys for your callers.
# A line that begins with # has no effect: it shows a setting with its default.
# To try the service without an account: UPSTREAM_URL=sandbox: (every answer is made up then).
"""

_SANDBOX = """# The sandbox

With `UPSTREAM_URL=sandbox:` (`make run`) no platform is asked: a stand-in in the same process answers as the platform
does, failures included. The number of a message decides what; the last rule that fits counts.
"""

_TO_FILL_IN = frozenset({"UPSTREAM_TOKEN", "UPSTREAM_LOGIN", "UPSTREAM_PASSWORD", "API_KEYS"})
"""What stands in ``.env.example`` ready to be filled in."""


def errors(current: str = "") -> str:
    """``docs/errors.md``: the problem catalogue."""
    del current
    rows = list(CATALOGUE.values())
    overview = table(
        ("status", "problem", "`Retry-After`"),
        ((str(row.status), f"[{row.slug}](#{row.slug})", "yes" if row.retry_after else "") for row in rows),
    )
    return "\n".join([MADE, _ERRORS, overview, *map(_problem, rows)])


def _problem(row: ProblemType) -> str:
    return (
        f"## {row.slug}\n\n**{row.status} {row.title}.** {row.cause}\n\n"
        f"- The caller: {row.caller}\n- The operator: {row.operator}\n"
        f"- More, with commands: [runbook](runbook.md#{row.slug})\n"
    )


def configuration(current: str = "") -> str:
    """``docs/configuration.md``: every setting."""
    del current
    rows = ((_code(name), _code(default(field)), _allowed(field), why(field)) for name, field in settings())
    told = ((each.made, f"`{each.told}`") for each in start_mistakes.MISTAKES)
    return "\n".join(
        [
            MADE,
            _CONFIGURATION,
            table(("variable", "default", "allowed", "what it is"), rows),
            _MISTAKES,
            table(("mistake", "line"), told),
            _LIBRARIES,
        ]
    )


def env_example(current: str = "") -> str:
    """``.env.example``: every setting with its default, as a comment but for what nobody can do without."""
    del current
    lines = []
    for name, field in settings():
        allowed = _allowed(field)
        value = f"{name}=" if name in _TO_FILL_IN else f"# {name}={default(field)}"
        lines.append(f"# {why(field)}{f' Allowed: {allowed}' if allowed else ''}\n{value}\n")
    return "\n".join([_ENV_EXAMPLE, *lines])


def sandbox_numbers(current: str = "") -> str:
    """``docs/sandbox.md``: what the sandbox answers."""
    del current
    return "\n".join([MADE, _SANDBOX, table(("a number that", "answers"), sandbox.rules())])


def faults(current: str = "") -> str:
    """``docs/faults.md``: the fault suite, and that of the HTTP server."""
    del current
    tables = (f"## {heading}\n\n{table(fault_table.HEAD, rows)}" for heading, rows in fault_table.sections())
    clients = (
        f"### {heading}\n\n{table(fault_table.CLIENT_HEAD, rows)}" for heading, rows in fault_table.client_sections()
    )
    return "\n".join([MADE, fault_table.INTRODUCTION, *tables, fault_table.CLIENTS, *clients])


def architecture(current: str) -> str:
    """``docs/architecture.md`` with its table of modules replaced."""
    rows = []
    for path in sorted((ROOT / "app").rglob("*.py")):
        summary = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
        sentence = re.split(r"(?<=[.?])\s", " ".join(summary.split()))[0]
        rows.append((_code(str(path.relative_to(ROOT / "app"))), sentence.replace("``", "`")))
    return replace_block(current, "modules", table(("module", "what it is"), rows))


GENERATED: dict[str, Callable[[str], str]] = {
    "docs/errors.md": errors,
    "docs/faults.md": faults,
    "docs/configuration.md": configuration,
    ".env.example": env_example,
    "docs/sandbox.md": sandbox_numbers,
    "docs/images/request.svg": drawing.svg,
    "docs/architecture.md": architecture,
    "deploy/monitoring/dashboard.json": dashboard.document,
    "app/api/static/runbook.html": runbook_page.page,
}


def settings() -> list[tuple[str, FieldInfo]]:
    """Each setting's variable and field, in the order of the code."""
    return [(name.upper(), field) for name, field in Settings.model_fields.items()]


def default(field: FieldInfo) -> str:
    """The default as it would be written in a variable; empty where there is none."""
    extra = field.json_schema_extra
    value = extra["default"] if isinstance(extra, dict) and "default" in extra else field.default
    return "" if value is None else str(value)


def why(field: FieldInfo) -> str:
    """The field's description."""
    return field.description or ""


def _allowed(field: FieldInfo) -> str:
    return allowed_values(field) or ("a secret" if field.annotation == Secret | None else "")


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def replace_block(text: str, name: str, content: str) -> str:
    """The text with the content between ``<!-- name: … -->`` and ``<!-- /name -->`` replaced.

    Raises ValueError where the marks are not there once each, in this order.
    """
    before, opening, rest = text.partition(f"<!-- {name}: made by `make docs` -->\n")
    _, closing, after = rest.partition(f"<!-- /{name} -->")
    if not opening or not closing:
        raise ValueError(f"the marks of the block {name} are missing")
    return before + opening + "\n" + content + "\n" + closing + after


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    for path, make in GENERATED.items():
        target = ROOT / path
        text = make(target.read_text(encoding="utf-8") if target.exists() else "")
        target.write_text(text, encoding="utf-8")
