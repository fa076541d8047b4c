"""The error classes. Every message says what, where, got, expected and what to do next.

The command line prints the message as one line and exits with ``exit_code``; a traceback is shown only
for errors that are not ours.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec

PLACE_ERRORS = (
    errno.ENOENT, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EROFS, errno.ENOSPC,
    errno.EDQUOT, errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip


class AloeError(Exception):
    """Base of all errors that a user can act on. ``hint`` is the next step, without a full stop."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)  # both in args, so that pickling keeps them
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class ConfigError(AloeError, ValueError):
    """A recipe, an option, a prompt file or a model URI is not usable."""

    exit_code = 2


class BusyError(ConfigError):
    """Another process works in the run directory."""


class DataError(AloeError, ValueError):
    """A file that was read (or is missing) does not hold what it must."""

    exit_code = 3


class EndpointError(AloeError, RuntimeError):
    """A model endpoint refused, failed or stayed silent.

    Args:
        status: HTTP status, or 0 where there was none.
        retryable: whether sending the same request again can help.
        possibly_billed: whether the provider may have charged for the attempt.
        retry_after: seconds the endpoint asked to wait, if it said so.
        stops: no other call would fare better: the key is refused, the quota is used up, the certificate is bad.
        patience: seconds after which it is no use to wait for an endpoint that has never answered; None: any time.
    """

    exit_code = 4

    def __init__(
        self,
        message: str,
        hint: str = "",
        status: int = 0,
        retryable: bool = False,
        possibly_billed: bool = False,
        retry_after: float | None = None,
        stops: bool = False,
        patience: float | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, status, retryable, possibly_billed, retry_after, stops, patience)
        self.status = status
        self.retryable = retryable
        self.possibly_billed = possibly_billed
        self.retry_after = retry_after
        self.stops = stops
        self.patience = patience


class EndpointStopped(AloeError, RuntimeError):
    """No call gets through to an endpoint: it is down, refuses the key, or wants to be paid. Ends the stage at once."""

    exit_code = 4


class ParseError(AloeError, ValueError):
    """A model's answer does not have the form that its prompt asks for. Recorded as unparsed, never guessed.

    Args:
        kind: one of ``prompts.faults.KINDS``; empty where the answer's text tells.
    """

    exit_code = 5

    def __init__(self, message: str, hint: str = "", kind: str = "") -> None:
        super().__init__(message, hint)
        self.args = (message, hint, kind)
        self.kind = kind


class DegradedError(AloeError, RuntimeError):
    """Most answers of a role are unusable, so that continuing would only cost money."""

    exit_code = 7


class BudgetExceeded(AloeError, RuntimeError):
    """The next call could pass a limit set by the user. Nothing was sent."""

    exit_code = 6


def is_place_error(error: OSError) -> bool:
    """Whether the system refused a file or directory that it names: a matter of the place, not of the program."""
    return error.filename is not None and error.errno in PLACE_ERRORS


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the valid name closest to ``name``, or an empty string."""
    close = get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


def need_packages(what: str, packages: Iterable[str], extra: str) -> None:
    """Say in one line that something optional is not installed.

    Args:
        what: what can't be done without it. extra: the extra of aloe that installs it.

    Raises:
        ConfigError: one of the packages is missing.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(f"{what} needs {', '.join(missing)}", f"pip install 'aloe-align[{extra}]'")
