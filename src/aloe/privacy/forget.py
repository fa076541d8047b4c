"""``aloe pool forget``: deletes everything that came from one person from a run, the journal included.

First everything is found (descriptions by the user's hash, the personas made of them, their trees and messages), then
it is removed, last what the rest is found by: a removal that was stopped half-way is ended by the next one. What came
from two people stays for the other. Weights cannot forget: the checkpoints that learned from it are named, and their
stages undone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from aloe.config import Config
from aloe.errors import ConfigError, DataError
from aloe.models.journal.forget import ForgottenCalls, forget_calls, spellings
from aloe.models.uri import plain_name
from aloe.personas.checks import split_sentences
from aloe.personas.pairing import make_entry_id
from aloe.privacy.chats import SALT_NAME, hash_user, read_salt
from aloe.privacy.from_chats import rejected_path
from aloe.privacy.leftovers import find_leftovers
from aloe.store.content import digests_of, restamp, stamp_files
from aloe.store.records import atomic_write
from aloe.store.rundir import FORGETTING, RunDir
from aloe.training.methods import ROLLOUT_FROM, all_methods, started_from

MIN_MESSAGE = 40  # characters: shorter messages are anybody's
MIN_SENTENCE = 20
_ID_FIELDS = ("persona_id", "profile_id", "personality_id", "entry_id", "tree_id", "node_id", "pair_id", "example_id")


@dataclass(slots=True)
class Traces:
    """What came from one person: ids, and passages that occur only in this person's texts."""

    user_hashes: set[str]
    ids: set[str] = field(default_factory=set)
    persona_ids: set[str] = field(default_factory=set)
    passages: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)  # descriptions that also came from somebody else

    def needles(self) -> tuple[bytes, ...]:
        """Passages and ids as they may stand in a file."""
        texts = (*spellings(self.passages), *self.ids, *self.user_hashes)
        return tuple(t.encode("utf-8", "replace") for t in texts)


@dataclass(slots=True)
class Forgotten:
    """What was removed and what is left to do."""

    user_hashes: tuple[str, ...]
    n_personas: int = 0
    rows: dict[str, int] = field(default_factory=dict)  # file -> rows removed
    deleted: list[str] = field(default_factory=list)  # files and folders
    calls: ForgottenCalls = field(default_factory=ForgottenCalls)
    checkpoints: list[str] = field(default_factory=list)  # trained on it
    n_shown: int = 0  # remaining descriptions that were written with one of it as an example
    leftovers: list[str] = field(default_factory=list)  # where something of it was still found

    @property
    def is_empty(self) -> bool:
        return not (self.rows or self.deleted or self.calls.n_calls or self.calls.n_attempts)


def forget_user(run: RunDir, user: str | None, user_hash: str | None = None) -> Forgotten:
    """Remove all that came from one user; give the id as it stood in the chats, or its hash.

    Raises:
        DataError: no run, no salt to find the id with, or a damaged file.
        ConfigError: neither or both given, or another process works in the run.
    """
    if (user is None) == (user_hash is None):
        raise ConfigError("aloe pool forget needs either a user or --hash", "aloe pool forget USER --run RUN")
    config = run.load_config()
    run.open(config, "")
    try:
        sources = source_files(config)
        hashes = {user_hash} if user_hash else _hashes(str(user), [run.path, *(s.parent for s in sources)])
        return _forget(run, sources, {h for h in hashes if h})
    finally:
        run.close()


def source_files(config: Config) -> list[Path]:
    """The persona files that the run's config names, and the lists of rejected users beside them."""
    named = [config.personas.file, config.personas.bench_file, config.bench.personas, *config.personas.seeds.split(",")]
    files = [Path(n.strip()) for n in named if n]
    found = [f for f in files if f.suffix == ".jsonl" and f.is_file()]
    return list(dict.fromkeys([*found, *(r for f in found if (r := rejected_path(f)).is_file())]))


def _hashes(user: str, folders: Iterable[Path]) -> set[str]:
    salts = [s for f in dict.fromkeys(folders) if (s := read_salt(f / SALT_NAME)) is not None]
    if not salts:
        raise DataError(f"no {SALT_NAME} in the run or beside its persona file", "copy it there, or give --hash")
    return {hash_user(user, salt) for salt in salts}


def _rows(path: Path) -> Iterator[tuple[bytes, Any]]:
    """Lines as they are and as values; a line that is not JSON (a torn one) has the value None."""
    with open(path, "rb") as file:
        for line in file:
            try:
                yield line, orjson.loads(line)
            except orjson.JSONDecodeError:
                yield line, None


