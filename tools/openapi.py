"""``openapi/openapi.yaml`` from the code: ``make openapi``. Needs no secret and no network."""

from pathlib import Path

import yaml

from app.main import create_app
from app.settings import Settings

PATH = Path(__file__).parent.parent / "openapi" / "openapi.yaml"
_KEYS = "nobody:sixteen-characters"
HEADER = "# Made by `make openapi`. Change the code, not this file.\n"


class _Dumper(yaml.SafeDumper):
    """YAML for readers: long texts as blocks, and no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        """Write what is used twice twice; anchors would be named by chance."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def document() -> str:
    """The OpenAPI document of a service with keys before a real platform, as YAML."""
    settings = Settings(upstream_url="https://platform.invalid/json/state.php", upstream_token="none", api_keys=_KEYS)
    content = create_app(settings).openapi()
    return HEADER + yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(document(), encoding="utf-8")
