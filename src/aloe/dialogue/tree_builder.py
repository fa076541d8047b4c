"""Grows one preference tree by collaboration of several models (paper section 3.2).

Per turn: the user speaks, the inducer says what was revealed, candidate replies are written side by side, the
judge labels them, and the policy picks the replies from which the conversation goes on. One failed call ends
its branch, not its tree. All ids and random choices come from content and seed, so results do not depend on
concurrency; between the turns of one tree there is a barrier, between trees there is none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Literal

from aloe.config import ModelConfig, Panel
from aloe.dialogue.casting import Casting
from aloe.dialogue.inducer import induce, still_true
from aloe.dialogue.judge import Candidate, Pick, compare, label_from_scores, score_all
from aloe.dialogue.responder import generic_reply, plain_reply, tailored_reply
from aloe.dialogue.state import PathState, content_id, make_tree_id
from aloe.dialogue.user import Steering, next_user_message, says_goodbye
from aloe.errors import EndpointError
from aloe.models.caller import Caller
from aloe.models.calls import Reply
from aloe.seeding import derive_seed
from aloe.types import (
    ActorRole,
    ConversationTree,
    Disclosure,
    Generation,
    Label,
    Message,
    Node,
    NodeError,
    Persona,
)
from aloe.world.timeline import ChangeScope, with_timeline

NodeKind = Literal["user", "tailored", "generic", "responder"]


@dataclass(frozen=True, slots=True)
class TreePlan:
    """How trees grow.

    Attributes:
        policy: ``path`` (one reply continues), ``both:D`` (all replies continue in the first D turns),
            ``chance:P,Q,...`` (each other reply of turn 1, 2, ... continues too with that probability, later ones
            never), or ``budget:N`` (about N nodes per tree, spent where the judge was least sure and most was
            disclosed).
        p_preferred: probability that the preferred reply continues on a path (paper: 0.5, a coin).
        n_tailored, n_generic: candidates of each kind per turn. More than two replies are labelled by scores: best
            against worst.
        release: facts per turn that the user may reveal before it is told to hold back; 0 = no budget.
        cards: new facts a turn that the user is dealt with its goal; 0 = it is told the whole persona.
        tasks: kinds of conversation, one drawn per tree; none: the user talks of what it likes.
        end_on_goodbye: a branch ends when the user takes its leave.
        responder: where given, ``n_candidates`` replies are drawn from it instead of one tailored and one
            generic reply, and the inducer is not needed (the on-policy pass).
        sessions: the user comes back so often, for ``n_turns`` each; replies are given all sessions.
        drift: changes of facts and traits on the way, of a persona without a timeline of its own. changes: what they
            are drawn from; None: the whole world.
        pick: with score labels, chooses (chosen, rejected) indices from (text, score) candidates; None = best
            against worst.
        panel: how several judges judge together (``panel.py``).
    """

    n_turns: int
    policy: str = "path"
    p_preferred: float = 0.5
    orders: int = 1
    scope: str = "persona"
    label: Literal["compare", "score"] = "compare"
    min_margin: float = 0.0
    labeler: str = "judge"
    purpose: str = "tree"
    n_tailored: int = 1
    n_generic: int = 1
    release: int = 0
    cards: int = 0
    tasks: tuple[str, ...] = ()
    end_on_goodbye: bool = True
    responder: ModelConfig | None = None
    n_candidates: int = 2
    pick: Pick | None = None
    panel: Panel = "pick"
    sessions: int = 1
    drift: int = 0
    changes: ChangeScope | None = None

    @property
    def all_turns(self) -> int:
        """Of all sessions together."""
        return self.n_turns * self.sessions


@dataclass(slots=True)
class GrownTree:
    """A finished tree with what belongs beside it."""

    tree: ConversationTree
    disclosures: list[Disclosure] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    n_unevidenced: int = 0
    n_unread: int = 0
    n_goodbyes: int = 0
    failures: list[str] = field(default_factory=list)  # calls that brought no answer at all


@dataclass(frozen=True, slots=True)
class _Draft:
    """A node before it is known whether the conversation continues from it."""

    node_id: str
    parent_id: str | None
    turn: int
    kind: NodeKind
    text: str
    generation: Generation


@dataclass(frozen=True, slots=True)
class _Expanded:
    """One path after one turn: the candidates and how much they invite going on."""

    state: PathState
    candidates: tuple[Candidate, ...]
    label: Label | None
    interest: float
    is_over: bool = False  # the user has taken its leave


def _place(path: str, index: int) -> str:
    """The place of a role's further candidates: another seed, and another model where the role has several."""
    return f"{path}/{index}" if index else path


