"""Every setting: its name is the variable's, its default, its range, and why it exists.

``loading`` reads them from the environment, ``.env`` and files; each is parsed here, once, into the type of its field.
``docs/configuration.md`` and ``.env.example`` are made from these fields (``make docs``).
"""

from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from app.settings import parsed
from app.settings.addresses import Network
from app.settings.parsed import InvalidValue
from app.settings.sources import DEFAULT_FOLDER
from app.telemetry.redaction import MIN_SECRET, NotSecret

ROTATING: dict[str, type[parsed.Secret]] = {
    "upstream_token": parsed.Secret,
    "upstream_login": parsed.Secret,
    "upstream_password": parsed.Secret,
    "api_keys": parsed.ApiKeys,
    "webhook_token": parsed.WebhookToken,
}
"""The secrets that may change while the service runs, and the types that they are parsed into."""


def number(default: float | None, low: float, high: float, why: str, *, not_below: str = "") -> Any:
    """A setting that is a number within a range, the ends included; ``not_below`` names one further up."""
    extra: dict[str, Any] = {"allowed": f"{low} to {high}", "not_below": not_below}
    return Field(default, ge=low, le=high, description=why, json_schema_extra=extra)


def grown(default: float, high: float, why: str, *, not_below: str) -> Any:
    """A setting that is a number up to ``high`` and not below the one named; unset, the default or that one if more."""
    extra: dict[str, Any] = {"allowed": f"{not_below.upper()} to {high}", "not_below": not_below, "default": default}
    return Field(
        default_factory=lambda values: max(float(default), values.get(not_below, 0.0)),
        ge=0,
        le=high,
        description=why,
        json_schema_extra=extra,
    )


def text(default: str | None, why: str, allowed: str) -> Any:
    """A setting that is a text, or is parsed from one; the default is parsed as well."""
    return Field(default, description=why, json_schema_extra={"allowed": allowed})


