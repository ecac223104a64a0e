"""The platform's account: what each request carries, and what nobody may ever see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """The fields that every element of a request carries. Never shown: ``repr`` leaves the values out.

    ``also_hidden``: what else the platform knows and must not repeat to anybody. ``secrets``: all values that must
    appear in no log, error or reply.
    """

    fields: Mapping[str, str] = field(repr=False)
    also_hidden: tuple[str, ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "secrets", (*self.fields.values(), *self.also_hidden))

    @classmethod
    def choose(
        cls, token: str | None, login: str | None, password: str | None, also_hidden: tuple[str, ...] = ()
    ) -> "Credentials":
        """The token alone where there is one, else login and password. Raises ValueError where there is neither."""
        if token:
            return cls({"token": token}, also_hidden)
        if login and password:
            return cls({"login": login, "password": password}, also_hidden)
        raise ValueError("no credentials")


class Account:
    """The account's ``credentials``: parsed once, and again when ``reload`` is called.

    ``read`` makes them from the secrets in force.
    """

    def __init__(self, read: Callable[[], Credentials]) -> None:
        self._read = read
        self.credentials = read()

    def reload(self) -> None:
        """Read the credentials again."""
        self.credentials = self._read()
