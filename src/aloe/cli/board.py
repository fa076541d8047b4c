"""``aloe board DIR ...``: a leaderboard as a static page; only comparable results share a board."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from aloe.cli import completers
from aloe.cli.arguments import completed, existing_path
from aloe.cli.parser import Overrides, Parser
from aloe.cli.screen import printable

NAME = "board"
GROUP = "measure"
HELP = "a static leaderboard of benchmarked models; checks results against their files"


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "paths", nargs="+", type=existing_path, metavar="DIR", help="run directories or bench/MODEL directories"
    )
    out = parser.add_argument(
        "--out", type=Path, default=Path("board.html"), metavar="FILE", help="the page to write (default: board.html)"
    )
    completed(out, completers.paths)


def run(options: Namespace, overrides: Overrides) -> int:
    """Exit code 1 where a result does not fit its conversations."""
    from aloe.bench.board import board_page, make_boards

    boards = make_boards(options.paths)
    options.out.write_text(board_page(boards), "utf-8")
    n_faulty = 0
    for number, board in enumerate(boards, 1):
        print(f"board {number}: user {printable(board.user)}, judge {printable(board.judge)}")
        for entry in board.entries:
            avg = "none" if entry.avg is None else f"{entry.avg:.3f}"
            faults = "".join(f"  ! {fault}" for fault in entry.faults)
            print(f"  {entry.rank:>2}  {printable(entry.name):<28} {avg}{faults}")
            n_faulty += bool(entry.faults)
    print(f"{options.out}: {len(boards)} boards" + (f", {n_faulty} results do not fit their files" if n_faulty else ""))
    return 1 if n_faulty else 0
