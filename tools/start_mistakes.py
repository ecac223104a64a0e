"""The mistakes of a start with the lines that they lead to: data for ``docs/configuration.md`` and for its test.

``tests/process/test_mistakes.py`` makes each of them over a real start.
"""

from typing import NamedTuple

SECRETS = "secrets"
"""The folder that SECRETS_DIR names where ``files`` has any."""
ACCOUNT = "UPSTREAM_TOKEN=token-of-the-account"


class StartMistake(NamedTuple):
    """What was done and what the start says.

    ``variables``: as ``NAME=value``, of the environment. ``env_file`` and ``files`` (by path): contents, of a folder
    where there is none. In ``told`` ``...`` stands for what depends on the machine, or is told elsewhere.
    """

    made: str
    told: str
    variables: tuple[bytes, ...] = (ACCOUNT.encode(),)
    env_file: bytes | None = b""
    files: tuple[tuple[str, bytes | None], ...] = ()


def _set(*variables: str) -> tuple[bytes, ...]:
    return (ACCOUNT.encode(), *(each.encode() for each in variables))


_QUOTE = "has a quote that is not closed, or text behind the closing one; allowed: NAME=value, quotes in pairs"
_NEEDS = "allowed: one of the two ways; UPSTREAM_URL=sandbox: needs neither"

MISTAKES: tuple[StartMistake, ...] = (
    StartMistake(
        "no credentials",
        "UPSTREAM_TOKEN: is missing, and so are UPSTREAM_LOGIN and UPSTREAM_PASSWORD (looked for in the environment, "
        f"in ... and in ...); {_NEEDS}",
        (),
    ),
    StartMistake(
        "a login alone",
        "UPSTREAM_PASSWORD: is missing although UPSTREAM_LOGIN is set (looked for in ...); allowed: both of them, or "
        "UPSTREAM_TOKEN",
        (b"UPSTREAM_LOGIN=name-of-the-account",),
    ),
    StartMistake(
        "a maximum below the lifetime that grows to it",
        "PENDING_TTL_MAX: is below PENDING_TTL; allowed: at least the 30 of PENDING_TTL",
        _set("PENDING_TTL=30", "PENDING_TTL_MAX=20"),
    ),
    StartMistake("`PORT=http`", "PORT: is not a whole number; allowed: 1 to 65535", _set("PORT=http")),
    StartMistake("`PORT=70000`", "PORT: is out of range; allowed: 1 to 65535", _set("PORT=70000")),
    StartMistake(
        "a port below 1024 without the right to it",
        "PORT: cannot listen on 127.0.0.1:80 (this user has no right to ports below 1024); allowed: a port from 1024 "
        "on, or the capability CAP_NET_BIND_SERVICE",
        _set("PORT=80"),
    ),
    StartMistake(
        "a metrics port that another instance has",
        "METRICS_PORT: cannot listen on ... (Address already in use); allowed: a port that is free on it, or 0 for no "
        "metrics; each instance on a machine needs one of its own",
        _set("METRICS_PORT=TAKEN"),
    ),
    StartMistake(
        "a quote in `.env` that is not closed", f".env, line 2: {_QUOTE}", env_file=b'# keys\nAPI_KEYS="shop:...\n'
    ),
    StartMistake(
        "a line of `.env` without `=`",
        ".env, line 1: is not of the form NAME=value; a comment begins with #",
        env_file=b"API_KEYS: shop:...\n",
    ),
    StartMistake(
        "a line of `.env` in another encoding", ".env, line 1: is not UTF-8", env_file=b"UPSTREAM_PASSWORD=\xff\n"
    ),
    StartMistake("`.env` is a folder", ".env: cannot be read (Is a directory)", env_file=None),
    StartMistake(
        "a variable in another encoding",
        "UPSTREAM_PASSWORD: is not UTF-8 in the environment",
        (ACCOUNT.encode(), b"UPSTREAM_PASSWORD=\xff"),
    ),
    StartMistake(
        "a secret's file in another encoding",
        "UPSTREAM_TOKEN: the file .../UPSTREAM_TOKEN is not UTF-8",
        (),
        files=(("secrets/UPSTREAM_TOKEN", b"\xff"),),
    ),
    StartMistake(
        "a secret's file that is a folder",
        "API_KEYS: the file .../API_KEYS cannot be read (Is a directory)",
        files=(("secrets/API_KEYS", None),),
    ),
    StartMistake(
        "a `SECRETS_DIR` that is not there",
        "SECRETS_DIR: nowhere is not there, or is no folder; allowed: a folder",
        _set("SECRETS_DIR=nowhere"),
    ),
    StartMistake(
        "quotes in a file for `docker run --env-file`",
        "UPSTREAM_TOKEN: is still in quotes in the environment, where they are part of the value; allowed: the value "
        "without them (in .env, unlike docker's --env-file, quotes may stand around it)",
        (b'UPSTREAM_TOKEN="token-of-the-account"',),
    ),
    StartMistake(
        "`;` between two keys",
        "API_KEYS: entry 1 has a ; between two keys, where a comma belongs; allowed: ...",
        _set("API_KEYS=shop:sixteen-characters;crm:other-16-characters"),
    ),
    StartMistake(
        "a line end between two keys",
        "API_KEYS: entry 1 has a line end between two keys, where a comma belongs; allowed: ...",
        _set("API_KEYS=shop:sixteen-characters\ncrm:other-16-characters"),
    ),
    StartMistake(
        "`UPSTREAM_URL=platform.example/state.php`",
        "UPSTREAM_URL: does not begin with http:// or https://; allowed: ...",
        _set("UPSTREAM_URL=platform.example/state.php"),
    ),
    StartMistake(
        "a login in the URL",
        "UPSTREAM_URL: has a user or a password in it, which have settings of their own; allowed: ...",
        _set("UPSTREAM_URL=https://me:secret@platform.example/"),
    ),
    StartMistake(
        "`UPSTREAM_URL=https://platform.example:http/`",
        "UPSTREAM_URL: has a port that is none of 1 to 65535; allowed: ...",
        _set("UPSTREAM_URL=https://platform.example:http/"),
    ),
    StartMistake(
        "`CACHE_URL=redis://redis/cache`",
        "CACHE_URL: has a path that is no number of a database; allowed: ...",
        _set("CACHE_URL=redis://redis/cache"),
    ),
    StartMistake(
        "a propagator that is not installed",
        "OTEL_PROPAGATORS: entry 1 is not installed; allowed: ...",
        _set("OTEL_PROPAGATORS=b3"),
    ),
    StartMistake(
        "`OTEL_BSP_SCHEDULE_DELAY=5s`",
        "OTEL_BSP_SCHEDULE_DELAY: is not a whole number from 1 on; allowed: such a number, or unset",
        _set("OTEL_BSP_SCHEDULE_DELAY=5s"),
    ),
    StartMistake(
        "authorities that are not there",
        "SSL_CERT_FILE: /nowhere/ca.pem cannot be read (No such file or directory); allowed: a file of certificates, "
        "or unset",
        _set("SSL_CERT_FILE=/nowhere/ca.pem"),
    ),
    StartMistake(
        "no folder for the metrics of several processes",
        "PROMETHEUS_MULTIPROC_DIR: is not a folder that this user may write to; allowed: unset, which is right for one "
        "process",
        _set("PROMETHEUS_MULTIPROC_DIR=/nowhere"),
    ),
)
