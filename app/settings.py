"""Every setting: its name is the variable's, its default, its range, and why it exists.

``app/settings_loading.py`` reads them from the environment, ``.env`` and files; here they are checked.
``docs/configuration.md``, ``.env.example`` and the README's table are made from these fields (``make docs``).
"""

from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator

from app import settings_values
from app.settings_fields import missing, mistake, not_below, number, text
from app.settings_files import DEFAULT_FOLDER
from app.settings_urls import CachePrefix, CacheUrl, cache_url_field, shared_url, wrong_in_platform_url
from app.telemetry.redaction import MIN_SECRET, Own

SANDBOX_URL = "sandbox:"
SECRET_NAMES = ("upstream_token", "upstream_login", "upstream_password", "api_keys", "webhook_token")
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class Settings(BaseModel):
    """The service's settings. Times are in seconds unless the name says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)

    host: str = text("127.0.0.1", "Address to listen on; the image sets 0.0.0.0.", "an address or host name")
    port: int = number(8000, 1, 65535, "Port of the public interface.")
    metrics_port: int = number(9464, 0, 65535, "Port of the Prometheus metrics, at HOST; 0 = off.")
    root_path: str | None = text(
        None,
        "Prefix under which a proxy publishes the service.",
        "a path like /sms or /tools/sms: letters, digits, and - _ . ~; not beginning with a path of the service's own",
    )
    secrets_dir: str = text(DEFAULT_FOLDER, "Folder of files named like a setting; used where it exists.", "a folder")

    upstream_url: str = text(
        "http://lk.mysmpp.ru/json/state.php",
        "The platform's state.php, or `sandbox:` for the built-in stand-in.",
        "http://host/path, https://host/path (no user, password or fragment in it), or sandbox:",
    )
    upstream_token: SecretStr | None = Field(
        None, description="The account's secret key; wins over login and password."
    )
    upstream_login: SecretStr | None = Field(None, description="The account's login, with UPSTREAM_PASSWORD.")
    upstream_password: SecretStr | None = Field(
        None, description="The account's password, with UPSTREAM_LOGIN.", validate_default=True
    )
    upstream_timezone: str = text(
        "Europe/Moscow", "Time zone of the account: the platform's times carry none.", "an IANA name like Europe/Moscow"
    )
    upstream_batch_size: int = number(100, 1, 1000, "Ids in one upstream request; 1 = never batch.")
    upstream_max_in_flight: int = number(4, 1, 1000, "Upstream requests at a time.")
    upstream_connect_timeout: float = number(1, 0.001, 300, "Time to connect to the platform, part of an attempt.")
    upstream_attempt_timeout: float = number(2, 0.001, 300, "Time for one upstream request, connecting included.")
    request_deadline: float = number(5, 0.001, 300, "Time in which every caller gets an answer.")

    max_queued_ids: int = number(10_000, 1, 10_000_000, "Ids that may wait for the platform; more get `overloaded`.")

    cache_url: CacheUrl = cache_url_field()
    cache_prefix: CachePrefix = text(
        "message-state", "What every key in Redis begins with.", "1 to 100 letters, digits, and - _ . :"
    )
    cache_max_entries: int = number(100_000, 1, 100_000_000, "Answers kept in memory; least recently used goes first.")
    pending_ttl: float = number(2, 0, 31_536_000, "How long a pending or unknown state is good for.")
    delivered_ttl: float = number(60, 0, 31_536_000, "How long a delivered state is good for that can still be read.")
    final_ttl: float = number(86_400, 0, 31_536_000, "How long a final state is kept.")
    not_found_ttl: float = number(2, 0, 31_536_000, "How long an unknown id is not asked for again.")

    api_keys: SecretStr | None = Field(
        None,
        description="Callers' keys; unset = anyone who reaches the port may ask.",
        json_schema_extra={
            "allowed": "name:key,name:key; names of 1 to 64 characters A-Z a-z 0-9 . _ -; keys of at least 16 "
            "printable ASCII characters without space and comma; no name or key twice"
        },
    )
    rate_limit: float | None = number(
        None, 0.001, 1_000_000, "Ids a second and caller, twice as many at once; unset = no limit. Per process."
    )
    trusted_proxies: str | None = text(
        None,
        "Networks of the proxies whose `X-Forwarded-For` is believed.",
        "comma-separated networks like 10.0.0.0/8 or fd00::/8",
    )
    cors_origins: str | None = text(
        None,
        "Origins whose pages may call from the browser.",
        "comma-separated origins like https://shop.example or http://localhost:5173; no path, no *",
    )

    webhook_token: settings_values.WebhookToken = None
    max_waiters: int = number(10_000, 1, 1_000_000, "Callers that may wait or stream; more get `overloaded`.")

    shutdown_grace: float = number(20, 0, 3600, "After SIGTERM, the time in which requests in flight may finish.")

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level that is logged."
    )
    log_format: Literal["json", "text"] = Field("json", description="One JSON object a line, or text for people.")

    @model_validator(mode="before")
    @classmethod
    def _drop_blank_values(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Empty means unset, and a value pasted with a space or line end means the value."""
        stripped = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
        return {name: value for name, value in stripped.items() if value != ""}

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _fold_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("root_path")
    @classmethod
    def _is_a_prefix(cls, value: str | None) -> str | None:
        try:
            return settings_values.root_path(value) if value else None
        except ValueError as error:
            raise mistake(str(error)) from None

    @field_validator("upstream_url")
    @classmethod
    def _is_a_platform_url(cls, value: str) -> str:
        wrong = None if value == SANDBOX_URL else wrong_in_platform_url(value)
        if wrong:
            raise mistake(wrong)
        return value

    @field_validator("upstream_timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise mistake("is not a known time zone") from None
        return value

    @field_validator("upstream_password")
    @classmethod
    def _completes_the_credentials(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """The last of the credential fields: sees all the others."""
        if info.data.get("upstream_token") is not None or info.data.get("upstream_url") == SANDBOX_URL:
            return value
        login = info.data.get("upstream_login")
        if value is not None and login is None:
            raise mistake("is set without UPSTREAM_LOGIN", "both of them, or UPSTREAM_TOKEN")
        if value is None and login is not None:
            raise missing("is missing although UPSTREAM_LOGIN is set", "both of them, or UPSTREAM_TOKEN")
        if value is None:
            raise missing(
                "is missing, and so are UPSTREAM_LOGIN and UPSTREAM_PASSWORD",
                "one of the two ways; UPSTREAM_URL=sandbox: needs neither",
                name="upstream_token",
            )
        return value

    @field_validator("api_keys", "trusted_proxies", "cors_origins")
    @classmethod
    def _is_a_readable_list(cls, value: SecretStr | str | None, info: ValidationInfo) -> SecretStr | str | None:
        read = {"api_keys": settings_values.api_keys, "trusted_proxies": settings_values.networks}
        if value is not None:
            try:
                plain = value.get_secret_value() if isinstance(value, SecretStr) else value
                read.get(info.field_name or "", settings_values.origins)(plain)
            except ValueError as error:
                raise mistake(str(error)) from None
        return value

    @field_validator("upstream_attempt_timeout")
    @classmethod
    def _is_not_below_the_connect_timeout(cls, value: float, info: ValidationInfo) -> float:
        return not_below(value, "upstream_connect_timeout", info)

    @field_validator("request_deadline")
    @classmethod
    def _is_not_below_the_attempt_timeout(cls, value: float, info: ValidationInfo) -> float:
        return not_below(value, "upstream_attempt_timeout", info)

    @staticmethod
    def for_sandbox(**overrides: Any) -> "Settings":
        """Settings that need no secret: for tests and tools."""
        return Settings(**{"upstream_url": SANDBOX_URL, **overrides})

    @property
    def timezone(self) -> ZoneInfo:
        return ZoneInfo(self.upstream_timezone)

    @property
    def shared_cache_url(self) -> str | None:
        return shared_url(self.cache_url)

    @property
    def proxies(self) -> tuple[settings_values.Network, ...]:
        return settings_values.networks(self.trusted_proxies) if self.trusted_proxies else ()

    @property
    def origins(self) -> tuple[str, ...]:
        return settings_values.origins(self.cors_origins) if self.cors_origins else ()

    @property
    def sandboxed(self) -> bool:
        return self.upstream_url == SANDBOX_URL

    def shown(self) -> dict[str, object]:
        """The settings as the log may show them: of a secret only whether there is one."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        # Some put a key into the address.
        values["upstream_url"] = self.upstream_url.partition("?")[0]
        shown = {name: "set" if isinstance(value, SecretStr) else value for name, value in values.items()}
        # Only the address may hold a secret, put there by mistake.
        return {
            name: Own(value) if isinstance(value, str) and name != "upstream_url" else value
            for name, value in shown.items()
        }

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
        url = urlsplit(self.upstream_url)
        if url.scheme == "http" and url.hostname not in LOOPBACK_HOSTS:
            lines.append("UPSTREAM_URL: plain http sends the account's credentials readable by anyone on the way")
        if self.upstream_token and (self.upstream_login or self.upstream_password):
            lines.append("UPSTREAM_TOKEN: wins; UPSTREAM_LOGIN and UPSTREAM_PASSWORD are not used")
        if self.api_keys is None:
            lines.append("API_KEYS: is not set, so anyone who reaches the port may ask for any message")
        if 2 * self.upstream_attempt_timeout + 0.25 > self.request_deadline:
            lines.append(
                "REQUEST_DEADLINE: has no room for a retry; 2 x UPSTREAM_ATTEMPT_TIMEOUT + 0.25 s would fit one"
            )
        return lines
