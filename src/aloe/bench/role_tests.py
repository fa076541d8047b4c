"""Tests the prompt of each role on cases with a known answer: figures with intervals (``aloe prompts test``).

A figure of what a model does by itself is taken from its first answers; where an answer had to be asked for again,
that is a figure of its own. What can't be read is counted and never taken for anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from aloe.bench.check import check_judge, fitness, known_items, told_reply
from aloe.bench.controls import as_disclosures
from aloe.bench.role_cases import RoleCase, copies_placeholder, plain, role_cases
from aloe.bench.scales import SCALES
from aloe.config import Config
from aloe.dialogue.inducer import induce
from aloe.dialogue.responder import generic_reply, tailored_reply
from aloe.dialogue.state import PathState, content_id
from aloe.dialogue.user import Steering, asks_for_something, next_user_message, plays_assistant
from aloe.errors import ConfigError
from aloe.models.caller import Caller
from aloe.models.calls import Reply
from aloe.personas.checks import Kind, Limits, check_description
from aloe.prompts.catalog import WRITER
from aloe.stats import Estimate, mean_interval, ratio_interval, share_interval
from aloe.world.truth import assess_reply, read_known, read_user_message, weigh

ROLES = ("writer", "user", "inducer", "tailored", "generic", "judge")
N_WRITTEN = 5  # descriptions asked for in one call
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RoleFigure:
    """One figure of a role: value and 95% interval over the cases, None where there was nothing to count."""

    name: str
    estimate: Estimate | None
    wanted: str = ""


@dataclass(slots=True)
class RoleRun:
    """What a role is tried with, and what came of it.

    Attributes:
        first: the first answer to everything that was asked, in the order of the paths.
    """

    caller: Caller
    config: Config
    cases: Sequence[RoleCase]
    tick: Callable[[], None]
    first: dict[str, Reply] = field(default_factory=dict)

    def answers(self, role: str) -> list[str]:
        """The first answers of a role."""
        return [r.text for path, r in sorted(self.first.items()) if r.generation.role == role]


async def try_roles(
    caller: Caller, config: Config, roles: Sequence[str], n: int, progress: Progress | None = None
) -> dict[str, list[RoleFigure]]:
    """The figures of every role that is asked for.

    Args:
        n: people of the fixed set, and items of the judge.

    Raises:
        ConfigError: an unknown role, or no people. EndpointError: a call failed for good.
    """
    for role in roles:
        if role not in ROLES:
            raise ConfigError(f"'{role}' is not a role with a prompt", f"use some of: {', '.join(ROLES)}")
    if n < 4:
        raise ConfigError(f"{n} people are too few", "use at least 4")
    n_done, n_all = 0, n * len(roles)

    def tick() -> None:
        nonlocal n_done
        n_done += 1
        if progress is not None:
            progress(n_done, n_all)

    run = RoleRun(caller, config, role_cases(n, config.seed), tick)

    def note(_config: object, path: str, _messages: object, reply: Reply) -> None:
        if not path.endswith("/again"):
            run.first[path] = reply

    caller.listener = note
    tests = {
        "writer": _try_writer, "user": _try_user, "inducer": _try_inducer, "tailored": _try_tailored,
        "generic": _try_generic, "judge": _try_judge,
    }  # fmt: skip
    found = await asyncio.gather(*(tests[role](run) for role in roles))
    return {role: [*_form(run, role), *figures] for role, figures in zip(roles, found, strict=True)}


def _form(run: RoleRun, role: str) -> list[RoleFigure]:
    """How answers came: read at last, asked for again, cut off, and how long they were."""
    stats = run.caller.stats_of(role)
    first = [r for r in run.first.values() if r.generation.role == role]
    n = stats.n_answers

    def share_of(count: int) -> Estimate | None:
        return share_interval([1.0] * count + [0.0] * (n - count)) if n else None

    return [
        RoleFigure("can be read", share_of(n - stats.n_unparsed), ">= 0.98"),
        RoleFigure("asked again", share_of(stats.n_again), "<= 0.05"),
        RoleFigure("cut off", share_interval([float(r.finish_reason == "length") for r in first]), "<= 0.05"),
        RoleFigure("example copied", share_interval([float(copies_placeholder(r.text)) for r in first]), "0"),
        RoleFigure("words", mean_interval([float(len(r.text.split())) for r in first])),
    ]


async def _try_user(run: RoleRun) -> list[RoleFigure]:
    openings: list[str | None] = []
    kept: list[str] = []
    shows: list[float] = []

    async def talk(case: RoleCase) -> tuple[str | None, list[str]]:
        """Two messages of the user, with a reply between them that asks for more."""
        name = f"talk-{case.number}"
        steering = Steering(cards=run.config.trees.cards, seed=run.config.seed, tree_id=name)
        state, said = PathState(name), []
        for turn in (1, 2):
            text, _ = await next_user_message(
                run.caller, case.persona, state, f"prompts/user/{case.number}/{turn}", steering
            )
            if text is None:
                break
            said.append(text)
            state = state.with_user(content_id(state.node_id, "user", text), text)
            shown = read_user_message(text, case.latent)
            shows.append(float(any(s.item.kind == "fact" for s in shown)))
            reply = told_reply(state, shown, case.number)
            state = state.with_reply(content_id(state.node_id, "assistant", reply), reply)
        run.tick()
        return (said[0] if said else None), said

    for opening, said in await asyncio.gather(*map(talk, run.cases)):
        openings.append(opening)
        kept.extend(said)
    told: list[float] = []
    facts: list[float] = []
    for case, opening in zip(run.cases, openings, strict=True):
        if opening is not None:
            told.append(float(sum(s.item.kind == "fact" for s in read_user_message(opening, case.latent))))
            facts.append(float(len(case.latent.facts)))
    figures = [
        RoleFigure("facts told at turn 1", ratio_interval(told, facts), "<= 0.25"),
        RoleFigure("messages that tell a fact", share_interval(shows)),
    ]
    for texts, when in ((run.answers("user"), ""), (kept, ", as kept")):
        plays = [plays_assistant(text) for text in texts]
        asks = [float(asks_for_something(text) and not p) for text, p in zip(texts, plays, strict=True)]
        figures += [
            RoleFigure(f"plays the assistant{when}", share_interval([float(p) for p in plays]), "<= 0.02"),
            RoleFigure(f"asks for something{when}", share_interval(asks), ">= 0.9"),
        ]
    return figures


async def _try_inducer(run: RoleRun) -> list[RoleFigure]:
    right: list[float] = []
    kept: list[float] = []
    found: list[float] = []
    true: list[float] = []
    dropped: list[float] = []
    claims: list[float] = []
    kinds: list[float] = []

    async def ask(case: RoleCase) -> None:
        new, n_dropped, _ = await induce(run.caller, case.persona, case.state, f"prompts/inducer/{case.number}")
        truth = {plain(s.item.clause): s.item.kind for s in case.shown}
        matched = [_match(plain(claim.item), truth) for claim in new]
        right.append(float(sum(m is not None for m in matched)))
        kept.append(float(len(new)))
        found.append(float(len({m for m in matched if m is not None})))
        true.append(float(len(truth)))
        dropped.append(float(n_dropped))
        claims.append(float(n_dropped + len(new)))
        kinds.extend(float(truth[m] == c.kind) for m, c in zip(matched, new, strict=True) if m is not None)
        run.tick()

    await asyncio.gather(*map(ask, run.cases))
    return [
        RoleFigure("precision of kept claims", ratio_interval(right, kept), ">= 0.8"),
        RoleFigure("recall", ratio_interval(found, true)),
        RoleFigure("claims without evidence", ratio_interval(dropped, claims)),
        RoleFigure("kind right", share_interval(kinds)),
    ]


def _match(claim: str, truth: Iterable[str]) -> str | None:
    """The part of the truth that a claim says, None where it is not true yet."""
    return next((clause for clause in truth if claim and (claim in clause or clause in claim)), None)


async def _try_tailored(run: RoleRun) -> list[RoleFigure]:
    used: list[float] = []
    named: list[float] = []
    false: list[float] = []
    suits: list[float] = []
    total: list[float] = []

    async def ask(case: RoleCase) -> None:
        state = case.state.with_revealed(as_disclosures(case.shown, case.state.node_id))
        text, _ = await tailored_reply(run.caller, state, f"prompts/tailored/{case.number}")
        known = read_known(case.latent, case.state.messages)
        if text is not None:
            seen, truth = weigh(known, text), assess_reply(case.latent, case.state.messages, text)
            if truth.n_relevant:
                used.append(float(truth.n_used > 0))
                named.append(float(bool(seen.used or seen.recited)))
            false.append(float(seen.n_false > 0))
            suits.append(float(truth.n_style_match))
            total.append(float(truth.n_style_match + truth.n_style_mismatch))
        run.tick()

    await asyncio.gather(*map(ask, run.cases))
    return [
        RoleFigure("names a fact that matters", share_interval(named)),
        RoleFigure("ties it to its advice", share_interval(used)),
        RoleFigure("says what is not true", share_interval(false)),
        RoleFigure("style markers that suit", ratio_interval(suits, total)),
    ]


async def _try_generic(run: RoleRun) -> list[RoleFigure]:
    knows: list[float] = []
    echoes: list[float] = []

    async def ask(case: RoleCase) -> None:
        opening = PathState(f"generic-{case.number}").with_user(f"g{case.number}", case.said[0])
        text, _ = await generic_reply(run.caller, opening, f"prompts/generic/{case.number}")
        if text is not None:
            seen = weigh(read_known(case.latent, opening.messages), text)
            knows.append(float(bool(seen.premature)))
            said = set(plain(case.said[0]).split())
            echoes.append(float(len(said & set(plain(text).split())) > 0.8 * len(said)))
        run.tick()

    await asyncio.gather(*map(ask, run.cases))
    return [
        RoleFigure("says the user's words back", share_interval(echoes), "<= 0.05"),
        RoleFigure("knows what was not said", share_interval(knows), "<= 0.05"),
    ]


async def _try_judge(run: RoleRun) -> list[RoleFigure]:
    items = known_items(len(run.cases), run.config.seed)
    scale = SCALES[run.config.bench.scale]
    answers = await check_judge(
        run.caller, items, config=run.config, scope="revealed", scale=scale, progress=lambda n, of: run.tick()
    )
    found = fitness(answers)
    return [
        RoleFigure("same verdict in both orders", found.consistency, ">= 0.9"),
        RoleFigure("won by the first shown", found.position, "0.5"),
        RoleFigure("better reply wins, both orders", found.sensitivity, ">= 0.7"),
        RoleFigure("better reply scores higher", found.score_sensitivity, ">= 0.8"),
        RoleFigure("ties and unreadable", found.abstention),
    ]


async def _try_writer(run: RoleRun) -> list[RoleFigure]:
    kinds: tuple[Kind, ...] = ("profile", "personality")
    accepted: list[float] = []
    wanted: list[float] = []
    options = run.config.personas

    async def ask(number: int) -> None:
        kind = kinds[number % 2]
        words = options.profile_words if kind == "profile" else options.personality_words
        shown = [getattr(case.persona, kind) for case in run.cases[:3]]
        texts, _ = await run.caller.ask(
            WRITER, f"prompts/writer/{number}", examples=shown, kind=kind, n=N_WRITTEN, words=words, population=""
        )
        good = {t for t in texts or () if not check_description(t, kind, Limits.around(words)) and t not in shown}
        accepted.append(float(min(N_WRITTEN, len(good))))
        wanted.append(float(N_WRITTEN))

    await asyncio.gather(*map(ask, range(4)))
    for _ in run.cases:
        run.tick()
    return [RoleFigure("usable descriptions", ratio_interval(accepted, wanted), ">= 0.5")]
