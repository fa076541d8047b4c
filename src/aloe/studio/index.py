"""Search over all conversations of a run, indexed once by position and lower-cased text.

One ``IndexedSource`` per collection (trees, on-policy trees, one per benchmarked model). Rows stay in their files;
memory holds the text that can be searched and a few figures. Indexing goes in slices of bounded time, so that every
search answers at once, at first over what has been read so far, and goes on where the files grow.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aloe.bench.scales import SCALES, Scale
from aloe.config.files import parse_json
from aloe.report.data import number, text
from aloe.report.explorer import pack_conversation, pack_tree
from aloe.studio.growing import GrowingFile, RowPlace, parse_row
from aloe.studio.people import People, card
from aloe.studio.stale import mark_stale

Row = dict[str, Any]
SLICE = 0.2  # seconds of indexing before a search is let through
LOOK_AGAIN = 0.5  # seconds for which the files are taken to be unchanged
LOW, HIGH = 0.25, 0.875  # shares of the scale that the filters call low and high, as in the report: 2 and 4.5 of 1 to 5


@dataclass(slots=True)
class Aside:
    """What stands beside a tree in one other file (labels, disclosures or scores)."""

    places: list[RowPlace] = field(default_factory=list)
    words: str = ""
    outcomes: set[str] = field(default_factory=set)
    chosen: set[str] = field(default_factory=set)  # node ids
    margins: list[float] = field(default_factory=list)
    scores: dict[int, float | None] = field(default_factory=dict)  # by turn


NOTHING = Aside()


@dataclass(frozen=True, slots=True)
class Entry:
    """One conversation: where its row stands, and what can be searched of it."""

    tree_id: str
    persona_id: str
    place: RowPlace
    order: int
    words: str
    n_turns: int
    failed: bool
    generic: frozenset[str]  # node ids of the generic replies


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for; a field left empty asks for nothing.

    Attributes:
        words, persona: to be found in any text, and in the persona (or an id).
        outcome: disagreement, tie, unparsed, generic or failed; of the benchmark low, high, falls, unscored or failed.
        margin: smallest mean margin of the labels.
        sort: margin, shown, score or rise, with ``-`` at the end for falling order; empty: place in the run.
    """

    words: str = ""
    persona: str = ""
    outcome: str = ""
    margin: float = 0.0
    sort: str = ""
    offset: int = 0
    limit: int = 60


@dataclass(frozen=True, slots=True)
class Found:
    """A page of what matches. ``share_read``: how much of the files the answer rests on, 0 to 1."""

    n_total: int
    n_found: int
    items: list[Row]
    share_read: float
    is_growing: bool
    has_margins: bool  # not all labels have the same one


