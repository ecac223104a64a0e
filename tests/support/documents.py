"""Reading what is large."""

from pathlib import Path
from typing import Any

import yaml


def read_yaml(path: Path) -> Any:
    """A YAML file, by the parser that is written in C: Python's takes half a second for the OpenAPI document."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
