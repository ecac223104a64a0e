"""Real proxies before the service, each started by its test with a configuration of its own."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.running import free_port

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream service {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 100;
    location / {{
      proxy_pass http://service; proxy_http_version 1.1; proxy_request_buffering off;
      proxy_read_timeout {nginx_seconds}s;
      proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
    }}
  }}
}}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client {haproxy_seconds}s
  timeout server {haproxy_seconds}s
  timeout tunnel {haproxy_seconds}s
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
async def proxied(proxy: Proxy, upstream: int, folder: Path, times_faster: int = 1) -> AsyncIterator[int]:
    """The proxy before a port; yields its own. ``times_faster`` it gives up on whoever is silent: nginx after 60 s."""
    port = free_port()
    file = folder / "configuration"
    seconds = {"nginx_seconds": 60 // times_faster, "haproxy_seconds": 30 // times_faster}
    file.write_text(proxy.configuration.format(folder=folder, port=port, upstream=upstream, **seconds))
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


def skip_without(proxy: Proxy) -> None:
    """Skip the test where the proxy is not installed."""
    if installed(proxy.program) is None:
        pytest.skip(f"needs {proxy.program} (Debian: the package {proxy.program})")
