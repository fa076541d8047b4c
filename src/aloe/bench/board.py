"""A leaderboard as one static page: results of the same setting on one board, ties by paired intervals, each audited.

Results that were made with another user, judge, prompt set or other personas stand on a board of their own; those of
earlier versions, which do not name their setting, on one that says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from aloe.bench.audit import audit
from aloe.bench.compare import Scored, compare_pair, find_models, named_folders, read_scored
from aloe.bench.setting import BOARD, PARTS
from aloe.errors import DataError
from aloe.stats import Estimate


@dataclass(frozen=True, slots=True)
class Standing:
    """A line of a board.

    Attributes:
        rank: 1 for the best; models whose paired interval to the best of a rank holds 0 share it.
        behind: difference to the best model of the board, paired; None for itself, or without shared personas.
        faults: what the audit found.
    """

    rank: int
    name: str
    avg: float | None
    interval: tuple[float, float] | None
    behind: Estimate | None
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """Comparable results, best first; ``setting`` is empty where they name none."""

    setting: dict[str, str]
    user: str
    judge: str
    entries: tuple[Standing, ...]


def make_boards(paths: Sequence[str | Path]) -> list[Board]:
    """The boards of all results found under ``paths``, the largest first.

    Raises:
        DataError: nothing is found, or a file is damaged.
    """
    grouped: dict[str, list[Scored]] = defaultdict(list)
    for folder, name in named_folders(find_models(paths)):
        scored = read_scored(folder, name)
        if scored.result is None:
            raise DataError(f"{folder} has no result.json", "redo the bench stage with --from bench")
        grouped[scored.result.setting.get(BOARD, "")].append(scored)
    boards = [_board(models) for _, models in sorted(grouped.items())]
    return sorted(boards, key=lambda board: -len(board.entries))


def _board(models: Sequence[Scored]) -> Board:
    def height(model: Scored) -> float:
        avg = model.result.avg if model.result else None
        return -1.0 if avg is None else avg

    ranked = sorted(models, key=lambda m: (-height(m), m.name))
    entries: list[Standing] = []
    rank, head = 0, ranked[0]
    for place, model in enumerate(ranked, 1):
        to_head = compare_pair(model, head).avg if model is not head else None
        if place == 1 or (to_head is not None and to_head.excludes_zero):
            rank, head = place, model
        behind = compare_pair(model, ranked[0]).avg if place > 1 else None
        result = model.result
        assert result is not None
        entries.append(Standing(rank, model.name, result.avg, result.avg_ci, behind, tuple(audit(model.folder))))
    first = ranked[0].result
    assert first is not None
    return Board(first.setting, first.user_model, first.judge_model, tuple(entries))


def board_page(boards: Sequence[Board]) -> str:
    """The boards as HTML that needs nothing from outside."""
    parts = [_section(number, board) for number, board in enumerate(boards, 1)]
    style = (
        "body{font:16px system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1d2733}"
        "table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{padding:.35rem .6rem;text-align:left;"
        "border-bottom:1px solid #d5dce3}td.n{text-align:right;font-variant-numeric:tabular-nums}"
        ".fault{color:#a3241b}.small{font-size:.85rem;color:#55626f}"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Boards</title>'
        f"<style>{style}</style></head><body>\n<h1>Boards</h1>\n"
        "<p>Results are comparable on one board only: same user, judges, prompts and personas. Models that share a "
        "rank cannot be told from the first of that rank on the same personas.</p>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _section(number: int, board: Board) -> str:
    said = [f"user {board.user}", f"judge {board.judge}"]
    said += [f"{what}: {board.setting[part]}" for part, what in PARTS.items() if board.setting.get(part)]
    if not board.setting:
        said.append("made by a version that does not name its setting: may not be comparable")
    rows = []
    for entry in board.entries:
        ci = f"[{entry.interval[0]:.3f}, {entry.interval[1]:.3f}]" if entry.interval else ""
        gap = f"{entry.behind.value:+.3f} [{entry.behind.low:+.3f}, {entry.behind.high:+.3f}]" if entry.behind else ""
        avg = f"{entry.avg:.3f}" if entry.avg is not None else "none"
        fault = f'<div class="fault">{escape("; ".join(entry.faults))}</div>' if entry.faults else ""
        rows.append(
            f'<tr><td class="n">{entry.rank}</td><td>{escape(entry.name)}{fault}</td><td class="n">{avg}</td>'
            f'<td class="n">{ci}</td><td class="n">{gap}</td></tr>'
        )
    return (
        f'<h2>Board {number}</h2>\n<p class="small">{escape("; ".join(said))}</p>\n'
        "<table><tr><th>rank</th><th>model</th>"
        f"<th>AVG</th><th>95%</th><th>to the best, paired</th></tr>\n{chr(10).join(rows)}\n</table>"
    )
