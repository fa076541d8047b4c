"""Entry point of the command line: prints aloe's own errors as one line and returns an exit code."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (130 after Ctrl-C)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us: what is said goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
    try:
        from aloe.cli.screen import guarded_screen

        with guarded_screen():
            return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:  # while the package was still being read: nothing had begun
        print("\naloe: interrupted", file=sys.stderr)
        return _interrupted()


def _run(arguments: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may come next
        from aloe.cli.completion import complete

        complete()
    from aloe.models.local.processor import wait_passively

    wait_passively()
    from aloe.cli.main import dispatch
    from aloe.errors import AloeError, is_place_error

    try:
        code = dispatch(arguments)
        sys.stdout.flush()
        return code
    except AloeError as error:
        stage = f" in stage {error.__notes__[0]}" if getattr(error, "__notes__", None) else ""
        print(f"aloe: error{stage}: {one_line(str(error))}", file=sys.stderr)
        if os.environ.get("ALOE_TRACEBACK"):
            raise
        return error.exit_code
    except KeyboardInterrupt as error:
        stage = f" in stage {error.__notes__[0]}" if getattr(error, "__notes__", None) else ""
        print(
            f"\naloe: interrupted{stage}; completed calls are kept, and the same command continues from here",
            file=sys.stderr,
        )
        return _interrupted()
    except BrokenPipeError:  # the reader of our output went away, e.g. `aloe ... | head`
        _drop_output()
        return 0
    except OSError as error:  # a place that can't be read or written; anything else is a fault and shows itself
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if not (is_full or is_place_error(error)) or os.environ.get("ALOE_TRACEBACK"):
            raise
        if error.filename is None:
            _drop_output()  # it may be what is full
        stage = f" in stage {error.__notes__[0]}" if getattr(error, "__notes__", None) else ""
        where = f"{error.filename}: " if error.filename is not None else ""
        next_step = "free some space and run the same command again: completed calls are kept"
        what = f"{where}{error.strerror}; {next_step if is_full else 'choose another path'}"
        print(f"aloe: error{stage}: {what}", file=sys.stderr)
        return 3


def _interrupted() -> int:
    """The exit code. CPython notes an interrupt that passes through an exec of text, as dataclasses do: ``python -m``
    then dies of the signal even where it was handled. The next such exec clears the note.
    """
    exec("")
    return 130


def _drop_output() -> None:
    """What is still to be printed can't be; Python would complain of it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    raise SystemExit(main())
