"""The settings: every one of them, where their values come from, and the secrets that change while the service runs."""

from app.settings.fields import Settings

__all__ = ["Settings"]
