"""One conversation in the studio: a person or the user simulator with one model, or two side by side.

Two models answer the same messages: in every turn both see one shared history, which continues from the preferred reply
(after a tie or without a choice, from one drawn by seed). Which of them is A is drawn once per talk; names and the
judge's scores stay hidden until they can no longer influence the choice.

Invariants: a failed call leaves the talk as it was, with the error where the answer would stand, and can be asked
again; one thing happens at a time; calls are named by content, so equal talks replay from the journal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from aloe.bench.controls import make_responder
from aloe.bench.scales import SCALES
from aloe.bench.scoring import score_reply
from aloe.config import Config
from aloe.dialogue.judge import Candidate
from aloe.dialogue.responder import Answer, tailored_reply
from aloe.dialogue.state import PathState, content_id
from aloe.dialogue.user import Steering, next_user_message
from aloe.errors import AloeError, ConfigError, DataError
from aloe.models.caller import Caller
from aloe.seeding import derive_rng
from aloe.studio.beliefs import believe
from aloe.studio.choices import Choice
from aloe.types import Disclosure, Judgement, Persona, Rating, Verdict

log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_MESSAGE = 20_000  # characters
LABELS = ("A", "B")
NOBODY = Persona(persona_id="", profile="", personality="", profile_id="", personality_id="")


@dataclass(frozen=True, slots=True)
class Desk:
    """What all talks of a studio share.

    Attributes:
        config: of the run, with the benchmark's own judge and user in their roles.
        others: personas for the control that tailors to somebody else.
        patience: seconds after which a call is given up.
    """

    caller: Caller
    config: Config
    others: Callable[[], Sequence[Persona]] = tuple
    patience: float = 120.0


@dataclass(slots=True)
class Spoken:
    """One model's part of a turn. ``text`` None: not answered (yet), see ``error``."""

    text: str | None = None
    error: str = ""
    judgement: Judgement | None = None
    judge_error: str = ""


@dataclass(slots=True)
class Turn:
    """A user message with its replies in the order shown. ``kept``: the reply from which the talk went on."""

    state: PathState  # ends with the user's message
    simulated: bool
    spoken: list[Spoken]
    kept: int | None = None
    choice: Verdict | None = None
    believed: bool = False
    belief_error: str = ""

    @property
    def is_answered(self) -> bool:
        return any(s.text is not None for s in self.spoken)


