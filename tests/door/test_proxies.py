"""Behind real proxies, with kept connections and upgrades passed on, nobody sees another caller's answer."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.door.case import batch, get, request
from tests.support.door import RawCaller, at_the_door
from tests.support.running import free_port

pytestmark = pytest.mark.anyio

CLIENTS = 10
SMUGGLERS = 6
TURNS = 10
SMUGGLED = 82217
"""What the smuggler asks for, and hides in its bodies: pending for a while."""
OFFERS = (
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAA"),
    ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    ("Connection: Upgrade", "Upgrade: odd"),
)

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream service {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://service; proxy_http_version 1.1; proxy_request_buffering off;
      proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
    }}
  }}
}}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout tunnel 30s
  option http-keep-alive
  http-reuse always
frontend entry
  bind 127.0.0.1:{port}
  default_backend service
backend service
  server one 127.0.0.1:{upstream}
"""
CADDY = """
{{
  admin off
  auto_https off
}}
http://:{port} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{upstream} {{
    transport http {{
      keepalive_idle_conns_per_host 64
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A proxy's program, the text of its configuration, and how it is started with that file."""

    program: str
    configuration: str
    command: Callable[[Path], list[str]]


PROXIES = [
    Proxy("nginx", NGINX, lambda file: ["-c", str(file), "-p", str(file.parent)]),
    Proxy("haproxy", HAPROXY, lambda file: ["-db", "-f", str(file)]),
    Proxy("caddy", CADDY, lambda file: ["run", "--adapter", "caddyfile", "--config", str(file)]),
]


def installed(program: str) -> str | None:
    """Where a program is; Debian has some beside the usual path."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


@asynccontextmanager
async def proxied(proxy: Proxy, upstream: int, folder: Path) -> AsyncIterator[int]:
    """The proxy before a port; yields its own."""
    port = free_port()
    file = folder / "configuration"
    file.write_text(proxy.configuration.format(folder=folder, port=port, upstream=upstream))
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(
        installed(proxy.program) or "",
        *proxy.command(file),
        env=environment,
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            while process.returncode is None:
                with suppress(ConnectionError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        assert process.returncode is None, (await process.communicate())[1].decode()
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def one_client(number: int, port: int) -> None:
    """Asks again and again with a key and ids of its own, and looks at each answer."""
    for turn in range(TURNS):
        id_ = (number + 1) * 1_000_000 + turn * 10
        fields = (f"X-API-Key: planted-key-of-client-{number}", f"X-Request-ID: client-{number}-{turn}")
        async with asyncio.timeout(30):
            caller = RawCaller(*await asyncio.open_connection("127.0.0.1", port))
            body = b'{"ids":[%d]}' % id_
            await caller.send(batch(*fields, body=body) if turn % 2 else get(f"/messages/{id_}/state", *fields))
            reply = await caller.reply()
            await caller.close()
        assert reply.status == 200, reply
        assert reply.headers["x-request-id"] == f"client-{number}-{turn}"
        state = reply.document["states"][0] if turn % 2 else reply.document
        assert state["id"] == id_


async def smuggler(port: int, number: int) -> None:
    """Offers upgrades, with bodies that look like requests, as a whole and in packets of their own.

    Both requests take a second, so that a proxy has the first answer, and has given the connection to somebody else,
    before there is one to the second.
    """
    key = "X-API-Key: planted-key-of-client-0"
    hidden = get(f"/messages/{SMUGGLED + 10 * number}/state?wait=1", key, "X-Request-ID: smuggled")
    offer = OFFERS[number % len(OFFERS)]
    path = f"/messages/{SMUGGLED + 10 * number}/state?wait=1"
    fields = (*offer, key, f"Content-Length: {len(hidden)}")
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        async with asyncio.timeout(30):
            caller = RawCaller(*await asyncio.open_connection("127.0.0.1", port))
            await caller.send(request("GET", path, *fields))
            await asyncio.sleep(0.05 * (number % 3))
            await caller.send(hidden)
            reply = await caller.reply()
            assert reply.headers.get("x-request-id") != "smuggled"
            await caller.close()


@pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.program)
async def test_clients_behind_a_proxy_never_see_each_others_answers(proxy: Proxy, tmp_path: Path) -> None:
    if installed(proxy.program) is None:
        pytest.skip(f"needs {proxy.program} (Debian: the package {proxy.program})")
    keys = ",".join(f"client{number}:planted-key-of-client-{number}" for number in range(CLIENTS))
    async with at_the_door(api_keys=keys) as door, proxied(proxy, door.port, tmp_path) as port:
        await asyncio.gather(*(one_client(number, port) for number in range(CLIENTS)))
        await asyncio.gather(*(smuggler(port, number) for number in range(SMUGGLERS)))
        # Now the proxy's kept connections are those that a smuggler had.
        await asyncio.gather(*(one_client(number, port) for number in range(CLIENTS)))
