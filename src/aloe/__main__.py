"""Entry point of the command line: prints aloe's own errors as one line and returns an exit code."""

from __future__ import annotations

import os
import sys


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (130 after Ctrl-C)."""
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:  # while the package was still being read: nothing had begun
        print("\naloe: interrupted", file=sys.stderr)
        return 130


def _run(arguments: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may come next
        from aloe.cli.completion import complete

        complete()
    from aloe.cli.main import dispatch
    from aloe.errors import AloeError, is_place_error

    try:
        return dispatch(arguments)
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
        return 130
    except BrokenPipeError:  # the reader of our output went away, e.g. `aloe ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a place that can't be read or written; anything else is a fault and shows itself
        if not is_place_error(error) or os.environ.get("ALOE_TRACEBACK"):
            raise
        print(f"aloe: error: {error.filename}: {error.strerror}; choose another path", file=sys.stderr)
        return 3


def one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    raise SystemExit(main())
