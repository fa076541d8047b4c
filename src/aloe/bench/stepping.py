"""A benchmark conversation step by step: somebody else replies, user and judge answer each reply.

The calls are those of the benchmark (``bench/conversation.py``): the same replies have the same scores there, and the
user says the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from aloe.bench.conversation import NO_MESSAGE, Partner, SimulatedConversation
from aloe.bench.gain import Extras
from aloe.config import Config
from aloe.errors import DataError
from aloe.models.caller import Caller
from aloe.types import Judgement, Message, Persona
from aloe.world.timeline import scope_of, with_timeline

Ended = Literal["", "turns", "empty", "left", "no message"]


class StepInfo(TypedDict):
    """What is known of a step beside message and reward."""

    persona_id: str
    turn: int  # of the reply, from 1
    session: int  # of the reply, from 1
    outcome: Literal["scored", "unparsed", "empty"]
    reason: str  # what the judge wrote
    parts: dict[str, float]  # of the score, where the judge gives any
    ended: Ended  # why the conversation is over; empty: it is not
    forfeited: list[float]  # the scores that the benchmark gives the turns that can't be had any more


@dataclass(frozen=True, slots=True)
class TakenStep:
    """What follows a reply.

    Attributes:
        message: the user's next message; empty where there is none.
        reward: the judge's score on the scale of ``bench.scale``; None: it could not be read.
    """

    message: str
    reward: float | None
    done: bool
    info: StepInfo


def partner_of(caller: Caller, config: Config) -> Partner:
    """User and judge as ``[bench]`` and ``[roles]`` say, for conversations that are stepped through."""
    return Partner.of(caller, config, Extras())


class SteppedConversation:
    """One conversation of a persona. ``reset`` begins it (again); ``step`` gives a reply."""

    def __init__(self, partner: Partner, config: Config, persona: Persona, sample: int = 0) -> None:
        options = config.bench
        scope = scope_of(config.roles.writer[0].uri, config.roles.user[0].uri)
        self.persona = with_timeline(persona, options.drift, options.n_turns, options.sessions, config.seed, scope)
        self.sample = sample
        self._partner = partner
        self._talk: SimulatedConversation | None = None
        self._owed: Judgement | None = None  # of a reply after which the user's call failed

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was said so far."""
        return () if self._talk is None else tuple(self._talk.messages)

    @property
    def scores(self) -> tuple[float | None, ...]:
        """The rewards so far; those of a conversation that ended early include the turns that it lacks."""
        return () if self._talk is None else tuple(self._talk.scores)

    @property
    def is_done(self) -> bool:
        return self._talk is not None and self._partner.is_over(self._talk)

    async def reset(self) -> str:
        """The user's first message.

        Raises:
            EndpointError: the call failed for good.
            DataError: the user gave no usable message.
        """
        self._talk, self._owed = None, None
        talk = self._partner.begin(self.persona, self.sample)
        if not await self._partner.speak(talk):
            raise DataError(f"the user of {self.persona.persona_id} gave {NO_MESSAGE}", "check the user's model")
        self._talk = talk
        return talk.nodes[-1].message.content

    async def step(self, reply: str) -> TakenStep:
        """Give a reply to the user's last message. An empty one ends the conversation with the lowest scores.

        Raises:
            EndpointError: a call failed for good; the same step can be taken again.
            DataError: the conversation has not begun, or is over.
        """
        talk = self._talk
        if talk is None or self.is_done:
            raise DataError(f"the conversation {'is over' if talk else 'has not begun'}", "call reset first")
        turn, session = talk.state.turn, talk.state.session
        judgement = self._owed
        if judgement is None:
            judgement = await self._partner.hear(talk, reply if reply.strip() else "")
        if judgement is None:
            return self._step("", None, turn, session, "empty")
        if self._partner.is_over(talk):
            return self._step("", judgement, turn, session, "turns")
        self._owed = judgement
        is_answered = await self._partner.speak(talk)
        self._owed = None
        message = talk.nodes[-1].message.content if len(talk.nodes) % 2 else ""
        ended: Ended = "" if is_answered else "left" if talk.is_left_by_user else "no message"
        return self._step(message, judgement, turn, session, ended)

    def _step(self, message: str, judgement: Judgement | None, turn: int, session: int, ended: Ended) -> TakenStep:
        assert self._talk is not None
        left = list(self._talk.left)
        reward = left.pop(0) if judgement is None else judgement.score
        info = StepInfo(
            persona_id=self.persona.persona_id,
            turn=turn,
            session=session,
            outcome="empty" if judgement is None else "scored" if reward is not None else "unparsed",
            reason=judgement.reason if judgement else "",
            parts=dict(judgement.parts) if judgement else {},
            ended=ended,
            forfeited=left,
        )
        return TakenStep(message, reward, bool(ended), info)
