"""The platform's account: what each request carries, and what nobody may ever see."""

from collections.abc import Callable, Mapping
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


class Account:
    """The account's ``credentials``: parsed once, and again when ``reload`` is called.

    ``read`` makes them from the secrets in force.
    """

    def __init__(self, read: Callable[[], Credentials]) -> None:
        self._read = read
        self.credentials = read()

    def reload(self) -> None:
        """The secrets have changed."""
        self.credentials = self._read()
