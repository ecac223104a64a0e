"""Java's own HTTP client, as it is: it offers an upgrade to HTTP/2 with every request."""

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.support.door import at_the_door

pytestmark = pytest.mark.anyio

SOURCE = """
import java.net.URI;
import java.net.http.*;

public class Ask {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int turn = 0; turn < 3; turn++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0] + "/messages/states"))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString("{\\"ids\\":[82216]}"))
                .build();
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(response.version() + " " + response.statusCode() + " " + response.body());
        }
    }
}
"""


@pytest.mark.skipif(
    shutil.which("java") is None or shutil.which("javac") is None, reason="needs a JDK (Debian: default-jdk-headless)"
)
async def test_java_posts_batches_with_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "Ask.java").write_text(SOURCE)
    async with at_the_door() as door:
        process = await asyncio.create_subprocess_exec(
            *("java", "-Djava.net.useSystemProxies=false", "Ask.java", f"http://127.0.0.1:{door.port}"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), 120)
    lines = output.decode().splitlines()
    assert len(lines) == 3, errors.decode()
    for line in lines:
        assert line.startswith('HTTP_1_1 200 {"states":[{"id":82216,')