def _jsonl_files(run: RunDir) -> list[Path]:
    """Every JSON Lines file of the run: those by which others are found come last, conversations, then descriptions."""
    files = sorted(run.path.rglob("*.jsonl"))  # of checkpoints, too: RL keeps samples and replays there
    order = ("bench", "rollout", "trees", "personas")
    folders = [f.relative_to(run.path).parts[0] for f in files]
    places = [order.index(folder) if folder in order else -1 for folder in folders]
    return [file for _, file in sorted(zip(places, files, strict=True))]


def _users_of(row: dict[str, Any]) -> set[str]:
    provenance = row.get("provenance")
    held = row.get("user_hash") or (provenance.get("user_hash") if isinstance(provenance, dict) else "")
    return set(str(held or "").split())


def find_traces(run: RunDir, sources: list[Path], hashes: set[str]) -> Traces:
    """All ids and passages that came from the user; nothing is changed."""
    traces = Traces(set(hashes))
    ours, others = _described(run, sources, traces)
    for kind, text in ours:
        entry_id = make_entry_id(kind, text)
        (traces.shared if (kind, text) in others else traces.ids).add(entry_id)
    for file in _jsonl_files(run):
        for _, row in _rows(file):
            if not isinstance(row, dict) or not isinstance(row.get("persona_id"), str):
                continue
            if row.get("profile_id") in traces.ids or row.get("personality_id") in traces.ids:
                traces.persona_ids.add(row["persona_id"])
    traces.ids |= traces.persona_ids
    kept_texts, own_texts = _collect_texts(run, traces)
    sentences = {s for _, text in ours - others for s in split_sentences(text) if len(s) >= MIN_SENTENCE}
    all_kept = {s for _, text in others for s in split_sentences(text)} | {
        s for t in kept_texts for s in split_sentences(t)
    }
    traces.passages = {text for _, text in ours - others} | (sentences - all_kept)
    traces.passages |= {t for t in own_texts if len(t) >= MIN_MESSAGE} - kept_texts
    return traces


def _described(run: RunDir, sources: list[Path], traces: Traces) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """(kind, text) of the user's descriptions, and of everybody else's."""
    ours: set[tuple[str, str]] = set()
    others: set[tuple[str, str]] = set()
    for file in (*sources, *sorted((run.path / "personas").glob("*.jsonl"))):
        for _, row in _rows(file):
            if not isinstance(row, dict) or "persona_id" in row:
                continue
            users = _users_of(row)
            kinds = [row["kind"]] if row.get("kind") in ("profile", "personality") else ["profile", "personality"]
            for kind in kinds:
                text = row.get("text") if "kind" in row else row.get(kind)
                if isinstance(text, str) and text:
                    if users & traces.user_hashes:
                        ours.add((kind, text))
                    if users - traces.user_hashes or not users:
                        others.add((kind, text))
    # A description that entered a pool as a seed has no hash there: there it is the same text once more, not another's.
    named = {(k, t) for k, t in others if (k, t) in ours}
    return ours, others - {pair for pair in named if not _named_by_others(run, sources, pair, traces)}


def _named_by_others(run: RunDir, sources: list[Path], pair: tuple[str, str], traces: Traces) -> bool:
    kind, text = pair
    for file in (*sources, *sorted((run.path / "personas").glob("*.jsonl"))):
        for _, row in _rows(file):
            held = isinstance(row, dict) and text in (row.get("text"), row.get(kind))
            if held and _users_of(row) - traces.user_hashes:
                return True
    return False


def _collect_texts(run: RunDir, traces: Traces) -> tuple[set[str], set[str]]:
    """Messages and descriptions of everybody else, and messages of the user's trees; adds the trees' ids."""
    kept: set[str] = set()
    own: set[str] = set()
    for file in _jsonl_files(run):
        for _, row in _rows(file):
            if not isinstance(row, dict):
                continue
            nodes = [n for n in row.get("nodes") or () if isinstance(n, dict)]
            contents = {str(n["message"]["content"]) for n in nodes if isinstance(n.get("message"), dict)}
            contents |= _rated(row)
            if row.get("persona_id") in traces.persona_ids:
                traces.ids |= {str(row["tree_id"])} if row.get("tree_id") else set()
                traces.ids |= {str(n["node_id"]) for n in nodes if "node_id" in n}
                own |= contents | {row[k] for k in ("profile", "personality") if isinstance(row.get(k), str)}
            elif row.get("entry_id") not in traces.ids and not _users_of(row) & traces.user_hashes:
                kept |= contents
                kept |= {row[k] for k in ("text", "profile", "personality") if isinstance(row.get(k), str)}
    return kept, own


def _rated(row: dict[str, Any]) -> set[str]:
    """What stood before a rater: the messages and both replies."""
    messages, replies = row.get("messages"), row.get("replies")
    if not isinstance(messages, list) or not isinstance(replies, list):
        return set()
    said = [m.get("content") for m in messages if isinstance(m, dict)]
    return {text for text in (*said, *replies) if isinstance(text, str)}


