"""A conversation of the benchmark as it grows: the user speaks, somebody answers, the judge scores (paper section 4).

Who answers is not known here: the benchmark asks a model, ``aloe.UserSimulator`` whoever steps through it. Both go
through the same calls, named by the content of the conversation so far, so that equal replies have equal scores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from aloe.bench.gain import Extras
from aloe.bench.scales import EMPTY_REPLY, SCALES, Scale
from aloe.bench.scoring import score_reply
from aloe.config import Config, Panel
from aloe.dialogue.casting import Casting
from aloe.dialogue.judge import Candidate
from aloe.dialogue.state import PathState, content_id, make_tree_id
from aloe.dialogue.user import Steering, next_user_message
from aloe.models.caller import Caller
from aloe.types import (
    ActorRole,
    BenchScore,
    ConversationTree,
    Generation,
    Judgement,
    Message,
    Node,
    NodeError,
    Persona,
)
from aloe.world.dialects.mood import has_walked_out

ScoreOutcome = Literal["scored", "unparsed", "failed", "empty", "left"]
WALKED_OUT = "the user had no patience left and walked out"
NO_MESSAGE = "no usable message, also when asked again"  # an answer, although one of no use


@dataclass(slots=True)
class SimulatedConversation:
    """One conversation as it grows. ``judgements`` may be one shorter than the replies if the judge failed."""

    persona: Persona
    sample: int
    tree_id: str
    state: PathState  # up to the last reply that was judged, and the user's message after it
    nodes: list[Node] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    others: list[dict[str, float | None]] = field(default_factory=list)
    session_turns: int = 0  # turns of each session; 0: there is only one
    error: NodeError | None = None
    left: tuple[float, ...] = ()  # scores of the turns that the model left without a reply; none where it went on

    def end(self, role: ActorRole, error: str) -> None:
        """Nothing follows, for the given reason."""
        turn = max(self.state.turn + (role == "user"), 1)
        self.error = NodeError(node_id=self.state.node_id, turn=turn, role=role, error=error[:500])

    @property
    def is_broken(self) -> bool:
        """Whether a failed call ended it."""
        return self.error is not None and not self.left

    @property
    def failure(self) -> str | None:
        """The failed call that ended it, if one did; an answer of no use is none."""
        known = (NO_MESSAGE, EMPTY_REPLY, WALKED_OUT)
        return self.error.error if self.error is not None and self.error.error not in known else None

    @property
    def is_left_by_user(self) -> bool:
        """Whether the user walked out of it."""
        return self.error is not None and self.error.error == WALKED_OUT

    @property
    def messages(self) -> list[Message]:
        """What was said; an empty reply at the end where the model gave none."""
        said = [node.message for node in self.nodes]
        if self.left and not self.is_left_by_user:
            said.append(Message.model_construct(role="assistant", content=""))
        return said

    @property
    def scores(self) -> list[float | None]:
        """Of the turns that were judged (None where the judge's answer could not be read) or left without a reply."""
        return [*(judgement.score for judgement in self.judgements), *self.left]

    def as_tree(self, seed: int) -> ConversationTree:
        return ConversationTree.model_construct(
            schema_version=1,
            tree_id=self.tree_id,
            persona_id=self.persona.persona_id,
            seed=seed,
            nodes=tuple(
                node.model_copy(update={"continued": i + 1 < len(self.nodes)}) for i, node in enumerate(self.nodes)
            ),
            errors=(self.error,) if self.error is not None else (),
            timeline=self.persona.timeline,
            session_turns=self.session_turns,
        )

    def as_scores(self, n_turns: int) -> Iterator[BenchScore]:
        """A row for each of ``n_turns`` turns."""
        replies, scores = self.nodes[1::2], self.scores
        for turn in range(1, n_turns + 1):
            judgement = self.judgements[turn - 1] if turn <= len(self.judgements) else None
            score = scores[turn - 1] if turn <= len(scores) else None
            yield BenchScore.model_construct(
                tree_id=self.tree_id,
                persona_id=self.persona.persona_id,
                profile_id=self.persona.profile_id,
                personality_id=self.persona.personality_id,
                sample=self.sample,
                turn=turn,
                node_id=replies[turn - 1].node_id if turn <= len(replies) else "",
                score=score,
                outcome=_outcome(judgement, score, self.is_left_by_user),
                parts=judgement.parts if judgement else {},
                others=self.others[turn - 1] if turn <= len(self.others) else {},
                reason=judgement.reason if judgement else "",
                raw=judgement.raw if judgement else "",
                generation=judgement.generation if judgement else None,
            )


def _outcome(judgement: Judgement | None, score: float | None, is_left: bool) -> ScoreOutcome:
    if judgement is None:
        return "failed" if score is None else "left" if is_left else "empty"
    return "unparsed" if score is None else "scored"


@dataclass(frozen=True, slots=True)
class Partner:
    """User and judge of a benchmark, who are the same whoever answers.

    Attributes:
        n_turns: of a conversation, in all its sessions together.
    """

    caller: Caller
    n_turns: int
    n_sessions: int
    scope: str
    scale: Scale
    extras: Extras
    cards: int
    seed: int
    panel: Panel
    casting: Casting

    @classmethod
    def of(cls, caller: Caller, config: Config, extras: Extras) -> Partner:
        """As the options of ``[bench]`` say."""
        options = config.bench
        return cls(
            caller,
            options.n_turns * options.sessions,
            options.sessions,
            options.scope,
            SCALES[options.scale],
            extras,
            options.cards,
            config.seed,
            options.panel,
            Casting(config.roles.user, config.seed),
        )

    def begin(self, persona: Persona, sample: int) -> SimulatedConversation:
        """A conversation in which nothing was said yet."""
        tree_id = make_tree_id(persona, sample, "bench")
        each = self.n_turns // self.n_sessions
        talk = SimulatedConversation(persona, sample, tree_id, PathState(tree_id))
        talk.session_turns = each if self.n_sessions > 1 else 0
        return talk

    def is_over(self, talk: SimulatedConversation) -> bool:
        """Whether the user says nothing more."""
        return talk.error is not None or len(talk.judgements) >= self.n_turns

    async def speak(self, talk: SimulatedConversation) -> bool:
        """The user's next message; False where there is none, which ends the conversation.

        Raises:
            EndpointError: the call failed for good.
        """
        number = len(talk.judgements)
        if number and talk.session_turns and number % talk.session_turns == 0 and not talk.state.opens_session:
            talk.state = talk.state.with_session()
        state = talk.state
        path = f"bench/{talk.persona.persona_id}/{talk.sample}/{state.node_id}"
        steering = Steering(
            cards=self.cards, seed=self.seed, tree_id=talk.tree_id, model=self.casting.user_of(talk.tree_id)
        )
        persona = talk.persona.as_of(state.turn + 1)
        text, reply = await next_user_message(self.caller, persona, state, path, steering)
        if text is None:
            talk.end("user", NO_MESSAGE)
            return False
        after = state.with_user(content_id(state.node_id, "user", text), text)
        talk.nodes.append(_node(after, talk.nodes[-1].node_id if talk.nodes else None, "user", reply.generation))
        talk.state = after
        if has_walked_out(text):
            self.leave(talk, "user", WALKED_OUT)
            return False
        return True

    async def hear(
        self, talk: SimulatedConversation, text: str, generation: Generation | None = None
    ) -> Judgement | None:
        """Take a reply to the user's last message and have it judged; None where it is empty, which ends it all.

        Raises:
            EndpointError: the judge's call failed for good.
        """
        if not text:
            self.leave(talk, "responder", EMPTY_REPLY)
            return None
        state = talk.state
        answered = state.with_reply(content_id(state.node_id, "assistant", text), text)
        if len(talk.nodes) % 2 == 0:  # a reply on which the judge failed: it is given again, or another one
            talk.nodes.pop()
        talk.nodes.append(_node(answered, state.node_id, "responder", generation))
        judgement, others = await self._judge(talk, state)
        talk.judgements.append(judgement)
        talk.others.append(others)
        talk.state = answered
        return judgement

    async def _judge(self, talk: SimulatedConversation, state: PathState) -> tuple[Judgement, dict[str, float | None]]:
        """The judgement, and the scores of the same reply as the extras want it judged, side by side."""
        last = talk.nodes[-1]
        candidate = Candidate(last.node_id, last.message.content)
        now = talk.persona.as_of(state.turn)
        asked = {"": (now, self.scope), **self.extras.judged_as(now, self.scope)}
        answers = await asyncio.gather(
            *(
                score_reply(self.caller, persona, state, candidate, scope, self.scale, panel=self.panel)
                for persona, scope in asked.values()
            ),
            return_exceptions=True,
        )
        judgements = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            judgements.append(answer)
        named = dict(zip(asked, judgements, strict=True))
        return named.pop(""), {name: judgement.score for name, judgement in named.items()}

    def leave(self, talk: SimulatedConversation, role: ActorRole, why: str) -> None:
        """The model has nothing to say, or has driven its user away: what is left of the conversation is as bad as a
        reply can be, for anybody."""
        turns = self.n_turns - len(talk.judgements)
        talk.left = (self.scale.low,) * turns
        talk.others += [dict.fromkeys(self.extras.judged_as(talk.persona, self.scope), self.scale.low)] * turns
        talk.end(role, why)


def _node(after: PathState, parent: str | None, kind: Literal["user", "responder"], made: Generation | None) -> Node:
    return Node.model_construct(
        node_id=after.node_id,
        parent_id=parent,
        turn=after.turn,
        message=after.messages[-1],
        continued=False,
        kind=kind,
        generation=made,
    )
