"""The ALOE benchmark as an Inspect task.

    inspect eval examples/inspect/alignment.py -T personas=packaged -T judge=openai:gpt-4.1 --model openai/NAME

Options (-T NAME=VALUE): personas, n_personas, n_turns, user, judge, seed. Every reply of the model under test is scored
as in `aloe bench` with the same options; a sample's score is its mean over the turns, and the log holds each turn's.
"""

from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, mean, metric, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver

import aloe


@solver
def conversation(user: str, judge: str, n_turns: int, seed: int) -> Solver:
    """The persona talks with the model; user and judge are shared by all samples."""
    shared: list[aloe.UserSimulator] = []

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        persona = aloe.Persona.model_validate(state.metadata["persona"])
        if not shared:
            shared.append(aloe.UserSimulator(persona, user=user, judge=judge, n_turns=n_turns, seed=seed))
        simulator = shared[0].another(persona)
        state.messages = [ChatMessageUser(content=await simulator.areset())]
        done = False
        while not done:
            state = await generate(state)
            message, _, done, info = await simulator.astep(state.output.completion)
            if not done:
                state.messages.append(ChatMessageUser(content=message))
        state.metadata["turns"] = list(simulator.scores)
        state.metadata["ended"] = info["ended"]
        return state

    return solve


def scores_of(samples: list[SampleScore]) -> list[list[float | None]]:
    return [(sample.score.metadata or {})["turns"] for sample in samples]


@metric
def improvement_rate() -> Metric:
    """IR: the slope of the mean score over the turns."""

    def compute(samples: list[SampleScore]) -> float:
        slope = aloe.measure(scores_of(samples)).figures.ir
        return float("nan") if slope is None else slope

    return compute


@metric
def half_width() -> Metric:
    """Half the width of AVG's 95% interval, with personas that share profiles or personalities as clusters."""

    def compute(samples: list[SampleScore]) -> float:
        about = [sample.sample_metadata or {} for sample in samples]
        groups = {kind: [row[kind] for row in about] for kind in ("profile", "personality")}
        found = aloe.measure(scores_of(samples), groups).avg
        return float("nan") if found is None else (found.high - found.low) / 2

    return compute


@scorer(metrics=[mean(), stderr(cluster="profile"), half_width(), improvement_rate()])
def alignment_level() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        turns: list[float | None] = state.metadata["turns"]
        known = [value for value in turns if value is not None]
        about: dict[str, Any] = {"turns": turns, "ended": state.metadata["ended"]}
        return Score(value=sum(known) / len(known) if known else float("nan"), metadata=about)

    return score


@task
def alignment(
    personas: str = "packaged",
    n_personas: int = 0,
    n_turns: int = 10,
    user: str = "world:user",
    judge: str = "world:judge",
    seed: int = 0,
) -> Task:
    people = aloe.read_personas(personas, n_personas or None)
    samples = [
        Sample(
            input="(the user speaks first)",
            id=persona.persona_id,
            metadata={
                "persona": persona.model_dump(mode="json"),
                "profile": persona.profile_id,
                "personality": persona.personality_id,
            },
        )
        for persona in people
    ]
    return Task(
        dataset=MemoryDataset(samples),
        solver=conversation(user, judge, n_turns, seed),
        scorer=alignment_level(),
    )