def _is_theirs(row: Any, line: bytes, traces: Traces, needles: tuple[bytes, ...]) -> bool:
    if isinstance(row, dict):
        if row.get("entry_id") in traces.shared:
            return False
        if _users_of(row) & traces.user_hashes and not _users_of(row) - traces.user_hashes:
            return True
        if any(isinstance(row.get(k), str) and row[k] in traces.ids for k in _ID_FIELDS):
            return True
        if "entry_id" in row:  # its references to removed members are cut, the entry itself is somebody else's
            return any(p.encode("utf-8", "replace") in line for p in spellings(traces.passages))
    return any(n in line for n in needles)


def _without_references(row: dict[str, Any], traces: Traces) -> dict[str, Any]:
    """A pool entry that names no removed member or user any more."""
    row = dict(row)
    if isinstance(row.get("example_ids"), list):
        row["example_ids"] = [e for e in row["example_ids"] if e not in traces.ids]
    if row.get("nearest_id") in traces.ids:
        row["nearest_id"] = None
    provenance = row.get("provenance")
    if isinstance(provenance, dict) and _users_of(row) & traces.user_hashes:
        left = " ".join(sorted(_users_of(row) - traces.user_hashes))
        row["provenance"] = {**provenance, "user_hash": left}
    return row


def _filter_jsonl(path: Path, traces: Traces, needles: tuple[bytes, ...]) -> tuple[int, int]:
    """Rewrite a file without the user's rows: (rows removed, rows that only referred to them)."""
    lines: list[bytes] = []
    n_removed = n_changed = 0
    for line, row in _rows(path):
        if _is_theirs(row, line, traces, needles):
            n_removed += 1
        elif isinstance(row, dict) and "entry_id" in row and (new := _without_references(row, traces)) != row:
            n_changed += 1
            lines.append(orjson.dumps(new, option=orjson.OPT_APPEND_NEWLINE))
        else:
            lines.append(line)
    if n_removed or n_changed:
        with atomic_write(path) as file:
            file.writelines(lines)
    return n_removed, n_changed


def _filter_parquet(path: Path, traces: Traces, needles: tuple[bytes, ...]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}", "delete it or export it again") from error
    theirs = [_is_theirs(row, orjson.dumps(row, default=str), traces, needles) for row in table.to_pylist()]
    if any(theirs):
        kept = table.filter(pa.array([not t for t in theirs]))
        with atomic_write(path) as file:
            pq.write_table(kept, file, compression="zstd")
    return sum(theirs)


def _forget(run: RunDir, sources: list[Path], hashes: set[str]) -> Forgotten:
    begun = run.manifest().get(FORGETTING, {})
    hashes |= set(begun.get("hashes", ()))  # what was interrupted is ended with it
    traces = find_traces(run, sources, hashes)
    needles = traces.needles()
    done = Forgotten(tuple(sorted(hashes)), len(traces.persona_ids))
    tainted, stages = _tainted(run, traces, needles)
    done.checkpoints = sorted({*tainted, *begun.get("checkpoints", ())})
    _undo(run, stages, [])  # before anything goes: whatever happens then, the stages are done again
    noted, before = _begin(run, hashes, begun, done.checkpoints)
    _drop_benchmarks(run, done, _touched_benchmarks(run, traces, needles), bool(traces.persona_ids))
    _drop_exports(run, done, needles)
    for unfinished in run.path.rglob(".*.tmp"):
        unfinished.unlink()
    elsewhere = [] if run.journal_path.is_relative_to(run.path) else [run.journal_path]
    for journal in sorted({*run.path.rglob("*.sqlite"), *(file for file in elsewhere if file.is_file())}):
        calls = forget_calls(journal, traces.ids | hashes, traces.passages)
        done.calls = ForgottenCalls(
            done.calls.n_calls + calls.n_calls,
            done.calls.n_attempts + calls.n_attempts,
            done.calls.n_texts + calls.n_texts,
        )
    for file in sorted(run.path.rglob("*.parquet")):
        if "checkpoints" not in file.relative_to(run.path).parts:
            _note(done, run, file, _filter_parquet(file, traces, needles))
    for file in (*_jsonl_files(run), *sources):  # last: by them the rest is found, should this end half-way
        n_removed, n_changed = _filter_jsonl(file, traces, needles)
        done.n_shown += n_changed if file not in sources else 0
        _note(done, run, file, n_removed)
    if begun or not done.is_empty:
        _drop(run, done, run.path / "report")
        _undo(run, ["report"], [])
    manifest = run.manifest()
    restamp(manifest.get("stages", {}), before, stamp_files(run.path, noted))
    manifest.pop(FORGETTING, None)
    run.save_manifest(manifest)
    done.leftovers = find_leftovers(run.path, [*sources, *(file for file in elsewhere if file.is_file())], needles)
    run.log("forgot", rows=sum(done.rows.values()), calls=done.calls.n_calls, checkpoints=done.checkpoints)
    return done


