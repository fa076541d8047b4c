"""Writes a run directory as the stages do, small and with every case the page must show."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import orjson

from aloe.bench.metrics import measure, result_figures
from aloe.config import Config, dump_toml
from aloe.stats import Clusters
from aloe.store.records import write_json, write_jsonl
from aloe.types import (
    BenchmarkResult,
    BenchScore,
    ConversationTree,
    Disclosure,
    Generation,
    Judgement,
    Label,
    Message,
    Node,
    NodeError,
    Persona,
    PoolEntry,
)

JOBS = ("baker", "bus driver", "potter", "nurse", "beekeeper", "tailor", "surveyor", "cellist")
PETS = ("ferret called Fizzy", "grey cat", "lame greyhound", "pair of finches", "tortoise", "goat")
TOWNS = ("a village above the lake", "a flat by the docks", "her grandmother's farm", "a houseboat")
MANNERS = (
    "Blunt, quick to joke, and short with people who waste words.",
    "Formal and careful; weighs every claim before she agrees to it.",
    "Warm, talkative, always asking after others before she says what she needs.",
    "Anxious about plans and hard on herself, yet drily funny.",
)
ASKS = ("what to cook on Sunday", "how to sleep better", "a present for my brother", "a trip in the spring")
SLOPES = {"base": 0.004, "sft": 0.05, "dpo": 0.09, "sft-control": 0.01, "generic": 0.0, "oracle": 0.12}
STARTS = {"base": 2.3, "sft": 2.6, "dpo": 2.75, "sft-control": 2.4, "generic": 2.5, "oracle": 3.2}


def made_personas(n: int, split: str, first: int = 0) -> list[Persona]:
    """Personas that share profiles and personalities as a cross product does."""
    found = []
    for i in range(first, first + n):
        job, pet, town = JOBS[i % 8], PETS[i % 6], TOWNS[i % 4]
        found.append(
            Persona(
                persona_id=f"{split}-{i:04d}",
                profile=f"She is a {job} of {24 + i % 50}. She keeps a {pet}. She lives in {town}.",
                personality=MANNERS[(i // 8) % 4],
                profile_id=f"prof-{i % 24}",
                personality_id=f"pers-{(i // 8) % 4}",
                split=split,  # type: ignore[arg-type]
            )
        )
    return found


def _generation(role: str, model: str) -> Generation:
    return Generation(model=model, role=role, prompt_name=role, prompt_hash="0" * 16)  # type: ignore[arg-type]


def made_tree(persona: Persona, rng: np.random.Generator, n_turns: int = 10, fail_at: int = 0, both: bool = False):
    """One tree with its disclosures and labels; ``both`` lets both replies of turn 1 go on."""
    job = persona.profile.split(" is a ")[1].split(" of ")[0]
    nodes: list[Node] = []
    disclosures: list[dict[str, object]] = []
    labels: list[Label] = []
    errors: list[NodeError] = []
    tree_id = f"tree-{persona.persona_id}"

    def grow(parent: str | None, turn: int, path: str) -> None:
        if turn > n_turns:
            return
        user = f"{path}u{turn}"
        ask = ASKS[int(rng.integers(len(ASKS)))]
        said, status = (
            (f"I work as a {job}", "stated") if turn % 3 == 1 else ("up before dawn with the ovens", "implied")
        )
        text = f"{said}, so tell me {ask}." if turn % 2 else f"Hm. {ask.capitalize()}? I was {said}."
        nodes.append(
            Node(
                node_id=user,
                parent_id=parent,
                turn=turn,
                message=Message(role="user", content=text),
                continued=True,
                generation=_generation("user", "world:user"),
            )
        )
        disclosures.append(
            {
                "tree_id": tree_id,
                **Disclosure(
                    node_id=user,
                    item=persona.profile.split(". ")[0] + ".",
                    kind="trait" if turn % 4 == 0 else "fact",
                    status=status,  # type: ignore[arg-type]
                    evidence_node_ids=(user,),
                    evidence=said,
                ).model_dump(mode="json"),
            }
        )
        if turn == fail_at:
            errors.append(NodeError(node_id=user, turn=turn, role="tailored", error="HTTP 503 after 6 tries"))
            return
        wins = bool(rng.random() < 0.8)
        kept = ("tailored", "generic") if both and turn == 1 else ("tailored" if rng.random() < 0.5 else "generic",)
        ids = {kind: f"{path}{kind[0]}{turn}" for kind in ("tailored", "generic")}
        for kind, node_id in ids.items():
            reply = f"As a {job} you may like something quick. " if kind == "tailored" else "There are many options. "
            nodes.append(
                Node(
                    node_id=node_id,
                    parent_id=user,
                    turn=turn,
                    message=Message(role="assistant", content=reply + f"About {ask}: start small and see how it goes."),
                    continued=kind in kept,
                    kind=kind,  # type: ignore[arg-type]
                    generation=_generation(kind, f"world:{kind}"),
                )
            )
        chosen, rejected = (ids["tailored"], ids["generic"]) if wins else (ids["generic"], ids["tailored"])
        outcome = "preferred" if rng.random() > 0.12 else "disagreement"
        order = (ids["tailored"], ids["generic"])
        labels.append(
            Label(
                tree_id=tree_id,
                node_ids=order,
                chosen=chosen if outcome == "preferred" else None,
                rejected=rejected if outcome == "preferred" else None,
                margin=round(float(rng.uniform(0.1, 2.0)), 2) if outcome == "preferred" else None,
                labeler="world:judge",
                outcome=outcome,  # type: ignore[arg-type]
                judgements=(
                    Judgement(
                        node_ids=order,
                        verdict="first" if wins else "second",
                        reason="it takes up what she said of her work",
                    ),
                ),
            )
        )
        for kind in kept:
            grow(ids[kind], turn + 1, f"{path}{kind[0]}" if both and turn == 1 else path)

    grow(None, 1, "")
    tree = ConversationTree(
        tree_id=tree_id, persona_id=persona.persona_id, seed=0, nodes=tuple(nodes), errors=tuple(errors)
    )
    return tree, disclosures, labels


def write_personas(run: Path, train: list[Persona], bench: list[Persona], rng: np.random.Generator) -> None:
    pool, rejected = [], []
    for kind, n in (("profile", 60), ("personality", 24)):
        for i in range(n):
            pool.append(
                PoolEntry(
                    entry_id=f"{kind}-{i}",
                    kind=kind,  # type: ignore[arg-type]
                    text=(train[i % len(train)].profile if kind == "profile" else MANNERS[i % 4]) + f" Number {i}.",
                    round_index=i // 10,
                    nearest_id=f"{kind}-{i // 2}" if i else None,
                    max_similarity=round(float(rng.beta(3, 4)) * 0.6, 3) if i else None,
                )
            )
            if i % 3 == 0:
                rejected.append(
                    pool[-1].model_copy(update={"entry_id": f"no-{kind}-{i}", "reason": "too close to a member: 0.71"})
                )
    write_jsonl(run / "personas" / "pool.jsonl", pool)
    write_jsonl(run / "personas" / "rejected.jsonl", rejected)
    write_jsonl(run / "personas" / "personas.jsonl", [*train, *bench])


def write_trees(run: Path, stage: str, personas: list[Persona], rng: np.random.Generator) -> None:
    trees, disclosures, labels = [], [], []
    for i, persona in enumerate(personas):
        tree, shown, judged = made_tree(persona, rng, fail_at=6 if i % 11 == 5 else 0, both=i % 7 == 3)
        trees.append(tree)
        disclosures.extend(shown)
        labels.extend(judged)
    write_jsonl(run / stage / "trees.jsonl", trees)
    write_jsonl(run / stage / "disclosures.jsonl", disclosures)
    write_jsonl(run / stage / "labels.jsonl", labels)


def write_bench(run: Path, name: str, personas: list[Persona], rng: np.random.Generator, n_turns: int = 10) -> None:
    scores = np.empty((len(personas), n_turns))
    conversations, rows = [], []
    for p, persona in enumerate(personas):
        nodes: list[Node] = []
        for k in range(1, n_turns + 1):
            level = STARTS.get(name, 2.5) + SLOPES.get(name, 0.02) * k + 0.25 * (p % 5 - 2) * 0.3
            scores[p, k - 1] = float(np.clip(level + rng.normal(0, 0.4), 1, 5))
            parent = nodes[-1].node_id if nodes else None
            ask = ASKS[(p + k) % 4]
            nodes.append(
                Node(
                    node_id=f"u{k}",
                    parent_id=parent,
                    turn=k,
                    message=Message(role="user", content=f"Now: {ask}?"),
                    continued=True,
                )
            )
            nodes.append(
                Node(
                    node_id=f"a{k}",
                    parent_id=f"u{k}",
                    turn=k,
                    message=Message(role="assistant", content=f"Here is a thought on {ask}. " * (1 + k % 3)),
                    continued=True,
                    kind="responder",
                )
            )
            missing = p == 3 and k == 4
            score = None if missing else round(float(scores[p, k - 1]), 3)
            if missing:
                scores[p, k - 1] = math.nan
            parts = {"style": 3.0, "content": 2.5, "natural": 4.0}
            rows.append(
                BenchScore(
                    tree_id=f"{name}-{p}",
                    persona_id=persona.persona_id,
                    profile_id=persona.profile_id,
                    personality_id=persona.personality_id,
                    turn=k,
                    node_id=f"a{k}",
                    score=score,
                    outcome="unparsed" if missing else "scored",
                    parts=parts,
                    reason="" if missing else "a little stiff for her",
                    raw="I would say nice" if missing else "",
                )
            )
        conversations.append(
            ConversationTree(tree_id=f"{name}-{p}", persona_id=persona.persona_id, seed=0, nodes=tuple(nodes))
        )
    clusters = Clusters([p.profile_id for p in personas], [p.personality_id for p in personas])
    found = measure(scores, clusters)
    result = BenchmarkResult(
        model=name,
        uri=f"hf:checkpoints/{name}" if name in ("base", "sft", "dpo", "sft-control") else f"world:{name}",
        judge_model="world:judge",
        user_model="world:user",
        config_digest="0",
        n_personas=len(personas),
        **result_figures(found),  # type: ignore[arg-type]
        truth={
            "fact_use": 0.62,
            "implied_fact_use": 0.41,
            "untrue_rate": 0.03,
            "style_accuracy": 0.7,
            "premature_rate": None,
            **dict.fromkeys(("over_personalisation", "repetition", "style_recall", "on_topic"), 0.2),
            **dict.fromkeys(("user_contradictions", "user_role_flips", "user_repeats", "leak_turn_1"), 0.1),
            "facts_revealed": 7.9,
            "reply_words": 34.2,
            "length_score_r": -0.31,
        },
        fact_use_by_lag=(0.8, 0.7, 0.66, 0.6, None),
        facts_by_turn=(1.0, 0.8, 0.7, 0.7, 0.5, 0.4),
    )
    write_jsonl(run / "bench" / name / "conversations.jsonl", conversations)
    write_jsonl(run / "bench" / name / "scores.jsonl", rows)
    write_json(run / "bench" / name / "result.json", result.model_dump(mode="json"))


def write_training(run: Path, name: str, rng: np.random.Generator, n_steps: int = 120) -> None:
    rows = []
    for step in range(1, n_steps + 1):
        row = {"step": step, "loss": 0.7 * math.exp(-step / 40) + 0.1 + float(rng.normal(0, 0.01))}
        if name.startswith("dpo"):
            gain = 1 - math.exp(-step / 50)
            row |= {"rewards/margins": 2 * gain, "rewards/accuracies": 0.5 + 0.4 * gain}
            row |= {"logps/chosen": -40 + 3 * gain, "logps/rejected": -42 - 8 * gain}
        rows.append(row)
    write_jsonl(run / "checkpoints" / name / "metrics.jsonl", rows)


def write_manifest(run: Path, stages: tuple[str, ...]) -> None:
    calls = {
        "n_calls": 3000,
        "n_replayed": 12,
        "n_failed": 1,
        "prompt_tokens": 912_345,
        "completion_tokens": 80_111,
        "cost": 0.0,
    }
    write_json(
        run / "manifest.json",
        {
            "aloe_version": "0.1.0",
            "recipe": "demo",
            "seed": 0,
            "created": 1_760_000_000.0,
            "stages": {
                s: {
                    "digest": "0",
                    "seconds": 4.2 * (i + 1),
                    "finished": 1_760_000_100.0,
                    "summary": {"n_trees": 30, "n_failed": 2},
                }
                for i, s in enumerate(stages)
            },
            "calls": {"trees": {"user": calls, "judge": calls}, "bench": {"user": calls}},
            "failures": [{"stage": "trees", "error": "2 of 30 trees ended early"}],
        },
    )


def write_run(
    run: Path, *, n_train: int = 30, n_bench: int = 20, seed: int = 0, models: tuple[str, ...] = tuple(SLOPES)
) -> Path:
    """A whole run; returns its path."""
    rng = np.random.default_rng(seed)
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.toml").write_text(dump_toml(Config()), "utf-8")
    train, bench = made_personas(n_train, "train"), made_personas(n_bench, "bench", n_train)
    write_personas(run, train, bench, rng)
    write_trees(run, "trees", train, rng)
    write_trees(run, "rollout", train[: n_train // 3], rng)
    for name in models:
        write_bench(run, name, bench, rng)
    for name in ("sft", "dpo"):
        write_training(run, name, rng)
    write_manifest(run, ("personas", "trees", "export", "bench"))
    (run / "log.jsonl").write_bytes(orjson.dumps({"time": 1.0, "event": "run started"}) + b"\n")
    return run
