"""Conversations under the policy, all turn by turn side by side, with siblings and their rewards.

Credit ``turn``: at every turn ``n`` replies are drawn, and each is credited with its own reward. Credit ``return``: at
turns drawn beforehand ("forks") all ``n`` replies are continued, with one reply a turn, and each is credited with the
rewards of the first ``horizon`` turns of its continuation.

What keeps the credit unbiased, also where users leave: the reply from which the conversation goes on is the first one
drawn, whatever its reward; forks are drawn from all turns that a conversation may have, not from those that it had; a
conversation that has ended earns nothing more; and where a call failed, nothing is credited that it would have changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aloe.config import Panel
from aloe.dialogue.judge import Candidate
from aloe.dialogue.state import PathState, content_id
from aloe.errors import EndpointError, ParseError
from aloe.models.caller import Caller
from aloe.prompts.catalog import RESPONDER
from aloe.rl.rewards import Moment, Reward, Rewards
from aloe.rl.sampler import Draw, Draws, Sampler, Wanted
from aloe.training.reinforce.advantages import discounted
from aloe.types import Persona


@dataclass(frozen=True, slots=True)
class Episode:
    """A conversation to be had.

    Attributes:
        number: in its iteration. tree_id: names it, all random choices in it included.
        forks: turns whose replies are all continued.
        others: personas that the user might be just as well.
    """

    number: int
    persona: Persona
    tree_id: str
    forks: frozenset[int] = frozenset()
    others: tuple[Persona, ...] = ()


@dataclass(frozen=True, slots=True)
class UserTurn:
    """A user's message. ``is_last``: it takes its leave; the reply to it is the last one."""

    text: str
    is_last: bool = False


class User(Protocol):
    """Whoever plays the user."""

    async def say(self, talk: Episode, state: PathState) -> UserTurn | None:
        """The next message after ``state``; None: it leaves without a word.

        Raises:
            EndpointError: it could not be asked, or gave nothing of use.
        """


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """How conversations are had.

    Attributes:
        credit: ``turn``, ``return``, or ``none``: one reply a turn.
        siblings: replies to a message that has siblings. horizon: turns that a return counts; 0 = all.
        all_terms: tell all rewards, not only those that are trained on.
        continuations: credit ``return``: the replies that continue siblings are credited with their returns too.
    """

    n_turns: int
    credit: str = "turn"
    siblings: int = 4
    horizon: int = 0
    discount: float = 1.0
    temperature: float = 1.0
    all_terms: bool = False
    continuations: bool = False
    panel: Panel = "pick"


@dataclass(slots=True)
class DrawnReply:
    """A reply with its rewards.

    Attributes:
        reward: the weighted sum; None: unscored. value: what it is credited with; None: unknown.
    """

    node_id: str
    draw: Draw
    text: str  # empty: nothing that could be sent
    terms: dict[str, float | None] = field(default_factory=dict)
    reward: float | None = None
    value: float | None = None
    after: UserTurn | None = None
    has_after: bool = False  # the user was asked for its next message


@dataclass(slots=True)
class Siblings:
    """The replies to one message. ``continues``: the turn of the fork that its only reply follows; 0: none."""

    talk: Episode
    state: PathState
    prompt: list[int]
    replies: list[DrawnReply]
    continues: int = 0

    @property
    def turn(self) -> int:
        return self.state.turn


@dataclass(slots=True)
class _Credit:
    """The rewards that a reply's return is made of, from its own on; None: not known."""

    reply: DrawnReply
    rewards: list[float | None] = field(default_factory=list)


@dataclass(slots=True)
class _Branch:
    talk: Episode
    state: PathState
    is_trunk: bool = True
    fork: int = 0  # turn of the last one before
    credits: list[_Credit] = field(default_factory=list)
    said: UserTurn | None = None
    has_said: bool = False