class IndexedSource:
    """One collection of conversations. Thread-safe.

    Args:
        files: ``trees`` (the conversations), and of what stands beside them ``labels``, ``disclosures``, ``scores``.
        result: the benchmark's result, which names the scale of its scores.
    """

    def __init__(
        self, source_id: str, name: str, files: Mapping[str, Path], people: People, result: Path | None = None
    ) -> None:
        self._result = result
        self._scale: Scale | None = None
        self.source_id = source_id
        self.name = name
        self.kind = "bench" if "scores" in files else "tree"
        self._people = people
        self._entries: list[Entry] = []
        self._by_id: dict[str, Entry] = {}
        self._main = GrowingFile(files["trees"])
        self._beside = {what: GrowingFile(path) for what, path in files.items() if what != "trees"}
        self._asides: dict[str, defaultdict[str, Aside]] = {what: defaultdict(Aside) for what in self._beside}
        self._margins: set[float] = set()
        self._lock = threading.Lock()
        self._looked = -LOOK_AGAIN

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_growing(self) -> bool:
        return self._main.is_growing

    @property
    def scale(self) -> Scale:
        """Of the benchmark's scores, as its result says; 1 to 5 while there is none."""
        if self._scale is None and self._result is not None and self._result.is_file():
            try:
                said = parse_json(self._result.read_text("utf-8"))
            except (OSError, ValueError):
                said = None
            if isinstance(said, dict):
                self._scale = SCALES.get(text(said.get("scale")))
        return self._scale or SCALES["1-5"]

    def refresh(self, seconds: float = SLICE) -> bool:
        """Index what is new, for about ``seconds``; True when nothing is left."""
        with self._lock:
            return self._refresh(seconds)

    def search(self, query: Query) -> Found:
        """The conversations that match all of ``query``, one page of them."""
        with self._lock:
            if time.monotonic() - self._looked > LOOK_AGAIN or self._share_read() < 1:
                self._refresh(SLICE)
            found = self._match(query)
            key = query.sort.removesuffix("-")
            if key:
                sign = -1.0 if query.sort.endswith("-") else 1.0
                value = {e.tree_id: _last_none(self._figure(e, key), sign) for e in found}
                found.sort(key=lambda e: (value[e.tree_id], e.order))
            start = max(0, query.offset)
            page = [self._line(entry) for entry in found[start : start + query.limit]]
            share, several = round(self._share_read(), 3), len(self._margins) > 1
            return Found(len(self._entries), len(found), page, share, self.is_growing, several)

    def conversation(self, tree_id: str) -> Row | None:
        """One conversation with all that stands beside it, packed as the page's script reads it."""
        with self._lock:
            entry = self._by_id.get(tree_id)
            tree = self._main.row(entry.place) if entry is not None else None
            if entry is None or tree is None:
                return None
            beside = {
                what: [row for place in self._aside(what, entry).places if (row := file.row(place)) is not None]
                for what, file in self._beside.items()
            }
        if self.kind == "bench":
            packed = pack_conversation(tree, beside["scores"])
        else:
            packed = pack_tree(tree, beside["disclosures"], beside["labels"])
        persona = self._people.get(entry.persona_id)
        packed["persona"] = card(persona)
        if persona is not None and packed.get("c"):
            packed["x"] = mark_stale(persona, tree, packed["n"])
        packed["scale"] = [self.scale.low, self.scale.high]
        return packed

    def _share_read(self) -> float:
        files = (self._main, *self._beside.values())
        size = sum(f.size for f in files)
        return min(1.0, sum(f.end for f in files) / size) if size else 1.0

    def _refresh(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        self._looked = time.monotonic()
        if self._main.look():
            self._entries.clear()
            self._by_id.clear()
        for what, file in self._beside.items():
            if file.look():
                self._asides[what].clear()
                self._margins.clear()
        adders: list[tuple[GrowingFile, Callable[[RowPlace, Row], None]]] = [(self._main, self._add_tree)]
        adders += [(file, getattr(self, f"_add_{what}")) for what, file in self._beside.items()]
        for file, add in adders:
            for place, line in file.read_new():
                row = parse_row(line)
                if row is not None:
                    add(place, row)
                if time.monotonic() > deadline:
                    return False
        return True

    def _add_tree(self, place: RowPlace, row: Row) -> None:
        words: list[str] = []
        generic: list[str] = []
        n_turns = 0
        for node in row.get("nodes") or ():
            if not isinstance(node, dict):
                continue
            message = node.get("message")
            words.append(text(message.get("content")) if isinstance(message, dict) else "")
            n_turns = max(n_turns, int(number(node.get("turn")) or 0))
            if node.get("kind") == "generic":
                generic.append(text(node.get("node_id")))
        entry = Entry(
            text(row.get("tree_id")), text(row.get("persona_id")), place, len(self._entries),
            "\n".join(words).lower(), n_turns, bool(row.get("errors")), frozenset(generic),
        )  # fmt: skip
        self._entries.append(entry)
        self._by_id[entry.tree_id] = entry

    def _add_labels(self, place: RowPlace, row: Row) -> None:
        aside = self._asides["labels"][text(row.get("tree_id"))]
        aside.places.append(place)
        reasons = [text(j.get("reason")) for j in row.get("judgements") or () if isinstance(j, dict)]
        aside.words += "\n" + "\n".join(reasons).lower()
        aside.outcomes.add(text(row.get("outcome")))
        aside.chosen.add(text(row.get("chosen")))
        margin = number(row.get("margin"))
        if margin is not None:
            aside.margins.append(margin)
            self._margins.add(margin)

    def _add_disclosures(self, place: RowPlace, row: Row) -> None:
        aside = self._asides["disclosures"][text(row.get("tree_id"))]
        aside.places.append(place)
        aside.words += "\n" + text(row.get("item")).lower()

    def _add_scores(self, place: RowPlace, row: Row) -> None:
        aside = self._asides["scores"][text(row.get("tree_id")) or text(row.get("persona_id"))]
        aside.places.append(place)
        aside.words += "\n" + text(row.get("reason")).lower()
        aside.scores[int(number(row.get("turn")) or 0)] = number(row.get("score"))

    def _aside(self, what: str, entry: Entry) -> Aside:
        found = self._asides.get(what)
        if found is None:
            return NOTHING
        return found.get(entry.tree_id) or found.get(entry.persona_id) or NOTHING

    def _match(self, query: Query) -> list[Entry]:
        words, who = query.words.strip().lower(), query.persona.strip().lower()
        about = self._people.matching(words) if words else set()
        meant = self._people.matching(who) if who else set()

        def fits(entry: Entry) -> bool:
            if who and entry.persona_id not in meant and who not in entry.tree_id and who not in entry.persona_id:
                return False
            if query.outcome and not self._is(entry, query.outcome):
                return False
            if query.margin > 0 and (self._figure(entry, "margin") or 0.0) < query.margin:
                return False
            return (
                not words
                or words in entry.words
                or entry.persona_id in about
                or words in entry.tree_id
                or any(words in self._aside(what, entry).words for what in self._beside)
            )

        return [entry for entry in self._entries if fits(entry)]

    def _is(self, entry: Entry, outcome: str) -> bool:
        if outcome == "failed":
            return entry.failed
        if self.kind == "tree":
            labels = self._aside("labels", entry)
            return not labels.chosen.isdisjoint(entry.generic) if outcome == "generic" else outcome in labels.outcomes
        scores = self._aside("scores", entry).scores
        values = [s for s in scores.values() if s is not None]
        if outcome == "unscored":
            return len(values) < len(scores)
        if outcome == "falls":
            return (self._figure(entry, "rise") or 0.0) < 0
        scale = self.scale
        low, high = (scale.low + share * (scale.high - scale.low) for share in (LOW, HIGH))
        return any(v < low for v in values) if outcome == "low" else any(v >= high for v in values)

    def _figure(self, entry: Entry, name: str) -> float | None:
        """``margin`` and ``score``: means; ``rise``: last score minus first; ``shown``: number of disclosures."""
        if name == "shown":
            return float(len(self._aside("disclosures", entry).places))
        if name == "margin":
            values = self._aside("labels", entry).margins
        else:
            scores = self._aside("scores", entry).scores
            values = [s for turn in sorted(scores) if (s := scores[turn]) is not None]
        if name == "rise":
            return values[-1] - values[0] if len(values) > 1 else None
        return sum(values) / len(values) if values else None

    def _line(self, entry: Entry) -> Row:
        persona = self._people.get(entry.persona_id)
        who = (persona.profile or persona.personality) if persona is not None else entry.persona_id
        return {
            "i": entry.tree_id,
            "who": who[:160],
            "turns": entry.n_turns,
            "margin": self._figure(entry, "margin") if self.kind == "tree" and len(self._margins) > 1 else None,
            "score": self._figure(entry, "score") if self.kind == "bench" else None,
            "shown": len(self._aside("disclosures", entry).places),
            "failed": entry.failed,
            "disagreement": self.kind == "tree" and "disagreement" in self._aside("labels", entry).outcomes,
        }


def _last_none(value: float | None, sign: float) -> float:
    return float("inf") if value is None else sign * value


class Library:
    """All sources of a run directory; new ones are found as they appear."""

    def __init__(self, run: Path, people: People) -> None:
        self._run = run
        self._people = people
        self._sources: dict[str, IndexedSource] = {}

    def sources(self) -> list[IndexedSource]:
        """Those that have a file, trees first."""
        for stage, name in (("trees", "Preference trees"), ("rollout", "On-policy trees")):
            if stage not in self._sources and _exists(self._run / stage / "trees.jsonl"):
                files = {what: self._run / stage / f"{what}.jsonl" for what in ("trees", "labels", "disclosures")}
                self._sources[stage] = IndexedSource(stage, name, files, self._people)
        for path in sorted((self._run / "bench").glob("*/conversations.jsonl")):
            name = path.parent.name
            if f"bench-{name}" not in self._sources:
                files = {"trees": path, "scores": path.with_name("scores.jsonl")}
                result = path.with_name("result.json")
                self._sources[f"bench-{name}"] = IndexedSource(
                    f"bench-{name}", f"Benchmark: {name}", files, self._people, result
                )
        rank = {"trees": 0, "rollout": 1}
        return sorted(self._sources.values(), key=lambda s: rank.get(s.source_id, 2))

    def get(self, source_id: str) -> IndexedSource | None:
        found = self._sources.get(source_id)
        return found or next((s for s in self.sources() if s.source_id == source_id), None)

    def warm(self, stop: threading.Event) -> None:
        """Read everything that is there, slice by slice; to be run in a thread of its own."""
        for source in self.sources():
            while not stop.is_set() and not source.refresh():
                stop.wait(0.01)  # let a search through


def _exists(path: Path) -> bool:
    return path.is_file() or path.with_suffix(".partial.jsonl").is_file()
