"""Forgetting reaches the studio's journal, whose paths name nobody, and files for other tools inside the run."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aloe.config import Config
from aloe.models.journal.inspect import Reader
from aloe.models.journal.journal import Journal
from aloe.personas.pairing import make_entry_id
from aloe.privacy.chats import hash_user, open_salt
from aloe.privacy.forget import forget_user
from aloe.protocols import Completion, PromptMessage
from aloe.store.records import write_jsonl
from aloe.store.rundir import RunDir

PROFILES = ("She winds the clocks of the old observatory.", "She drives a night bus along the coast road.")
PERSON = "She is slow to anger and slow to laugh."
SAID = "I get up those iron stairs at five, before anybody sees me."
ANSWER = "Then a warm flask for the iron stairs is the first thing to pack."
HEARD = '{"revealed": [{"item": "climbs iron stairs at five"}]}'
OTHER = "The depot closes late, so I sleep through every morning."


def make_run(folder: Path) -> tuple[RunDir, str]:
    run = RunDir(folder / "run")
    run.open(Config(), "test")
    run.close()
    salt = open_salt(run.path)
    rows, people = [], []
    for i, profile in enumerate(PROFILES):
        rows.append({"kind": "profile", "entry_id": make_entry_id("profile", profile), "text": profile,
                     "provenance": {"user_hash": hash_user(f"user-{i}", salt)}})  # fmt: skip
        people.append({"persona_id": f"p{i}", "profile": profile, "personality": PERSON, "split": "train",
                       "profile_id": make_entry_id("profile", profile), "personality_id": "x"})  # fmt: skip
    write_jsonl(run.path / "personas" / "pool.jsonl", rows)
    write_jsonl(run.path / "personas" / "personas.jsonl", people)
    return run, "user-0"


def journal_talks(path: Path) -> None:
    """A talk with each of the two, as the studio journals it, and an answer that any talk may hold."""
    calls = [
        ("studio/a/user/0", (f"<persona>{PROFILES[0]}</persona>",), SAID),
        ("studio/b/reply", ("Be helpful.", SAID), ANSWER),
        ("studio/c/inducer", ("What is said of the user?", ANSWER), HEARD),
        ("studio/d/judge", ("Rate it.", ANSWER), '{"score": 4}'),
        ("studio/e/user/0", (f"<persona>{PROFILES[1]}</persona>",), OTHER),
        ("studio/f/reply", ("Be helpful.", OTHER), "Thick curtains, then."),
        ("studio/g/judge", ("Rate it.", OTHER), '{"score": 4}'),
        ("studio/h/judge", ("Rate it once more.", '{"score": 4}'), "It stays with a four, all in all."),
    ]
    journal = Journal.open(path)
    plan = journal.plan_id({"model": "m", "role": "user"})
    for i, (place, parts, reply) in enumerate(calls):
        messages = [PromptMessage("user", (part,)) for part in parts]
        journal.queue(bytes([i] * 16), plan, (place, 0, None), messages, Completion(reply), (None, 1, 1))
    journal.close()


def test_a_persons_talks_in_the_studio_are_forgotten_and_others_stay(tmp_path: Path) -> None:
    run, user = make_run(tmp_path)
    journal_talks(run.path / "studio" / "journal.sqlite")
    rating = {"rating_id": "r", "persona_id": "p0", "profile": PROFILES[0], "messages": [{"content": SAID}],
              "replies": [ANSWER, "Nothing."]}  # fmt: skip
    write_jsonl(run.path / "studio" / "ratings.jsonl", [rating])
    done = forget_user(run, user)
    with Reader(run.path / "studio" / "journal.sqlite") as reader:
        left = {call["path"] for call in reader.calls()}
    assert left == {"studio/e/user/0", "studio/f/reply", "studio/g/judge", "studio/h/judge"}
    held = b"".join(p.read_bytes() for p in run.path.rglob("*") if p.is_file())
    for text in (PROFILES[0], SAID, ANSWER, "climbs iron stairs"):
        assert text.encode() not in held, text
    assert OTHER.encode() in held and not done.leftovers


def test_files_for_other_tools_that_hold_a_person_are_deleted(tmp_path: Path) -> None:
    run, user = make_run(tmp_path)
    folder = run.path / "datasets"
    hub = folder / "hub" / "data"
    hub.mkdir(parents=True)
    pq.write_table(pa.table({"prompt": [PROFILES[0]], "chosen": ["x"]}), hub / "train.parquet")
    (folder / "hub" / "README.md").write_text("a card")
    (folder / "published.json").write_text(json.dumps([{"profile": PROFILES[0]}]))
    (folder / "openai").mkdir()
    (folder / "openai" / "train.jsonl").write_text(json.dumps({"messages": [{"content": PROFILES[1]}]}) + "\n")
    pq.write_table(pa.table({"persona_id": ["p0", "p1"]}), folder / "preferences.parquet")
    done = forget_user(run, user)
    assert sorted(done.deleted) == ["datasets/hub", "datasets/published.json"] and not done.leftovers
    assert (folder / "openai" / "train.jsonl").is_file()
    assert pq.read_table(folder / "preferences.parquet").to_pylist() == [{"persona_id": "p1"}]
