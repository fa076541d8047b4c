"""Reads descriptions and personas from files of many formats, damaged and hostile ones included.

Read are JSON strings one per line (also several on one line), JSON objects one per line (``profile`` and
``personality``; ``persona``; ``kind`` and ``text``; ``description``), JSON lists, CSV with a header and plain
lines. Nothing in a file is executed or rendered: a text is data. What can't be used is a Problem with its line;
the rest is used.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from aloe.config.files import parse_json, refuse_special
from aloe.errors import ConfigError, DataError
from aloe.personas.checks import Kind, find_facts, find_hostile, find_trait_words, tidy

MAX_LINE = 1_000_000  # bytes; a longer line is reported and skipped without being held
MAX_TEXT = 4_000  # characters of one description
Split = Literal["train", "bench", ""]
_SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".txt")
_TEXT_KEYS = ("text", "description", "persona", "content", "input persona")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file. ``used`` tells whether what it concerns was used all the same."""

    file: str
    line: int  # 1-based; 0 = the file as a whole
    what: str
    used: bool = False
    text: str = ""

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{place}: {self.what}"


@dataclass(frozen=True, slots=True)
class Text:
    """A lone description."""

    text: str
    kind: Kind
    line: int
    split: Split = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """A whole persona."""

    profile: str
    personality: str
    line: int
    split: Split = ""
    persona_id: str = ""
    user_hash: str = ""  # of the person from whose chats it was made


@dataclass(slots=True)
class Source:
    """What was read, in order, and what was wrong."""

    texts: list[Text] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def of_kind(self, kind: Kind, split: Split = "") -> list[str]:
        return [t.text for t in self.texts if t.kind == kind and t.split == split]


def read_source(spec: str | Path) -> Source:
    """Personas or descriptions from a file, from files joined by commas, or from a directory.

    A directory's ``profile*`` and ``personalit*`` files are the two pools (those with ``eval`` or ``bench`` in
    their name the benchmark's), its ``persona*`` files hold whole personas.

    Raises:
        DataError: a missing file, or nothing usable in any of them.
    """
    path = Path(spec)
    if path.is_dir():
        paths = sorted(
            p for p in path.iterdir() if p.suffix in _SUFFIXES and p.stem.lower().startswith(("profile", "persona"))
        )
        if not paths:
            raise DataError(
                f"{path} contains no profile*, personality* or persona* file", f"types: {', '.join(_SUFFIXES)}"
            )
    else:
        paths = [path] if path.exists() else [Path(part.strip()) for part in str(spec).split(",")]
    source = Source()
    seen: dict[str, str] = {}
    for one in paths:
        if not one.is_file():
            raise DataError(
                f"persona file {one} does not exist", "give a file, a directory, or two files separated by a comma"
            )
        _read_file(one, source, seen)
    if not source.texts and not source.pairs:
        first = f": {source.problems[0]}" if source.problems else ""
        raise DataError(
            f"{spec} contains no usable description{first}", "'aloe pool validate FILE' lists what is wrong"
        )
    return source


def read_packaged_bench() -> Source:
    """The benchmark personas that ship with the package."""
    place = resources.files("aloe").joinpath("bench/personas/personas.jsonl")
    with resources.as_file(place) as path:
        return read_source(path)


def read_packaged_seeds(kind: Kind) -> list[str]:
    """The seeds of one kind that ship with the package."""
    name = "profiles.txt" if kind == "profile" else "personalities.txt"
    text = resources.files("aloe.personas.seeds").joinpath(name).read_text("utf-8")
    return [line for line in text.splitlines() if line.strip()]


def read_seeds(spec: str, kind: Kind) -> tuple[list[str], list[Problem]]:
    """A user's own seeds of one kind, from any source that can be imported; empty if it has none of that kind.

    Raises:
        ConfigError: no such file.
    """
    if not any(Path(part.strip()).exists() for part in (spec, spec.split(",")[0])):
        raise ConfigError(f"personas.seeds = '{spec}': no such file or directory", "use packaged, world or a path")
    source = read_source(spec)
    texts = source.of_kind(kind) + source.of_kind(kind, "train")
    texts += [p.profile if kind == "profile" else p.personality for p in source.pairs]
    return list(dict.fromkeys(texts)), source.problems


