"""The account's credentials: what the request carries, and what nobody may ever see."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """The fields that every element of a request carries. Never shown: ``repr`` leaves the values out."""

    fields: Mapping[str, str] = field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must appear in no log, error or reply."""
        return tuple(self.fields.values())

    @classmethod
    def choose(cls, token: str | None, login: str | None, password: str | None) -> "Credentials":
        """The token alone where there is one, else login and password. Raises ValueError where there is neither."""
        if token:
            return cls({"token": token})
        if login and password:
            return cls({"login": login, "password": password})
        raise ValueError("no credentials")