class Rollout:
    """Conversations of one iteration or evaluation.

    Attributes:
        n_failed: branches that a failed call ended. n_unscored: replies without a reward. n_tokens: generated.
        failed: what first failed in each conversation in which a call did, by the conversation's number.
    """

    def __init__(
        self, user: User, sampler: Sampler, rewards: Rewards, plan: RolloutPlan, caller: Caller | None = None
    ) -> None:
        self._user, self._sampler, self._rewards = user, sampler, rewards
        self._plan, self._caller = plan, caller
        self._terms = rewards.terms if plan.all_terms else rewards.trained
        self._looks_ahead = any(term.looks_ahead for term in self._terms)
        self._done: list[Siblings] = []
        self.failed: dict[int, str] = {}
        self.n_failed = self.n_unscored = self.n_tokens = self.n_cut = self.n_too_long = 0

    async def run(self, talks: Sequence[Episode]) -> list[Siblings]:
        """Have the conversations.

        Returns:
            All messages that were answered with their replies, turn by turn.
        """
        branches = [_Branch(talk, PathState(talk.tree_id)) for talk in talks]
        for _ in range(self._plan.n_turns):
            branches = await self._turn(branches)
            if not branches:
                break
        for branch in branches:
            self._close(branch.credits)
        return self._done

    async def _turn(self, branches: list[_Branch]) -> list[_Branch]:
        await asyncio.gather(*(self._hear(branch) for branch in branches))
        going = []
        for branch in branches:
            if branch.said is None:
                self._close(branch.credits)
                continue
            user_id = content_id(branch.talk.tree_id, branch.state.node_id, "user", branch.said.text)
            branch.state = branch.state.with_user(user_id, branch.said.text)
            going.append(branch)
        counts = [self._n_replies(branch) for branch in going]
        wanted = [Wanted(self._messages(b.state), n, b.state.node_id) for b, n in zip(going, counts, strict=True)]
        drawn = await self._sampler.sample(wanted, self._plan.temperature) if wanted else []
        for branch, draws in zip(going, drawn, strict=True):
            if draws.error is not None:
                self._fail(branch, draws.error)
                self._forget_returns(branch)
        kept = [(b, draws) for b, draws in zip(going, drawn, strict=True) if draws.error is None]
        going = [branch for branch, _ in kept]
        groups = [self._siblings(branch, draws) for branch, draws in kept]
        await asyncio.gather(*(self._reward(b, g, r) for b, g in zip(going, groups, strict=True) for r in g.replies))
        return [new for branch, group in zip(going, groups, strict=True) for new in self._go_on(branch, group)]

    async def _hear(self, branch: _Branch) -> None:
        """The user's next message of a branch, unless it is known already."""
        if branch.has_said:
            return
        try:
            branch.said = await self._user.say(branch.talk, branch.state)
        except EndpointError as error:
            self._fail(branch, error)
            self._forget_returns(branch)

    @staticmethod
    def _forget_returns(branch: _Branch) -> None:
        """The returns that would have gone on are not known."""
        for credit in branch.credits:
            credit.rewards.append(None)

    def _fail(self, branch: _Branch, error: EndpointError) -> None:
        self.n_failed += 1
        self.failed.setdefault(branch.talk.number, str(error))

    def _n_replies(self, branch: _Branch) -> int:
        if self._plan.credit == "none":
            return 1
        is_fork = self._plan.credit == "turn" or (branch.is_trunk and branch.state.turn in branch.talk.forks)
        return self._plan.siblings if is_fork else 1

    def _messages(self, state: PathState) -> list[dict[str, str]]:
        if self._caller is None:
            return [{"role": m.role, "content": m.content} for m in state.messages]
        rendered = self._caller.prompts.render(RESPONDER.name, state.history)
        return [{"role": m.role, "content": m.content} for m in rendered]

    def _siblings(self, branch: _Branch, draws: Draws) -> Siblings:
        state, found = branch.state, []
        self.n_too_long += not draws.replies
        for index, draw in enumerate(draws.replies):
            self.n_tokens += len(draw.ids)
            self.n_cut += draw.is_cut
            try:
                text = RESPONDER.read(draw.text, state.history)
            except ParseError:
                text = ""
            node_id = content_id(branch.talk.tree_id, state.node_id, "responder", str(index), draw.text)
            found.append(DrawnReply(node_id, draw, text))
        group = Siblings(branch.talk, state, draws.prompt, found)
        if found:
            self._done.append(group)
        return group

    async def _reward(self, branch: _Branch, group: Siblings, reply: DrawnReply) -> None:
        """The reply's rewards; those of an empty one are the worst there are."""
        if not reply.text:
            reply.terms = {term.name: term.worst for term in self._terms}
            reply.reward = self._rewards.total(reply.terms)
            return
        try:
            if self._looks_ahead and not self._is_over(branch):
                after = branch.state.with_reply(reply.node_id, reply.text)
                reply.after, reply.has_after = await self._user.say(branch.talk, after), True
            said = reply.after.text if reply.after is not None else None
            candidate = Candidate(reply.node_id, reply.text)
            moment = Moment(
                self._caller, branch.talk.persona, group.state, candidate, said, branch.talk.others, self._plan.panel
            )
            values = await asyncio.gather(*(_told(term, moment) for term in self._terms))
        except EndpointError as error:
            self._fail(branch, error)
            return
        reply.terms = dict(zip((term.name for term in self._terms), values, strict=True))
        reply.reward = self._rewards.total(reply.terms)
        self.n_unscored += reply.reward is None

    def _is_over(self, branch: _Branch) -> bool:
        """Whether nothing follows the reply."""
        return branch.state.turn >= self._plan.n_turns or (branch.said is not None and branch.said.is_last)

    def _go_on(self, branch: _Branch, group: Siblings) -> list[_Branch]:
        """The branches of the next turn."""
        if not group.replies:  # the context is full: the conversation ends here, as where the user leaves
            self._close(branch.credits)
            return []
        if self._plan.credit != "return":
            for reply in group.replies:
                reply.value = reply.reward
            return self._followed(branch, group.replies[0], [])
        for credit in branch.credits:  # the trunk and single replies: what they earn counts for those before
            credit.rewards.append(group.replies[0].reward)
        going = [c for c in branch.credits if not self._is_full(c)]
        self._close([c for c in branch.credits if self._is_full(c)])
        if len(group.replies) == 1:
            if self._plan.continuations and branch.fork:
                group.continues = branch.fork
                going.append(_Credit(group.replies[0], [group.replies[0].reward]))
            return self._followed(branch, group.replies[0], going)
        found = []
        for index, reply in enumerate(group.replies):
            own = _Credit(reply, [reply.reward])
            if self._is_full(own):
                self._close([own])
            kept = ([] if self._is_full(own) else [own]) + (going if index == 0 else [])
            found += self._followed(branch, reply, kept, is_trunk=branch.is_trunk and index == 0)
        return found

    def _followed(
        self, branch: _Branch, reply: DrawnReply, credits: list[_Credit], is_trunk: bool | None = None
    ) -> list[_Branch]:
        """The branch after ``reply``; none where the conversation is over or nothing more is to be learnt from it."""
        is_trunk = branch.is_trunk if is_trunk is None else is_trunk
        if not reply.text or self._is_over(branch) or not (is_trunk or credits):
            self._close(credits)
            return []
        state = branch.state.with_reply(reply.node_id, reply.text)
        fork = branch.state.turn if branch.state.turn in branch.talk.forks and branch.is_trunk else branch.fork
        return [_Branch(branch.talk, state, is_trunk, fork, credits, reply.after, reply.has_after)]

    def _is_full(self, credit: _Credit) -> bool:
        return bool(self._plan.horizon) and len(credit.rewards) >= self._plan.horizon

    def _close(self, credits: Sequence[_Credit]) -> None:
        """The returns of finished continuations."""
        for credit in credits:
            known = [r for r in credit.rewards if r is not None]
            if len(known) == len(credit.rewards):
                credit.reply.value = discounted(known, self._plan.discount)


def _told(term: Reward, moment: Moment) -> Awaitable[Any]:
    return term.score(moment)
