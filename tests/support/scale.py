"""How much the tests do: all of it in CI, where ``CI`` is set, and elsewhere so much that nobody waits a minute."""

import os

import pytest

CI = bool(os.environ.get("CI"))


def scaled(in_ci: int, elsewhere: int) -> int:
    """A number of examples, requests or processes, of which fewer show the same, only less surely."""
    return in_ci if CI else elsewhere


only_in_ci = pytest.mark.skipif(not CI, reason="takes seconds, and others show most of it: runs where CI is set")