def _begin(
    run: RunDir, hashes: set[str], begun: dict[str, Any], checkpoints: list[str]
) -> tuple[list[str], dict[str, str]]:
    """What stages have noted that they wrote, and the digests of these files before anything is removed.

    They stand in the manifest until all is done, so that a removal which ended half-way is completed by the next one.
    """
    manifest = run.manifest()
    states = manifest.get("stages", {}).values()
    noted = sorted({name for state in states for name in state.get("outputs", {})})
    before = digests_of(stamp_files(run.path, noted)) | begun.get("files", {})
    manifest[FORGETTING] = {"hashes": sorted(hashes), "files": before, "checkpoints": checkpoints}
    run.save_manifest(manifest)
    return noted, before


def _note(done: Forgotten, run: RunDir, file: Path, n: int) -> None:
    if n:
        inside = file.is_relative_to(run.path)
        done.rows[str(file.relative_to(run.path) if inside else file)] = n


def _drop(run: RunDir, done: Forgotten, path: Path) -> None:
    if path.exists():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        done.deleted.append(str(path.relative_to(run.path)))


def _drop_exports(run: RunDir, done: Forgotten, needles: tuple[bytes, ...]) -> None:
    """Files for other tools: their rows have no ids, so that one that holds a passage goes with all beside it."""
    folder = run.path / "datasets"
    for export in sorted(folder.iterdir()) if folder.is_dir() else ():
        own = export.is_file() and export.suffix in (".parquet", ".jsonl")  # of the stage; they are filtered row by row
        if not own and find_leftovers(export, [], needles):
            _drop(run, done, export)


def _touched_benchmarks(run: RunDir, traces: Traces, needles: tuple[bytes, ...]) -> set[str]:
    """Folders of the benchmark with a row of the person."""
    files = sorted((run.path / "bench").rglob("*.jsonl"))
    return {f.parent.name for f in files if any(_is_theirs(row, line, traces, needles) for line, row in _rows(f))}


def _drop_benchmarks(run: RunDir, done: Forgotten, touched: set[str], any_persona: bool) -> None:
    """Results whose figures counted the person; and controls that spoke to others as if to that person."""
    for folder in sorted((run.path / "bench").glob("*/")):
        result = folder / "result.json"
        uri = str(orjson.loads(result.read_bytes()).get("uri", "")) if result.is_file() else ""
        if any_persona and folder.name in touched and uri.startswith("world:") and plain_name(uri) == "swapped":
            _drop(run, done, folder)
        elif folder.name in touched:
            _drop(run, done, result)
    if touched:
        _undo(run, ["bench", "report"], sorted(touched))


def _undo(run: RunDir, stages: list[str], models: list[str]) -> None:
    """Take stages and benchmarked models off the manifest's list of what is done."""
    manifest = run.manifest()
    for stage in stages:
        manifest.get("stages", {}).pop(stage, None)
    for model in models:
        manifest.get("bench", {}).pop(model, None)
    run.save_manifest(manifest)


def _tainted(run: RunDir, traces: Traces, needles: tuple[bytes, ...]) -> tuple[list[str], list[str]]:
    """Checkpoints that learned from the person's data, and the stages to be done again."""
    import pyarrow.parquet as pq

    held: set[str] = set()
    for file in sorted((run.path / "datasets").glob("*.parquet")):
        rows = pq.read_table(file).to_pylist()
        if any(_is_theirs(row, orjson.dumps(row, default=str), traces, needles) for row in rows):
            held.add(file.stem)
    trees = run.path / "trees" / "trees.jsonl"
    grown = trees.is_file() and any(_is_theirs(row, line, traces, needles) for line, row in _rows(trees))
    folder = run.path / "checkpoints"
    present = sorted(f.name for f in folder.glob("*/")) if folder.is_dir() else []
    if grown and not (run.path / "datasets" / f"{ROLLOUT_FROM}.parquet").is_file():
        held.add(ROLLOUT_FROM)
    methods = all_methods()
    taught = [m for m in methods if m.rows in held or (m.rows == "dpo" and "rollout" in held)]
    undone = [m for m in methods if any(m is t or m in started_from(t.name, methods) for t in taught)]
    stages = [m.name for m in undone]
    if ROLLOUT_FROM in stages:
        stages.insert(stages.index(ROLLOUT_FROM) + 1, "rollout")
    leaves = {name for method in undone for name in method.leaves}
    return [name for name in present if name in leaves], stages
