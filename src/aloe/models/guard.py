"""Access control of the studio and of the OpenAI-compatible servers.

A request must name the server as its host, so that no other name can be pointed at it, must not come from another
page, and must be JSON where it changes or costs something. It must also know the server's token, which stands in the
address that was printed: other accounts of this computer reach loopback, too.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web

from aloe.errors import ConfigError

SAFE = ("GET", "HEAD")


class Refused(ConfigError):
    """A request that the server does not answer, with the reason."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules of one server.

    Attributes:
        hosts: which names in a request's Host header are this server's.
        token: must be the path's first part, or the bearer of the Authorization header; empty: nothing is asked for.
        in_path: whether the token may stand in the path; a key that the user chose only ever comes in the header.
    """

    hosts: Callable[[str], bool]
    token: str = field(default="", repr=False)
    in_path: bool = True

    @property
    def prefix(self) -> str:
        """What the printed address has before every path."""
        return f"/{self.token}" if self.token and self.in_path else ""

    def check(self, request: web.Request) -> None:
        """Let the request pass or say why not.

        Raises:
            Refused: another name, another page, another form, or no token.
        """
        try:
            name = urlsplit(f"//{request.host}").hostname or ""
        except ValueError:  # half of an IPv6 address
            name = ""
        if not self.hosts(name.lower()):
            raise Refused(
                f"this server is not called {name[:80]!r}", "use the address that it printed, or --allow-host"
            )
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{request.scheme}://{request.host}":
            raise Refused("this request came from another page", "use the address that the server printed")
        if request.method not in SAFE:
            if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
                raise Refused("this request came from another site", "use the address that the server printed")
            if request.content_type != "application/json":
                raise Refused("a request that asks for something must be JSON", "send Content-Type: application/json")
        if self.token and not self._knows_token(request):
            raise Refused("the server's token is missing or wrong", "use the whole address that the server printed")

    def _knows_token(self, request: web.Request) -> bool:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else ""
        first = request.path.split("/", 2)[1] if self.in_path else ""
        return any(hmac.compare_digest(found.encode(), self.token.encode()) for found in (given, first))


def new_token() -> str:
    """A token that cannot be guessed, fit for an address."""
    return secrets.token_urlsafe(18)


def own_hosts(host: str, more: Iterable[str] = ()) -> Callable[[str], bool]:
    """Which names may stand in a request's Host header of a server that listens on ``host``.

    On loopback its own names only: a page elsewhere whose name was pointed at 127.0.0.1 is refused. On an outer
    address also any IP address and this computer's own name.

    Args:
        more: other names under which the user knows it to be reached.
    """
    local = {"localhost", "127.0.0.1", "::1", *(name.lower() for name in more)}
    if is_loopback(host):
        return lambda name: name in local
    named = local | {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    return lambda name: name in named or _is_address(name)


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches a server that listens on ``host``."""
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def in_address(host: str) -> str:
    """The host as it stands in an address: this computer's name for all addresses, brackets around IPv6."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"[{name}]" if ":" in name else name


def warn_outer(host: str) -> str:
    """What to say of a server that others reach; empty for one on loopback."""
    if is_loopback(host):
        return ""
    return (
        f"{host} is not loopback: whoever reaches it and knows the token can use its models at your cost, and the "
        "token travels unencrypted; put a proxy with TLS before it where the network is not yours"
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