def _read_file(path: Path, source: Source, seen: dict[str, str]) -> None:
    name, stem = str(path), path.stem.lower()
    split: Split = "bench" if "eval" in stem or "bench" in stem else ""
    default: Kind | None = "personality" if "personalit" in stem else "profile" if "profile" in stem else None
    add = _Adder(source, seen, name, split, default)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        _read_csv(path, add, "\t" if suffix == ".tsv" else ",")
    elif suffix == ".json":
        _read_json(path, add)
    else:
        n_empty = 0
        for number, line in read_lines(path, source.problems):
            if not line.strip():
                n_empty += 1
            elif suffix == ".txt" and line.lstrip()[0] not in '"{':
                add.text(number, line, None)
            else:
                _read_json_line(number, line.strip(), add, plain=suffix == ".txt")
        if n_empty:
            source.problems.append(Problem(name, 0, f"{n_empty} empty lines", used=True))


def read_lines(path: Path, problems: list[Problem]) -> Iterator[tuple[int, str]]:
    """Decoded lines; those too long or not UTF-8 are reported and left out."""
    refuse_special(path)
    with open(path, "rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE + 1):
            number += 1
            if len(raw) > MAX_LINE:
                size = len(raw)
                while not raw.endswith(b"\n") and (raw := file.readline(MAX_LINE)):
                    size += len(raw)
                problems.append(
                    Problem(str(path), number, f"{size / 1e6:.1f} MB in one line, at most {MAX_LINE / 1e6:g}")
                )
                continue
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                problems.append(Problem(str(path), number, f"not valid UTF-8 at byte {error.start + 1}"))


def _read_json_line(number: int, line: str, add: _Adder, plain: bool = False) -> None:
    """One line of JSON Lines; several values on it (a lost newline) are all read."""
    decoder = json.JSONDecoder()
    place = n_values = 0
    while place < len(line):
        try:
            value, place = decoder.raw_decode(line, place)
        except (ValueError, RecursionError) as error:
            if plain and not n_values:
                add.text(number, line, None)
            else:
                what = getattr(error, "msg", "nested too deep")
                add.problem(number, f"not valid JSON ({what})", text=line[place : place + 80])
            return
        n_values += 1
        if n_values == 2:
            add.problem(number, "holds several values (a newline is missing); all were read", used=True)
        add.value(number, value)
        while place < len(line) and (line[place].isspace() or line[place] == ","):
            place += 1


def _read_json(path: Path, add: _Adder) -> None:
    refuse_special(path)
    try:
        data = parse_json(path.read_text("utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        add.problem(0, f"not valid JSON ({error}); JSON Lines belong into a .jsonl file")
        return
    if isinstance(data, dict):
        data = next((v for v in data.values() if isinstance(v, list)), [data])
    for number, value in enumerate(data if isinstance(data, list) else [data], 1):
        add.value(number, value)


def _read_csv(path: Path, add: _Adder, delimiter: str) -> None:
    kept: list[tuple[int, str]] = list(read_lines(path, add.source.problems))
    text = "\n".join(line for _, line in kept)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    header: list[str] | None = None
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            add.problem(reader.line_num, f"not valid CSV ({error})")
            continue
        number = kept[min(reader.line_num, len(kept)) - 1][0]
        if header is None:
            header = [cell.strip().lower() for cell in row]
            if not set(header) & {"profile", "personality", *_TEXT_KEYS}:
                add.problem(number, f"no column 'profile', 'personality', 'persona' or 'text' in {row[:8]}")
                return
        elif any(cell.strip() for cell in row):
            add.value(number, dict(zip(header, row, strict=False)))


class _Adder:
    """Puts values of one file where they belong, or reports them."""

    def __init__(self, source: Source, seen: dict[str, str], name: str, split: Split, default: Kind | None) -> None:
        self.source, self._seen, self._name, self._split, self._default = source, seen, name, split, default

    def problem(self, line: int, what: str, used: bool = False, text: str = "") -> None:
        self.source.problems.append(Problem(self._name, line, what, used, text))

    def value(self, line: int, value: Any) -> None:
        if isinstance(value, str):
            self.text(line, value, None)
        elif isinstance(value, dict):
            self._object(line, value)
        elif isinstance(value, list):
            for one in value:
                self.value(line, one) if isinstance(one, str) else self.problem(line, "a list of something but texts")
        else:
            self.problem(line, f"expected a text or an object, got {type(value).__name__}")

    def _object(self, line: int, row: dict[str, Any]) -> None:
        split = row.get("split")
        own_split: Split = split if split in ("train", "bench") else self._split
        profile, personality = row.get("profile"), row.get("personality")
        if isinstance(profile, str) and isinstance(personality, str) and profile.strip() and personality.strip():
            persona_id = str(row.get("persona_id") or row.get("id") or "")
            user_hash = row.get("user_hash")
            known = user_hash if isinstance(user_hash, str) else ""
            self._pair(line, (profile, personality), own_split, persona_id, known)
            return
        kind: Kind | None = row["kind"] if row.get("kind") in ("profile", "personality") else None
        if isinstance(profile, str) and profile.strip():
            self.text(line, profile, "profile", own_split)
        elif isinstance(personality, str) and personality.strip():
            self.text(line, personality, "personality", own_split)
        else:
            text = next((row[k] for k in _TEXT_KEYS if isinstance(row.get(k), str)), None)
            if text is None:
                self.problem(line, f"no profile, personality, persona or text among {sorted(map(str, row))[:8]}")
                return
            self.text(line, text, kind or ("profile" if isinstance(row.get("persona"), str) else None), own_split)

    def _usable(self, line: int, raw: str, what: str) -> str:
        """The tidied text, or '' after reporting why it can't be used."""
        if len(raw) > MAX_TEXT:
            self.problem(line, f"{what} of {len(raw)} characters, at most {MAX_TEXT}", text=raw[:200])
            return ""
        if any("\ud800" <= c <= "\udfff" for c in raw):
            self.problem(line, f"{what} with half of a character pair (a broken escape)")
            return ""
        text = tidy(raw)
        if not any(c.isalpha() for c in text):
            self.problem(line, f"{what} without any letter", text=text[:80])
            return ""
        hostile = find_hostile(text)
        if hostile:
            self.problem(line, f"{what}: {hostile}", text=text[:200])
            return ""
        return text

    def _first_time(self, line: int, key: str, what: str) -> bool:
        before = self._seen.setdefault(key, f"{self._name}, line {line}")
        if before != f"{self._name}, line {line}":
            self.problem(line, f"{what} again (first in {before})")
            return False
        return True

    def text(self, line: int, raw: str, kind: Kind | None, split: Split | None = None) -> None:
        text = self._usable(line, raw, kind or self._default or "text")
        if text and self._first_time(line, f"{split or self._split}\x1f{text.casefold()}", "the same text"):
            found = kind or self._default or guess_kind(text)
            self.source.texts.append(Text(text, found, line, self._split if split is None else split))

    def _pair(self, line: int, texts: tuple[str, str], split: Split, persona_id: str, user_hash: str) -> None:
        profile = self._usable(line, texts[0], "profile")
        personality = self._usable(line, texts[1], "personality") if profile else ""
        if not profile or not personality:
            return
        if persona_id and not self._first_time(line, f"id\x1f{persona_id}", f"persona id '{persona_id[:40]}'"):
            return
        if self._first_time(line, f"{profile}\x1f{personality}".casefold(), "the same persona"):
            self.source.pairs.append(Pair(profile, personality, line, split, persona_id, user_hash))


def guess_kind(text: str) -> Kind:
    """Profile or personality, by whether the text tells more facts or more traits."""
    return "personality" if len(find_trait_words(text)) > 2 * len(find_facts(text)) + 1 else "profile"


def summarize_problems(problems: Sequence[Problem], limit: int = 20) -> list[str]:
    """The problems as lines, the first ``limit`` in full."""
    lines = [str(p) for p in problems[:limit]]
    return [*lines, f"... and {len(problems) - limit} more"] if len(problems) > limit else lines


def count_skipped(problems: Iterable[Problem]) -> int:
    return sum(not p.used for p in problems)