@dataclass(slots=True)
class Talk:
    """A conversation and everything known about it. ``choices``: one model, or two in the order A, B."""

    talk_id: str
    desk: Desk
    choices: tuple[Choice, ...]
    persona: Persona | None
    turns: list[Turn] = field(default_factory=list)
    beliefs: tuple[Disclosure, ...] = ()
    named: bool = True
    proposed: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def begin(cls, talk_id: str, desk: Desk, choices: Sequence[Choice], persona: Persona | None) -> Talk:
        """A new talk; of two models, which is A is drawn from the run's seed and ``talk_id``.

        Raises:
            ConfigError: not one or two models, or one that can't do without a persona.
        """
        if len(choices) not in (1, 2):
            raise ConfigError(f"{len(choices)} models chosen", "choose one to chat with, or two to compare")
        for choice in choices:
            if choice.needs_persona and persona is None:
                raise ConfigError(f"{choice.name} is a control that reads the persona", "choose a persona first")
        shown = list(choices)
        if len(shown) == 2 and derive_rng(desk.config.seed, "studio", "order", talk_id).random() < 0.5:
            shown.reverse()
        return cls(talk_id, desk, tuple(shown), persona, named=len(shown) == 1)

    @property
    def last(self) -> Turn | None:
        return self.turns[-1] if self.turns else None

    @property
    def is_comparison(self) -> bool:
        return len(self.choices) == 2

    async def propose(self) -> str:
        """What the user simulator would say next; another message each time.

        Raises:
            ConfigError: no persona is played. AloeError: the call failed.
        """
        if self.persona is None:
            raise ConfigError(
                "no persona is chosen, so there is no user to simulate",
                "choose a persona, or type the message yourself",
            )
        state = self._goes_on()
        self.proposed += 1
        path = f"studio/{state.node_id}/user/{self.proposed}"
        desk, release = self.desk, self.desk.config.trees.release
        text, _ = await self._in_time(next_user_message(desk.caller, self.persona, state, path, Steering(release)))
        if text is None:
            raise DataError("the user simulator gave no usable message in two attempts", "try again")
        return text

    async def say(self, text: str, *, simulated: bool = False) -> Turn:
        """Add a user message and let the models answer; see ``Spoken.error`` for those that did not.

        Raises:
            ConfigError: an empty or very long message, or the last one has no answer yet.
        """
        text = text.strip()
        if not text or len(text) > MAX_MESSAGE:
            raise ConfigError(f"a message of {len(text):,} characters", f"write 1 to {MAX_MESSAGE:,}")
        state = self._goes_on()
        if self.last is not None:
            self.last.kept = self._kept(self.last)
        after = state.with_user(content_id(state.node_id, "user", text), text)
        turn = Turn(after, simulated, [Spoken() for _ in self.choices])
        self.turns.append(turn)
        await self.answer()
        return turn

    async def answer(self) -> None:
        """Ask for the replies that the last message still lacks."""
        turn = self._last()
        if any(choice.told for choice in self.choices):
            await self._believe(turn)
        await asyncio.gather(*(self._reply(turn, i) for i, s in enumerate(turn.spoken) if s.text is None))

    async def observe(self) -> None:
        """What the inducer believes after the last message, and the judge's scores of its replies, where missing."""
        turn = self._last()
        jobs: list[Awaitable[None]] = [] if turn.believed else [self._believe(turn)]
        if self.persona is not None:
            missing = [s for s in turn.spoken if s.text is not None and s.judgement is None]
            jobs += [self._judge(turn, spoken, self.persona) for spoken in missing]
        await asyncio.gather(*jobs)

    def take_back(self) -> str:
        """Remove the last message with its replies; returns it.

        Raises:
            ConfigError: nothing was said, or the replies were rated: a rating stays.
        """
        turn = self._last()
        if turn.choice is not None:
            raise ConfigError(
                "this message was rated and can't be taken back", "continue from it, or start a new conversation"
            )
        self.turns.pop()
        ids = set(turn.state.node_ids[:-1])
        self.beliefs = tuple(d for d in self.beliefs if set(d.evidence_node_ids) <= ids)
        if self.last is not None and self.last.choice is None:
            self.last.kept = None
        return turn.state.messages[-1].content

    def rate(self, choice: Verdict, stars: tuple[int | None, int | None] = (None, None)) -> Rating:
        """Choose between the replies to the last message; the talk goes on from the better one.

        Raises:
            ConfigError: there are not two replies, or they were rated before.
        """
        turn = self._last()
        texts = [s.text for s in turn.spoken]
        if len(texts) != 2 or texts[0] is None or texts[1] is None:
            raise ConfigError("there are not two replies to choose from", "compare two models, and let both answer")
        if turn.choice is not None:
            raise ConfigError("these replies were rated already", "write the next message")
        turn.choice = choice
        persona = self.persona or NOBODY
        scores = [s.judgement.score if s.judgement is not None else None for s in turn.spoken]
        return Rating(
            rating_id=content_id("rating", self.talk_id, turn.state.node_id),
            talk_id=self.talk_id,
            time=time.time(),
            persona_id=persona.persona_id or None,
            profile=persona.profile,
            personality=persona.personality,
            turn=turn.state.turn,
            messages=turn.state.messages,
            replies=(texts[0], texts[1]),
            models=(self.choices[0].name, self.choices[1].name),
            uris=(self.choices[0].model.uri, self.choices[1].model.uri),
            choice=choice,
            stars=stars,
            scores=None if None in scores else (scores[0], scores[1]),
            judge_model=", ".join(m.uri for m in self.desk.config.roles.judge),
            blind=not self.named,
        )

    def unrate(self) -> None:
        """Forget the choice of the last turn: it could not be stored."""
        self._last().choice = None

    def _last(self) -> Turn:
        if self.last is None:
            raise ConfigError("the conversation is empty", "write a message")
        return self.last

    def _kept(self, turn: Turn) -> int:
        """The reply from which the talk goes on: the better one; where nobody said which, one drawn by seed."""
        answered = [i for i, s in enumerate(turn.spoken) if s.text is not None]
        if turn.choice in ("first", "second"):
            return 0 if turn.choice == "first" else 1
        rng = derive_rng(self.desk.config.seed, "studio", "kept", self.talk_id, turn.state.turn)
        return answered[int(rng.integers(len(answered)))]

    def _goes_on(self) -> PathState:
        """The path up to and including the reply that is kept of the last turn."""
        if self.last is None:
            who = self.persona or NOBODY
            return PathState(content_id("studio", who.profile, who.personality))
        if not self.last.is_answered:
            raise ConfigError("the last message has no answer yet", "try again, or take it back")
        text = self.last.spoken[self._kept(self.last)].text or ""
        state = self.last.state.with_reply(content_id(self.last.state.node_id, "assistant", text), text)
        return state.with_revealed(self.beliefs)

    async def _reply(self, turn: Turn, index: int) -> None:
        choice, spoken = self.choices[index], turn.spoken[index]
        spoken.error = ""
        try:
            text, _ = await self._in_time(self._ask(choice, turn))
            spoken.text, spoken.error = text, "" if text is not None else "an empty reply, also when asked again"
        except Exception as error:
            spoken.error = explain(error, "the model did not answer")

    async def _ask(self, choice: Choice, turn: Turn) -> Answer:
        desk, path = self.desk, f"studio/{turn.state.node_id}/reply"
        if choice.told:
            return await tailored_reply(desk.caller, replace(turn.state, revealed=self.beliefs), path)
        persona = self.persona or NOBODY
        people = {p.persona_id: p for p in (*desk.others(), persona)} if choice.needs_persona else {}
        respond = make_responder(desk.caller, choice.model, list(people.values()))
        return await respond(persona, turn.state, path)

    async def _believe(self, turn: Turn) -> None:
        desk = self.desk
        turn.belief_error = ""
        before = replace(turn.state, revealed=self.beliefs)
        try:
            self.beliefs = await self._in_time(believe(desk.caller, self.persona, before, desk.config.roles.inducer))
            turn.believed = True
        except Exception as error:
            turn.belief_error = explain(error, "the inducer did not answer")

    async def _judge(self, turn: Turn, spoken: Spoken, persona: Persona) -> None:
        desk, text = self.desk, spoken.text or ""
        candidate = Candidate(content_id(turn.state.node_id, "assistant", text), text)
        scale = SCALES[desk.config.bench.scale]
        spoken.judge_error = ""
        try:
            spoken.judgement = await self._in_time(
                score_reply(desk.caller, persona, turn.state, candidate, desk.config.bench.scope, scale)
            )
        except Exception as error:
            spoken.judge_error = explain(error, "the judge did not answer")

    async def _in_time(self, work: Awaitable[T]) -> T:
        return await asyncio.wait_for(work, self.desk.patience)


def explain(error: Exception, what: str) -> str:
    """A failure in words; one that is not ours is logged with its traceback."""
    if isinstance(error, AloeError):
        return f"{what}: {error}"
    if isinstance(error, TimeoutError):
        return f"{what} in time; it may be slow or not there"
    log.error("%s", what, exc_info=error)
    return f"{what}: {type(error).__name__}: {error}"[:2000]