def allowed_values(field: FieldInfo) -> str:
    """A field's range in words, for messages and documentation."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "allowed" in extra:
        return str(extra["allowed"])
    options = getattr(field.annotation, "__args__", ())
    return ", ".join(option for option in options if isinstance(option, str))


_LOWER_CASE = BeforeValidator(str.lower)


class Settings(BaseModel):
    """The service's settings. Times are in seconds unless the name says otherwise."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )

    host: str = text("127.0.0.1", "Address to listen on; the image sets 0.0.0.0.", "an address or host name")
    port: int = number(8000, 1, 65535, "Port of the public interface.")
    metrics_port: int = number(9464, 0, 65535, "Port of the Prometheus metrics, at HOST; 0 = off.")
    root_path: Annotated[str | None, BeforeValidator(parsed.root_path)] = text(
        "",
        "Prefix under which a proxy publishes the service.",
        "a path like /sms or /tools/sms: letters, digits, and - _ . ~; not beginning with a path of the service's own",
    )
    secrets_dir: str = text(DEFAULT_FOLDER, "Folder of files named like a setting; used where it exists.", "a folder")

    upstream_url: Annotated[parsed.PlatformUrl, BeforeValidator(parsed.PlatformUrl)] = text(
        "http://lk.mysmpp.ru/json/state.php",
        "The platform's state.php, or `sandbox:` for the built-in stand-in.",
        "http://host/path, https://host/path (no user, password or fragment in it), or sandbox:",
    )
    upstream_token: parsed.Secret | None = Field(
        None, description="The account's secret key; wins over login and password."
    )
    upstream_login: parsed.Secret | None = Field(None, description="The account's login, with UPSTREAM_PASSWORD.")
    upstream_password: parsed.Secret | None = Field(None, description="The account's password, with UPSTREAM_LOGIN.")
    upstream_timezone: Annotated[ZoneInfo, BeforeValidator(parsed.time_zone)] = text(
        "Europe/Moscow", "Time zone of the account: the platform's times carry none.", "an IANA name like Europe/Moscow"
    )
    upstream_batch_size: int = number(100, 1, 1000, "Ids in one upstream request; 1 = never batch.")
    upstream_max_in_flight: int = number(4, 1, 1000, "Upstream requests at a time.")
    upstream_connect_timeout: float = number(1, 0.001, 300, "Time to connect to the platform, part of an attempt.")
    upstream_attempt_timeout: float = number(
        2, 0.001, 300, "Time for one upstream request, connecting included.", not_below="upstream_connect_timeout"
    )
    request_deadline: float = number(
        5, 0.001, 300, "Time in which every caller gets an answer.", not_below="upstream_attempt_timeout"
    )

    max_queued_ids: int = number(10_000, 1, 10_000_000, "Ids that may wait for the platform; more get `overloaded`.")

    cache_url: parsed.CacheUrl = text(
        parsed.MEMORY_URL,
        "Where answers are kept: `memory:`, or a Redis or Valkey that replicas share, behind the memory.",
        "memory:, redis://user:password@host:port/database, or rediss:// with TLS",
    )
    cache_prefix: Annotated[str, BeforeValidator(parsed.cache_prefix)] = text(
        "message-state", "What every key in Redis begins with.", "1 to 100 letters, digits, and - _ . :"
    )
    cache_max_entries: int = number(100_000, 1, 100_000_000, "Answers kept in memory; least recently used goes first.")
    pending_ttl: float = number(2, 0, 31_536_000, "How long a new pending or unknown state is good for.")
    delivered_ttl: float = number(60, 0, 31_536_000, "How long a new delivered state is good for.")
    pending_ttl_max: float = grown(
        60,
        31_536_000,
        "What PENDING_TTL and NOT_FOUND_TTL grow to as a state lasts, a tenth of its age; as much as PENDING_TTL = no "
        "growth. Unset: 60, or PENDING_TTL where that is more.",
        not_below="pending_ttl",
    )
    delivered_ttl_max: float = grown(
        3600,
        31_536_000,
        "What DELIVERED_TTL grows to in the same way; as much as DELIVERED_TTL = no growth. Unset: 3600, or "
        "DELIVERED_TTL where that is more.",
        not_below="delivered_ttl",
    )
    final_ttl: float = number(86_400, 0, 31_536_000, "How long a final state is kept.")
    not_found_ttl: float = number(
        2, 0, 31_536_000, "How long a new unknown id, or one with an error text, is not asked for again."
    )

    api_keys: parsed.ApiKeys | None = text(
        None,
        "Callers' keys; unset = anyone who reaches the port may ask.",
        "name:key,name:key; names of 1 to 64 characters A-Z a-z 0-9 . _ -; keys of at least 16 "
        "printable ASCII characters without space and comma; no name or key twice",
    )
    rate_limit: float | None = number(
        None,
        0.001,
        1_000_000,
        "Ids a second and caller (key, address or IPv6 /64), twice as many at once; unset = no limit. Per process.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(parsed.networks)] = text(
        "",
        "Networks of the proxies whose `X-Forwarded-For` is believed, with ports or without.",
        "comma-separated networks like 10.0.0.0/8 or fd00::/8, or addresses",
    )
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(parsed.origins)] = text(
        "",
        "Origins whose pages may call from the browser.",
        "comma-separated origins like https://shop.example or http://localhost:5173; no path, no *",
    )

    webhook_token: parsed.WebhookToken | None = text(
        None,
        "Ends the webhook's path, `/webhooks/message-states/TOKEN`; unset = no webhook.",
        "at least 16 characters A-Z a-z 0-9 . _ ~ -",
    )
    max_waiters: int = number(
        10_000,
        1,
        1_000_000,
        "Messages that may be waited for: a wait is 1, a stream of 100 is 100. More get `overloaded`; "
        "one caller has three quarters at most.",
    )

    shutdown_grace: float = number(20, 0, 3600, "After SIGTERM, the time in which requests in flight may finish.")

    log_level: Annotated[Literal["debug", "info", "warning", "error"], _LOWER_CASE] = Field(
        "info", description="The least level that is logged."
    )
    log_format: Annotated[Literal["json", "text"], _LOWER_CASE] = Field(
        "json", description="One JSON object a line, or text for people."
    )

    @field_validator("upstream_password")
    @classmethod
    def _completes_the_credentials(cls, value: parsed.Secret | None, info: ValidationInfo) -> parsed.Secret | None:
        """The last of the credential fields: sees all the others."""
        if info.data.get("upstream_token") is not None or info.data.get("upstream_url") == parsed.SANDBOX_URL:
            return value
        login = info.data.get("upstream_login")
        both = "both of them, or UPSTREAM_TOKEN"
        if value is not None and login is None:
            raise InvalidValue("is set without UPSTREAM_LOGIN", allowed=both)
        if value is None and login is not None:
            raise InvalidValue("is missing although UPSTREAM_LOGIN is set", allowed=both, missing=True)
        if value is None:
            raise InvalidValue(
                "is missing, and so are UPSTREAM_LOGIN and UPSTREAM_PASSWORD",
                allowed="one of the two ways; UPSTREAM_URL=sandbox: needs neither",
                name="upstream_token",
                missing=True,
            )
        return value

    @field_validator("*")
    @classmethod
    def _is_not_below(cls, value: Any, info: ValidationInfo) -> Any:
        """``number`` says for some settings which one they must not be below."""
        extra = cls.model_fields[str(info.field_name)].json_schema_extra
        other = str(extra.get("not_below", "")) if isinstance(extra, dict) else ""
        least = info.data.get(other)
        if least is not None and value < least:
            raise InvalidValue(f"is below {other.upper()}", allowed=f"at least the {least:g} of {other.upper()}")
        return value

    @staticmethod
    def for_sandbox(**overrides: Any) -> "Settings":
        """Settings that need no secret: for tests and tools."""
        return Settings(**{"upstream_url": parsed.SANDBOX_URL, **overrides})

    @property
    def sandboxed(self) -> bool:
        """Whether the built-in stand-in takes the place of the platform."""
        return self.upstream_url == parsed.SANDBOX_URL

    def shown(self) -> dict[str, object]:
        """The settings as the log may show them: of a secret only whether there is one."""
        return {name: _shown(getattr(self, name)) for name in type(self).model_fields}

    def alarms(self) -> list[str]:
        """What is allowed but surely not meant, one line each, free of secrets."""
        if not self.sandboxed or not self._credentials:
            return []
        names = " and ".join(name.upper() for name in self._credentials)
        names += " is set" if len(self._credentials) == 1 else " are set"
        return [
            f"UPSTREAM_URL: is sandbox: although {names}: EVERY ANSWER IS MADE UP, and the platform is never "
            "asked; set UPSTREAM_URL to the platform's address, or leave it out for the default"
        ]

    @property
    def _credentials(self) -> dict[str, str]:
        """The account's credentials that are set, by name."""
        values = {name: getattr(self, name) for name in ("upstream_token", "upstream_login", "upstream_password")}
        return {name: value.get_secret_value() for name, value in values.items() if value is not None}

    def warnings(self) -> list[str]:
        """What is allowed but probably not meant, one line each, free of secrets."""
        lines = []
        if self.sandboxed and not self._credentials:
            lines.append("UPSTREAM_URL: is sandbox:, so every answer is made up, and no platform is asked")
        lines += [
            f"{name.upper()}: has fewer than {MIN_SECRET} characters, so it is not searched for in the log"
            for name, value in self._credentials.items()
            if len(value) < MIN_SECRET
        ]
        if self.upstream_url.is_readable_on_the_way:
            lines.append("UPSTREAM_URL: plain http sends the account's credentials readable by anyone on the way")
        if self.upstream_token and (self.upstream_login or self.upstream_password):
            lines.append("UPSTREAM_TOKEN: wins; UPSTREAM_LOGIN and UPSTREAM_PASSWORD are not used")
        if self.api_keys is None:
            lines.append("API_KEYS: is not set, so anyone who reaches the port may ask for any message")
        if parsed.are_everything(self.trusted_proxies):
            lines.append(
                "TRUSTED_PROXIES: trusts every address, so any caller may pretend to be another one; name the networks "
                "of the proxies alone"
            )
        if 2 * self.upstream_attempt_timeout + 0.25 > self.request_deadline:
            lines.append(
                "REQUEST_DEADLINE: has no room for a retry; 2 x UPSTREAM_ATTEMPT_TIMEOUT + 0.25 s would fit one"
            )
        return lines


def _shown(value: object) -> object:
    match value:
        case parsed.Secret():
            return "set"
        case parsed.PlatformUrl():
            # Not taken for the service's own: it may hold a secret, put there by mistake.
            return value.without_query
        case tuple():
            return NotSecret(", ".join(map(str, value))) if value else None
        case str() | ZoneInfo():
            return NotSecret(value)
    return value