class TreeBuilder:
    """Grows trees under one plan. Holds no state between trees."""

    def __init__(self, caller: Caller, plan: TreePlan, seed: int) -> None:
        self.caller = caller
        self.plan = plan
        self.seed = seed
        self.casting = Casting(caller.models.get("user", ()), seed)

    async def grow(self, persona: Persona, replicate: int = 0) -> GrownTree:
        """One tree. Failed branches are listed in its ``errors``.

        Raises:
            BudgetExceeded: the run's budget would be passed. ConfigError: an endpoint is not usable at all.
        """
        plan = self.plan
        tree_id = make_tree_id(persona, replicate, plan.purpose)
        persona = with_timeline(persona, plan.drift, plan.n_turns, plan.sessions, self.seed, plan.changes)
        growth = _Growth(self, persona, tree_id)
        frontier = [PathState(node_id=tree_id)]
        for _ in range(plan.all_turns):
            if len(frontier) == 1:
                expanded = [await growth.expand(frontier[0])]
            else:
                expanded = list(await asyncio.gather(*map(growth.expand, frontier)))
            frontier = growth.choose([e for e in expanded if e is not None])
            if not frontier:
                break
        return growth.finish(replicate)


class _Growth:
    """One tree while it grows."""

    def __init__(self, builder: TreeBuilder, persona: Persona, tree_id: str) -> None:
        self.builder = builder
        self.plan = builder.plan
        self.persona = persona
        self.tree_id = tree_id
        tasks = builder.plan.tasks
        self.task = tasks[derive_seed(builder.seed, "task", tree_id) % len(tasks)] if tasks else ""
        cast = builder.casting.user_of(tree_id)
        self.steering = Steering(self.plan.release, self.task, self.plan.cards, builder.seed, tree_id, cast)
        self.drafts: list[_Draft] = []
        self.continued: set[str] = set()
        self.errors: list[NodeError] = []
        self.result = GrownTree(tree=None)  # type: ignore[arg-type]

    async def expand(self, state: PathState) -> _Expanded | None:
        """One turn after ``state``: user, inducer, candidates, label. None where the branch ends."""
        caller = self.builder.caller
        persona = self.persona.as_of(state.turn + 1)
        try:
            asked = self._at_session(state)
            text, reply = await next_user_message(caller, persona, asked, state.node_id, self.steering)
        except EndpointError as error:
            self._fail(state, "user", error)
            return None
        if text is None:
            self._fail(state, "user", f"unusable message, twice: {reply.text[:120]!r}")
            return None
        parent = None if state.turn == 0 else state.node_id
        user_id = content_id(self.tree_id, state.node_id, "user", text)
        self.drafts.append(_Draft(user_id, parent, state.turn + 1, "user", text, reply.generation))
        state = state.with_user(user_id, text)
        n_new = 0
        if self.plan.responder is None:
            try:
                new, dropped, was_read = await induce(caller, persona, state, user_id)
            except EndpointError as error:
                self._fail(state, "inducer", error)
                return None
            self.result.n_unevidenced += dropped
            self.result.n_unread += not was_read
            self.result.disclosures.extend(new)
            state = state.with_revealed(new)
            n_new = len(new)
        candidates = await self._candidates(state)
        if not candidates:
            return None
        label = await self._label(state, candidates) if len(candidates) > 1 else None
        margin = label.margin if label is not None and label.margin is not None else 0.0
        is_over = self.plan.end_on_goodbye and self.plan.sessions == 1 and says_goodbye(text)
        self.result.n_goodbyes += is_over
        return _Expanded(state, tuple(candidates), label, n_new - margin, is_over)

    def _at_session(self, state: PathState) -> PathState:
        """The path as the user sees it: at the beginning of a session after the first, marked as that."""
        number, done = divmod(state.turn, self.plan.n_turns)
        return replace(state, session=number + 1, began=len(state.messages)) if number and not done else state

    async def _candidates(self, state: PathState) -> list[Candidate]:
        state = replace(state, revealed=still_true(state, self.persona)) if self.persona.timeline else state
        caller, path = self.builder.caller, state.node_id
        kinds: list[NodeKind]
        if self.plan.responder is None:
            kinds = [*["tailored"] * self.plan.n_tailored, *["generic"] * self.plan.n_generic]  # type: ignore[list-item]
            calls = [tailored_reply(caller, state, _place(path, i)) for i in range(self.plan.n_tailored)]
            calls += [generic_reply(caller, state, _place(path, i)) for i in range(self.plan.n_generic)]
        else:
            model = self.plan.responder
            kinds = ["responder"] * self.plan.n_candidates
            calls = [plain_reply(caller, state, path, model, i) for i in range(self.plan.n_candidates)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        found: list[Candidate] = []
        for index, (kind, answer) in enumerate(zip(kinds, answers, strict=True)):
            if isinstance(answer, EndpointError):
                self._fail(state, kind, answer)  # type: ignore[arg-type]
                continue
            if isinstance(answer, BaseException):
                raise answer
            text, reply = answer
            if text is None:
                self._fail(state, kind, "empty reply, twice")  # type: ignore[arg-type]
                continue
            found.append(self._add_reply(state, kind, index, text, reply))
        return found

    def _add_reply(self, state: PathState, kind: NodeKind, index: int, text: str, reply: Reply) -> Candidate:
        node_id = content_id(self.tree_id, state.node_id, kind, str(index), text)
        self.drafts.append(_Draft(node_id, state.node_id, state.turn, kind, text, reply.generation))
        return Candidate(node_id, text)

    async def _label(self, state: PathState, candidates: list[Candidate]) -> Label | None:
        plan = self.plan
        try:
            if plan.label == "score" or len(candidates) > 2:
                label = await self._label_by_scores(state, candidates)
            else:
                label = await compare(
                    self.builder.caller, self.persona.as_of(state.turn), state, (candidates[0], candidates[1]),
                    tree_id=self.tree_id, seed=self.builder.seed, orders=plan.orders, scope=plan.scope,
                    labeler=plan.labeler, panel=plan.panel,
                )  # fmt: skip
        except EndpointError as error:
            self._fail(state, "judge", error)
            return None
        self.result.labels.append(label)
        return label

    async def _label_by_scores(self, state: PathState, candidates: list[Candidate]) -> Label:
        plan = self.plan
        persona = self.persona.as_of(state.turn)
        judgements = await score_all(self.builder.caller, persona, state, candidates, plan.scope, plan.panel)
        return label_from_scores(self.tree_id, candidates, judgements, plan.labeler, plan.min_margin, plan.pick)

    def choose(self, expanded: list[_Expanded]) -> list[PathState]:
        """The paths from which the conversation goes on, by policy."""
        expanded = [item for item in expanded if not item.is_over]
        kind, _, number = self.plan.policy.partition(":")
        chosen: list[PathState] = []
        if kind == "budget":
            return self._choose_budget(expanded, int(number))
        for item in expanded:
            if kind == "both" and item.state.turn <= int(number):
                picks = list(item.candidates)
            else:
                picks = [self._one(item)]
                if kind == "chance":
                    picks += self._by_chance(item, number, picks[0])
            chosen.extend(self._go_on(item, pick) for pick in picks)
        return chosen

    def _by_chance(self, item: _Expanded, chances: str, first: Candidate) -> list[Candidate]:
        """The other replies that continue too, each by a draw of its own."""
        values = [float(p) for p in chances.split(",")]
        chance = values[item.state.turn - 1] if item.state.turn <= len(values) else 0.0
        return [
            c
            for c in item.candidates
            if c is not first and derive_seed(self.builder.seed, "branch", c.node_id) / 2**31 < chance
        ]

    def _choose_budget(self, expanded: list[_Expanded], limit: int) -> list[PathState]:
        """Every path continues once; the rest of the budget goes to the most informative branches, ties by node id."""
        chosen = [self._go_on(item, self._one(item)) for item in expanded]
        per_path = 1 + max((len(item.candidates) for item in expanded), default=2)
        left = self.plan.all_turns - expanded[0].state.turn if expanded else 0
        if left <= 0:
            return chosen
        spare = limit - len(self.drafts) - len(chosen) * per_path * left
        for item in sorted(expanded, key=lambda e: (-e.interest, e.state.node_id)):
            for candidate in item.candidates:
                if spare < per_path * left:
                    return chosen
                if candidate.node_id not in self.continued:
                    chosen.append(self._go_on(item, candidate))
                    spare -= per_path * left
        return chosen

    def _one(self, item: _Expanded) -> Candidate:
        coin = derive_seed(self.builder.seed, "continue", item.state.node_id)
        label = item.label
        if len(item.candidates) == 1:
            return item.candidates[0]
        if label is None or label.chosen is None:
            return item.candidates[coin % len(item.candidates)]
        scores = {j.node_ids[0]: j.score for j in label.judgements if len(j.node_ids) == 1 and j.score is not None}
        best, other = label.chosen, label.rejected
        if scores:
            other = min(scores, key=lambda node_id: (scores[node_id], node_id))
        wanted = best if coin / 2**31 < self.plan.p_preferred else other
        return next(c for c in item.candidates if c.node_id == wanted)

    def _go_on(self, item: _Expanded, pick: Candidate) -> PathState:
        self.continued.add(pick.node_id)
        return item.state.with_reply(pick.node_id, pick.text)

    def _fail(self, state: PathState, role: ActorRole, error: EndpointError | str) -> None:
        """Note what ended the branch: a call that failed, or an unusable answer (as text)."""
        if isinstance(error, EndpointError):
            self.result.failures.append(str(error))
        said = str(error)[:500]
        self.errors.append(NodeError(node_id=state.node_id, turn=max(state.turn, 1), role=role, error=said))

    def finish(self, replicate: int) -> GrownTree:
        """The immutable tree: parents first, siblings in the order of their ids."""
        parents = {d.parent_id for d in self.drafts}
        drafts = sorted(self.drafts, key=lambda d: (d.turn, d.kind != "user", d.parent_id or "", d.node_id))
        nodes = tuple(
            Node.model_construct(
                node_id=d.node_id,
                parent_id=d.parent_id,
                turn=d.turn,
                message=Message.model_construct(role="user" if d.kind == "user" else "assistant", content=d.text),
                continued=d.node_id in parents,
                kind=d.kind,
                generation=d.generation,
            )
            for d in drafts
        )
        order = {d.node_id: i for i, d in enumerate(drafts)}
        self.result.tree = ConversationTree.model_construct(
            schema_version=1,
            tree_id=self.tree_id,
            persona_id=self.persona.persona_id,
            seed=self.builder.seed,
            nodes=nodes,
            errors=tuple(sorted(self.errors, key=lambda e: (e.turn, e.node_id, e.role, e.error))),
            task=self.task,
            timeline=self.persona.timeline,
            session_turns=self.plan.n_turns if self.plan.sessions > 1 else 0,
        )
        self.result.disclosures.sort(key=lambda d: (order[d.node_id], d.item))
        self.result.labels.sort(key=lambda x: (min(order[i] for i in x.node_ids), x.node_ids))
        return self.result
