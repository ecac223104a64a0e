"""The sandbox with poison: it refuses whole requests that hold an id from ``POISON`` on.

``LATENCY`` and ``WORKERS`` are the sandbox's, from the environment.
"""

import json
import os

from app.upstream.sandbox import Failure, Message, Sandbox
from bench.requests import POISON


class Poisoned(Sandbox):
    """Refuses what holds poison, with a text that is not documented."""

    def _refuse(self, scope: Message, body: bytes) -> Failure | None:
        failure = super()._refuse(scope, body)
        if failure is None and any(entry["id_sms"] >= POISON for entry in json.loads(body)):
            return Failure(400, '{"error": "The archive is being rebuilt"}', "")
        return failure


app = Poisoned(latency=float(os.environ["LATENCY"]), workers=int(os.environ["WORKERS"]))
