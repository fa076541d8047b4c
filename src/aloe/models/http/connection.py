"""HTTP for all clients of this package: sessions, addresses, secrets, classification of failures.

Keys are read from environment variables and never leave this module: every text from outside is redacted before it
becomes part of an error.
"""

from __future__ import annotations

import math
import os
import re
import time
import urllib.request
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
import orjson
from yarl import URL

from aloe.config import ModelConfig
from aloe.config.exposure import OPENAI_BASE, OPENAI_KEY, usual_address, usual_key
from aloe.errors import ConfigError, EndpointError

GATEWAY_STATUS = frozenset({502, 503, 507, *range(520, 531)} - {524})  # nobody behind the address answers
RETRYABLE_STATUS = frozenset({408, 409, 425, 429, 500, 504, 524}) | GATEWAY_STATUS
UNKNOWN_PATIENCE = 10.0  # seconds: a name that nobody knows, or a port that speaks no TLS, is rather a slip of the pen
_UNKNOWN = aiohttp.ClientConnectorDNSError | aiohttp.ClientConnectorSSLError
_USED_UP = re.compile(rb"insufficient_quota|billing_hard_limit|billing_not_active|credit balance is too low", re.I)


def make_session(limit: int = 0, timeout_seconds: float = 120.0) -> aiohttp.ClientSession:
    """A session as this package uses it. ``limit`` 0: the limiter bounds the connections."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit, ttl_dns_cache=300, keepalive_timeout=30),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=min(30.0, timeout_seconds)),
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # bodies does that, up to a limit
        max_line_size=32 * 1024,
        max_field_size=32 * 1024,
    )


class Endpoint:
    """Address, secrets and error texts of one server: what chat and embeddings share.

    Raises:
        ConfigError: an environment variable that the config names is not set, or the address is not a URL.
    """

    def __init__(self, config: ModelConfig, path: str) -> None:
        base = (config.base_url or usual_address()).rstrip("/")
        named = "base_url" if config.base_url else f"${OPENAI_BASE}"
        if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).hostname:
            raise ConfigError(f"{named} '{base}' of {config.uri} is not a valid address", "write http://HOST:PORT/v1")
        if "@" in urlsplit(base).netloc:
            raise ConfigError(
                f"{named} of {config.uri} contains a user name or password, which would be stored with the run",
                "name an environment variable in api_key_env or headers_env",
            )
        self.url = URL(f"{base}/{path}")
        self.host = urlsplit(base).netloc
        self._secrets: dict[str, str] = {}  # value -> what stands for it
        self.headers = {"Content-Type": "application/json"}
        key_env = config.api_key_env or usual_key(config)
        if key_env is not None:
            self.headers["Authorization"] = f"Bearer {self._secret(key_env, config.uri)}"
        for header, variable in config.headers_env.items():
            self.headers[header] = self._secret(variable, config.uri)
        self.proxy = _proxy_of(base)

    def _secret(self, variable: str, uri: str) -> str:
        value = os.environ.get(variable, "").strip()
        if not value:
            raise ConfigError(
                f"{uri} needs the environment variable {variable}, which is not set",
                f"export {variable}=...{f', or {OPENAI_BASE} for another server' if variable == OPENAI_KEY else ''}",
            )
        if not value.isprintable():
            raise ConfigError(f"the value of {variable} contains a line break or control character", "set it again")
        self._secrets[value] = f"[{variable}]"
        return value

    def is_told(self, raw: bytes) -> bool:
        """Whether an answer holds one of our secrets."""
        return any(value.encode() in raw or orjson.dumps(value)[1:-1] in raw for value in self._secrets)

    def redact(self, text: str) -> str:
        for value, stand_in in self._secrets.items():
            text = text.replace(value, stand_in)
        return text

    def clean(self, raw: bytes | str) -> str:
        """What a server said, as one short line without secrets."""
        text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
        return " ".join(self.redact(text).split())[:300]

    def refused(self, status: int, raw: bytes, headers: Mapping[str, str], what: str) -> EndpointError:
        hints = {401: "check the key", 403: "check the key's rights", 404: "check base_url and model name"}
        hint = hints.get(status, "the endpoint's logs may say more")
        is_used_up = status == 402 or (status == 429 and _USED_UP.search(raw) is not None)
        if is_used_up:
            hint = "the account has nothing left to spend"
        stops = status == 401 or is_used_up
        if stops:
            hint += ", then run the same command again: completed calls are kept"
        return EndpointError(
            f"{what} at {self.host} answered {status}: {self.clean(error_text(raw))}",
            hint,
            status=status,
            retryable=status in RETRYABLE_STATUS and not stops,
            possibly_billed=status in (408, 504, 524),
            retry_after=read_retry_after(headers),
            stops=stops,
        )

    def broken(self, error: BaseException, what: str, seconds: float) -> EndpointError:
        """A connection fault or time-out as ours. ``status`` 0; not billed if nothing can have arrived."""
        if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
            return EndpointError(
                f"{what} at {self.host} did not answer within {seconds:g} s",
                "raise timeout_seconds, or ask for fewer tokens",
                status=408, retryable=True, possibly_billed=True,
            )  # fmt: skip
        unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return EndpointError(
                f"{what} at {self.host}: no secure connection ({self.clean(str(error))})",
                "correct base_url or the server's certificate, then run the same command again",
                stops=True,
            )
        detail = self.clean(str(error)) or type(error).__name__
        return EndpointError(
            f"{what} at {self.host}: {'no connection' if unsent else 'connection lost'} ({detail})",
            "check base_url and that the server runs",
            status=0, retryable=True, possibly_billed=not unsent,
            patience=UNKNOWN_PATIENCE if isinstance(error, _UNKNOWN) else None,
        )  # fmt: skip


def error_text(raw: bytes) -> str:
    """The message in an error body, whatever its shape."""
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw.decode("utf-8", "replace")
    inner = data.get("error", data) if isinstance(data, dict) else data
    if isinstance(inner, dict):
        found = inner.get("message") or inner.get("detail")
        param = inner.get("param")
        if isinstance(found, str):
            return f"{found} (param: {param})" if param else found
    return inner if isinstance(inner, str) else orjson.dumps(inner).decode()


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``Retry-After`` (seconds, or a date by the server's own clock)."""
    for name, scale in (("retry-after-ms", 0.001), ("Retry-After", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            seconds = _seconds_until(value, headers.get("Date"))
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _seconds_until(date: str, now: str | None) -> float:
    """From the one HTTP date to the other (default: our clock); NaN where it is not a date."""
    try:
        then = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return math.nan
    try:
        return then - parsedate_to_datetime(now or "").timestamp()
    except (TypeError, ValueError, OverflowError):
        return then - time.time()


def _proxy_of(base: str) -> str | None:
    """The proxy that the environment names for this address, looked up once and not per call."""
    parts = urlsplit(base)
    if parts.hostname is None or urllib.request.proxy_bypass(parts.hostname):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def allow_open_files(n: int) -> None:
    """Raise this process's limit of open files to ``n`` where the system lets it: every call in flight holds one."""
    try:
        import resource
    except ImportError:  # not a POSIX system: no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = n if hard == resource.RLIM_INFINITY else min(n, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
