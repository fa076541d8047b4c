"""A simulated user to step through: for a reinforcement learning loop, an evaluation, or a look at a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aloe.api.running import arun, run
from aloe.api.settings import Models, config_for, tables_of
from aloe.bench.conversation import Partner
from aloe.bench.stepping import StepInfo, SteppedConversation, partner_of
from aloe.config import Config
from aloe.models.caller import Caller
from aloe.stages.bench import with_bench_roles
from aloe.types import Message, Persona

Stepped = tuple[str, float | None, bool, StepInfo]


class _Line:
    """The caller that simulators of the same settings share, opened at the first call."""

    def __init__(self, config: Config, journal: Path | None, kept: list[Any]) -> None:
        self.config, self._journal = config, journal
        self._kept = kept  # model objects live for as long as they may be called
        self._caller: Caller | None = None
        self._partner: Partner | None = None

    def partner(self) -> Partner:
        if self._partner is None:
            self._caller = Caller.open(self.config, self._journal, seed=self.config.seed)
            self._partner = partner_of(self._caller, self.config)
        return self._partner

    async def aclose(self) -> None:
        caller, self._caller, self._partner = self._caller, None, None
        if caller is not None:
            await caller.aclose()


class UserSimulator:
    """A simulated user who talks with whoever replies, and a judge who scores each reply.

    The same replies get the same scores and the same next messages as in ``aloe bench`` with the same seed, user, judge
    and options. Methods with an ``a`` in front are for async code; both kinds may be mixed.

    Args:
        persona: who the user is (``aloe.make_persona``, ``aloe.read_personas``).
        user, judge: models, as URIs, ``ModelConfig`` or objects of your own; None: the recipe's.
        n_turns: replies of a conversation; None: the recipe's (10).
        sample: number of the conversation among those with this persona.
        seed: of every random choice; None: the recipe's (0).
        journal: a file that keeps every answered call, so that none is paid for twice; None: in memory.
        recipe, options: the settings of ``aloe bench``, as a recipe's name or file and as tables
            (``{"bench": {"scale": "1-100"}}``).

    Raises:
        ConfigError: a setting that is not valid, in one line.
    """

    def __init__(
        self,
        persona: Persona,
        *,
        user: Models | None = None,
        judge: Models | None = None,
        n_turns: int | None = None,
        sample: int = 0,
        seed: int | None = None,
        journal: str | Path | None = None,
        recipe: str | Path = "bench",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        given = {
            "user": None if user is None else tables_of(user),
            "judge": None if judge is None else tables_of(judge),
            "n_turns": n_turns,
        }
        config = with_bench_roles(config_for(recipe, options, {"seed": seed, "bench": given}))
        kept = [model for models in (user, judge) if models is not None for model in _several(models)]
        self._line = _Line(config, None if journal is None else Path(journal), kept)
        self._take(persona, sample)

    def _take(self, persona: Persona, sample: int) -> None:
        self.persona, self.sample = persona, sample
        self._stepped: SteppedConversation | None = None

    def another(self, persona: Persona, sample: int = 0) -> UserSimulator:
        """A simulator for another conversation with the same settings; they share the journal and the limits."""
        other = object.__new__(type(self))
        other._line = self._line
        other._take(persona, sample)
        return other

    def reset(self) -> str:
        """Begin the conversation, also anew; returns the user's first message.

        Raises:
            EndpointError: the call failed for good. DataError: the user gave no usable message.
        """
        return run(self._reset)

    async def areset(self) -> str:
        """``reset`` for async code."""
        return await arun(self._reset)

    def step(self, reply: str) -> Stepped:
        """Give a reply to the user's last message.

        Returns:
            The user's next message (empty where there is none), the judge's score of the reply (None where it could
            not be read), whether the conversation is over, and what else is known (``aloe.StepInfo``).

        Raises:
            EndpointError: a call failed for good; the same step can be taken again.
            DataError: the conversation has not begun, or is over.
        """
        return run(lambda: self._step(reply))

    async def astep(self, reply: str) -> Stepped:
        """``step`` for async code."""
        return await arun(lambda: self._step(reply))

    async def _reset(self) -> str:
        if self._stepped is None:
            self._stepped = SteppedConversation(self._line.partner(), self._line.config, self.persona, self.sample)
        return await self._stepped.reset()

    async def _step(self, reply: str) -> Stepped:
        if self._stepped is None:
            self._stepped = SteppedConversation(self._line.partner(), self._line.config, self.persona, self.sample)
        step = await self._stepped.step(reply)
        return step.message, step.reward, step.done, step.info

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was said so far, the user first."""
        return () if self._stepped is None else self._stepped.messages

    @property
    def scores(self) -> tuple[float | None, ...]:
        """The score of each reply so far; of a conversation that ended early also of the turns that it lacks."""
        return () if self._stepped is None else self._stepped.scores

    def close(self) -> None:
        """Close the journal and connections, of all simulators that share them; a later reset opens them again."""
        run(self._aclose)

    async def aclose(self) -> None:
        """``close`` for async code."""
        await arun(self._aclose)

    async def _aclose(self) -> None:
        self._stepped = None
        await self._line.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()


def _several(models: Models) -> list[Any]:
    return list(models) if isinstance(models, list | tuple) else [models]
