"""Data sets: selection adds up, splits share no profile, every format opens where it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aloe.dialogue.pairs import check_messages
from aloe.dialogue.tree_builder import TreePlan
from aloe.errors import DataError
from aloe.export.formats import write_openai, write_sharegpt, write_trl
from aloe.export.hub import Provenance, card, write_hub
from aloe.export.select import DataSet, Selection, length_ratio, length_report, read_data_set, split_profiles
from aloe.store.records import read_jsonl, read_parquet
from aloe.types import Label, Message, PreferencePair, SFTExample
from dialogue.growing import grow_into
from helpers import world_personas


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "trees"
    grow_into(path, TreePlan(n_turns=4, policy="both:1", label="score", labeler="world:judge"), n=20)
    return path


def read(folder: Path, **options: object) -> DataSet:
    return read_data_set(folder, world_personas(20), Selection(**options))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    margin=st.sampled_from([0.0, 0.3, 1.0]),
    ratio=st.sampled_from([0.0, 1.5, 3.0]),
    evidenced=st.booleans(),
    validation=st.sampled_from([0.0, 0.01, 0.3, 0.9]),
    seed=st.integers(0, 3),
)
def test_selection_adds_up_and_keeps_its_word(folder, margin, ratio, evidenced, validation, seed) -> None:
    data = read(
        folder, min_margin=margin, max_length_ratio=ratio, evidenced=evidenced, validation=validation, seed=seed
    )
    labels = list(read_jsonl(folder / "labels.jsonl", Label))
    assert len(data.all_pairs) + data.dropped.total() == len(labels)
    revealing = {json.loads(line)["node_id"] for line in (folder / "disclosures.jsonl").read_text().splitlines()}
    parents = {x.chosen: x for x in labels}
    profile = {p.persona_id: p.profile_id for p in world_personas(20)}
    used = {split: {profile[p.persona_id] for p in pairs} for split, pairs in data.pairs.items()}
    assert not used["train"] & used.get("validation", set())
    assert ("validation" in used) == (validation > 0)
    for pair in data.all_pairs:
        assert pair.margin is not None and pair.margin >= margin
        assert not ratio or length_ratio(pair) <= ratio
        assert check_messages([*pair.prompt, *pair.chosen]) == ""
    assert parents and (not evidenced or len(data.all_pairs) <= len(revealing) * 2)


def test_an_unknown_labeler_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no labels by 'world:jugde'.*did you mean 'world:judge'"):
        read(folder, labeler="world:jugde")


def test_the_split_is_by_profile_and_by_seed() -> None:
    personas = world_personas(20)
    profiles = {p.profile_id for p in personas}
    held = split_profiles(personas, 0.25, 0)
    assert held < profiles and len(held) == -(-len(profiles) // 4)
    assert held == split_profiles(personas[::-1], 0.25, 0) and held != split_profiles(personas, 0.25, 1)
    assert len(split_profiles(personas, 0.999, 0)) == len(profiles) - 1  # training is never empty


def pair(chosen: str, rejected: str) -> PreferencePair:
    def said(text: str) -> tuple[Message, ...]:
        return (Message(role="assistant", content=text),)

    prompt = (Message(role="user", content="hi"),)
    return PreferencePair(
        pair_id="p", tree_id="t", persona_id="x", turn=1, prompt=prompt, chosen=said(chosen), rejected=said(rejected)
    )


def test_lengths_by_hand() -> None:
    report = length_report([pair("aaaa", "bb"), pair("aa", "bbbb"), pair("aaaaaa", "bb")])
    assert report == {
        "mean_chosen": 4.0, "mean_rejected": 2.7, "ratio": 1.5, "chosen_longer": 0.667, "length_accuracy": 0.667,
    }  # fmt: skip
    assert length_report([])["ratio"] is None


def plain(messages) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def test_trl_files_hold_the_same_rows_and_pass_trls_own_checks(folder: Path, tmp_path: Path) -> None:
    data_utils = pytest.importorskip("trl.data_utils")
    data = read(folder, validation=0.2)
    write_trl(data, tmp_path)
    for split in ("train", "validation"):
        rows = read_parquet(tmp_path / f"preference.{split}.parquet")
        assert rows == [json.loads(x) for x in (tmp_path / f"preference.{split}.jsonl").read_text().splitlines()]
        assert [r["prompt"] for r in rows] == [plain(p.prompt) for p in data.pairs[split]]
        assert all(data_utils.is_conversational({k: r[k] for k in ("prompt", "chosen", "rejected")}) for r in rows)
        for row in read_parquet(tmp_path / f"sft.{split}.parquet"):
            assert data_utils.is_conversational({"messages": row["messages"]})
            assert row["messages"][-1]["role"] == "assistant"


def test_the_hub_folder_opens_with_load_dataset(folder: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = read(folder, validation=0.2)
    origin = Provenance({"judge": ["world:judge"]}, {"judge_score": "abc"}, {"length_ratio": 2.0}, "cc-by-4.0")
    write_hub(data, tmp_path / "hub", origin, "a | name\n---")
    opened = datasets.load_dataset(str(tmp_path / "hub"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(opened[split]) for split in opened} == {s: len(p) for s, p in data.pairs.items()}
    assert opened["train"][0]["prompt"] == plain(data.pairs["train"][0].prompt)
    sft = datasets.load_dataset(str(tmp_path / "hub"), "sft", cache_dir=str(tmp_path / "cache"))
    assert sft["train"][3]["messages"] == plain(data.examples["train"][3].messages)
    text = (tmp_path / "hub" / "README.md").read_text()
    for fact in ("cc-by-4.0", "world:judge", "abc", f"| pairs, train | {len(data.pairs['train'])} |", "Labels by"):
        assert fact in text
    header = datasets.load.DatasetCard.load(tmp_path / "hub" / "README.md").data
    assert header.license == "cc-by-4.0" and header.pretty_name == "a | name ---"


def test_openai_files(folder: Path, tmp_path: Path) -> None:
    data = read(folder)
    write_openai(data, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "preference.train.jsonl").read_text().splitlines()]
    for row, p in zip(rows, data.all_pairs, strict=True):
        assert row["input"]["messages"] == plain(p.prompt) and row["input"]["messages"][-1]["role"] == "user"
        assert row["preferred_output"] == plain(p.chosen) and row["non_preferred_output"] == plain(p.rejected)
    for line in (tmp_path / "sft.train.jsonl").read_text().splitlines():
        replies = [m for m in json.loads(line)["messages"] if m["role"] == "assistant"]
        assert "weight" not in replies[-1] and all(m["weight"] == 0 for m in replies[:-1])


def test_sharegpt_files_and_the_info_beside_them(folder: Path, tmp_path: Path) -> None:
    data = read(folder, validation=0.2)
    write_sharegpt(data, tmp_path)
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert set(info) == {"aloe_preference", "aloe_sft", "aloe_preference_validation", "aloe_sft_validation"}
    for name, entry in info.items():
        rows = [json.loads(line) for line in (tmp_path / entry["file_name"]).read_text().splitlines()]
        assert rows
        for row in rows:
            speakers = [m["from"] for m in row["conversations"]]
            assert speakers == ["human", "gpt"] * (len(speakers) // 2) + ["human"] * (len(speakers) % 2)
            assert (len(speakers) % 2 == 1) == entry.get("ranking", False)
            assert not entry.get("ranking") or row["chosen"]["from"] == row["rejected"]["from"] == "gpt"
        assert name.endswith("validation") == (".validation." in entry["file_name"])


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT, st.floats(0, 5) | st.none()), min_size=1, max_size=4))
def test_any_text_goes_through_the_hub_folder_unchanged(tmp_path: Path, rows) -> None:
    datasets = pytest.importorskip("datasets")
    import tempfile

    def said(role: str, text: str) -> Message:
        return Message(role=role, content=text)  # type: ignore[arg-type]

    pairs = [
        PreferencePair(
            pair_id=str(i), tree_id="t", persona_id="p", turn=1, prompt=(said("user", u),),
            chosen=(said("assistant", a),), rejected=(said("assistant", b),), margin=m, labeler="x",
        )
        for i, (u, a, b, m) in enumerate(rows)
    ]  # fmt: skip
    examples = [
        SFTExample(example_id="e", tree_id="t", persona_id="p", turn=1, messages=(*p.prompt, *p.chosen)) for p in pairs
    ]
    data = DataSet({"train": pairs}, {"train": examples}, "x", n_trees=1)
    with tempfile.TemporaryDirectory(dir=tmp_path) as name:
        write_hub(data, Path(name), Provenance(), rows[0][0])
        opened = datasets.load_dataset(name, split="train", cache_dir=f"{name}/cache")
        for row, p in zip(opened, pairs, strict=True):
            assert [row[k] for k in ("prompt", "chosen", "rejected", "margin")] == [
                plain(p.prompt), plain(p.chosen), plain(p.rejected), p.margin,
            ]  # fmt: skip


def test_a_card_of_nothing_is_still_a_card() -> None:
    text = card(DataSet({"train": []}, {"train": []}), Provenance(), "x")
    assert text.startswith("---\n") and "Pairs by turn: none" in text
