"""A model that quotes, refuses, thinks, is cut off or talks without end, in each role: counted, and never defaulted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aloe.dialogue.forest import ForestSummary, grow_forest, plan_jobs
from aloe.dialogue.tree_builder import TreeBuilder, TreePlan
from aloe.models.caller import Caller
from aloe.models.calls import RoleStats
from aloe.models.registry import register_scheme
from aloe.prompts import PromptSet
from aloe.protocols import ChatRequest, Completion
from aloe.store.records import read_jsonl
from aloe.store.validate import validate_run
from aloe.types import ConversationTree, Label
from dialogue.growing import with_roles
from helpers import world_personas

TEXTS = {
    "refuses": ("I'm sorry, but I can't assist with that request.", "stop"),
    "thinks": ('<think> Okay. I need help? {"verdict": "first"} {"score": 5} So', "length"),
    "truncates": ('Any ideas? I would like to know whether {"revealed": [{"item": "She', "length"),
    "talks on": ("I have been wondering about supper, what do you think? " * 60, "stop"),
}
FAULTS = ("quotes", *TEXTS)
MESSAGES = ("user", "tailored", "generic")
#: how each shows where it is not an answer without use: in the counters of the role, or in a statistic of the trees
SHOWS = {
    ("generic", "quotes"): "echoed_replies",
    ("tailored", "refuses"): "refused_replies", ("generic", "refuses"): "refused_replies",
    ("user", "truncates"): "cut", ("tailored", "truncates"): "cut", ("generic", "truncates"): "cut",
    ("user", "talks on"): "over_long", ("tailored", "talks on"): "over_long", ("generic", "talks on"): "over_long",
    ("inducer", "quotes"): "unevidenced_claims",  # of the prompt's own example
}  # fmt: skip


class BadPlayer:
    """``bad:FAULT``; the one that quotes says its instructions back, or the message that it should answer."""

    revision = "1"

    def __init__(self, uri: str) -> None:
        self.name, self._fault = uri, uri.removeprefix("bad:").replace("-", " ")

    async def complete(self, request: ChatRequest) -> Completion:
        if self._fault in TEXTS:
            return Completion(*TEXTS[self._fault])
        last = request.messages[-1].content
        is_message = "JSON only" not in last
        return Completion(last if is_message else "\n".join(m.content for m in request.messages))

    async def aclose(self) -> None:
        return None


register_scheme("bad", lambda config: BadPlayer(config.uri))


def grow_with(folder: Path, role: str, fault: str) -> tuple[ForestSummary, RoleStats]:
    """Trees of two turns, one role played badly, and the counters of that role."""

    jobs = plan_jobs(world_personas(2), 0, 1)

    async def work() -> tuple[ForestSummary, RoleStats]:
        config = with_roles(**{role: f"bad:{fault.replace(' ', '-')}"})
        caller = Caller.open(config, None, seed=3, prompts=PromptSet(version="2"))
        try:
            builder = TreeBuilder(caller, TreePlan(n_turns=2, orders=2, cards=1), 3)
            summary = await grow_forest(builder, jobs, folder, 8)
            return summary, caller.stats_of(role)
        finally:
            await caller.aclose()

    return asyncio.run(work())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("role", [*MESSAGES, "inducer", "judge"])
def test_a_role_that_is_played_badly_is_counted_and_nothing_is_made_up(tmp_path: Path, role: str, fault: str) -> None:
    summary, stats = grow_with(tmp_path / "trees", role, fault)
    shows = SHOWS.get((role, fault))
    assert stats.n_answers > 0
    if shows is None:  # of no use, of one kind, and asked for again
        assert stats.n_unparsed == stats.n_answers == sum(stats.unusable.values()) and len(stats.unusable) == 1
        assert stats.n_again == stats.n_answers
    elif shows == "cut":
        assert stats.n_cut == stats.n_answers and stats.n_unparsed == 0
    else:
        share = summary.statistics[shows]
        assert stats.n_unparsed == 0 and share is not None and share > 0.3
    labels = list(read_jsonl(tmp_path / "trees" / "labels.jsonl", Label))
    disclosures = (tmp_path / "trees" / "disclosures.jsonl").read_text()
    trees = list(read_jsonl(tmp_path / "trees" / "trees.jsonl", ConversationTree))
    assert validate_run(tmp_path).breaches == [] and len(trees) == 2
    said = [n.message.content for tree in trees for n in tree.nodes]
    assert not any("<think>" in text or "<revealed>" in text or "<task" in text for text in said)
    if role == "judge":
        assert labels and all(label.outcome == "unparsed" and label.chosen is None for label in labels)
        assert all(j.verdict is None and j.score is None for label in labels for j in label.judgements)
    if role == "inducer":
        assert disclosures == "" and said
    if role in MESSAGES and shows is None:
        assert summary.n_failed_nodes > 0 and not any(text.startswith(TEXTS["refuses"][0]) for text in said)
