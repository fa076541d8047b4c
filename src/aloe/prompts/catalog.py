"""The catalog of prompts, one row each: role, variables, required sections, parser, response format.

``Caller.ask`` takes a row. A prompt's template stands beside this file as ``NAME.jinja``; ``PromptSet`` checks it
against its row. A response format is for endpoints that can enforce one (``structured = true``): the parser reads the
same shape from free text, so that a format only saves retries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from aloe.prompts import parsers
from aloe.protocols import PromptMessage
from aloe.types import ActorRole

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, eq=False)
class Prompt(Generic[T_co]):
    """One prompt; ``T_co`` is what its answers are read as.

    Attributes:
        name: of its template and in the journal. role: who is asked unless a call says otherwise.
        parse: an answer's text to its value; raises ParseError.
        variables: what its template is given and must use; ``optional``: given too, but a template may do without.
        sections: tags that the rendered prompt must hold.
        needs_history: whether the template must say where the conversation goes in.
        check: refuses (ParseError) a value that won't do after this history, whatever its form.
        response_format: OpenAI's field of that name.
        alternatives: how many alternatives of each token are asked for, where an endpoint tells their probabilities.
        scale: lowest and highest score, for prompts that ask for one.
        is_later: it came after runs had been made, whose digests of all prompts do not hold it.
    """

    name: str
    role: ActorRole
    parse: Callable[[str], T_co]
    variables: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    needs_history: bool = False
    check: Callable[[Any, Sequence[PromptMessage]], None] | None = None
    response_format: dict[str, Any] | None = None
    alternatives: int | None = None
    scale: tuple[float, float] | None = None
    is_later: bool = False

    @property
    def given(self) -> tuple[str, ...]:
        """All variables of the template."""
        return self.variables + self.optional

    def read(self, raw: str, history: Sequence[PromptMessage] = ()) -> T_co:
        """The value of an answer that was given after ``history``.

        Raises:
            ParseError: it can't be read, or won't do.
        """
        value = self.parse(raw)
        if self.check is not None:
            self.check(value, history)
        return value


CATALOG: dict[str, Prompt[Any]] = {}


def _row(prompt: Prompt[T]) -> Prompt[T]:
    CATALOG[prompt.name] = prompt
    return prompt


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _format(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"name": name, "strict": True, "schema": _object(**properties)}
    return {"type": "json_schema", "json_schema": schema}


def _one_of(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_REVEALED = _object(
    item=_TEXT,
    kind=_one_of("fact", "trait"),
    status=_one_of("stated", "implied"),
    evidence=_TEXT,
    turn={"type": "integer"},
)

WRITER = _row(
    Prompt(
        "writer",
        role="writer",
        parse=parsers.parse_descriptions,
        variables=("examples", "kind", "n"),
        optional=("words", "population"),
        sections=("<examples>", "<task kind="),
        response_format=_format("descriptions", descriptions={"type": "array", "items": _TEXT}),
    )
)
USER = _row(
    Prompt(
        "user",
        role="user",
        parse=parsers.parse_user_message,
        variables=("persona",),
        optional=("release", "task"),
        sections=("<persona>",),
        needs_history=True,
        check=parsers.refuse_echo,
    )
)
USER_CARDS = _row(
    Prompt(
        "user_cards",
        role="user",
        parse=parsers.parse_user_message,
        variables=("persona", "conversation", "goal", "cards"),
        optional=("task",),
        sections=("<persona>", "<conversation>", '<task kind="goal"'),
        check=parsers.refuse_echo,
        is_later=True,
    )
)
INDUCER = _row(
    Prompt(
        "inducer",
        role="inducer",
        parse=parsers.parse_disclosures,
        variables=("persona", "conversation"),
        sections=("<persona>", "<conversation>"),
        response_format=_format("revealed", revealed={"type": "array", "items": _REVEALED}),
    )
)
TAILORED = _row(
    Prompt(
        "tailored",
        role="tailored",
        parse=parsers.clean_message,
        variables=("last", "revealed"),
        sections=("<revealed>",),
        needs_history=True,
        check=parsers.refuse_tags,
    )
)
GENERIC = _row(Prompt("generic", role="generic", parse=parsers.clean_message, needs_history=True))
RESPONDER = _row(Prompt("responder", role="responder", parse=parsers.clean_message, needs_history=True))
INFORMED = _row(
    Prompt(
        "informed",
        role="responder",
        parse=parsers.clean_message,
        variables=("persona",),
        sections=("<persona>",),
        needs_history=True,
    )
)
INFER = _row(
    Prompt(
        "infer",
        role="responder",
        parse=parsers.parse_disclosures,
        variables=("conversation",),
        sections=("<conversation>",),
    )
)
FROM_CHATS = _row(
    Prompt(
        "from_chats",
        role="inducer",
        parse=parsers.parse_described,
        variables=("conversation",),
        optional=("words",),
        sections=("<conversation>", '<task kind="describe"'),
        response_format=_format("described", profile=_TEXT, personality=_TEXT),
    )
)
SELFCRITIC = _row(
    Prompt(
        "selfcritic",
        role="responder",
        parse=parsers.parse_revision,
        variables=("draft",),
        sections=('<reply id="draft">',),
        needs_history=True,
    )
)
REMINDER = _row(Prompt("reminder", role="responder", parse=parsers.clean_message, needs_history=True))
JUDGE_COMPARE = _row(
    Prompt(
        "judge_compare",
        role="judge",
        parse=parsers.parse_verdict,
        variables=("persona", "conversation", "first", "second"),
        optional=("scope",),
        sections=("<persona>", "<conversation>", '<reply id="first">', '<reply id="second">', "<rubric scope="),
        response_format=_format("verdict", reason=_TEXT, verdict=_one_of("first", "second", "tie")),
    )
)


def _scoring(name: str, low: float, high: float, alternatives: int) -> Prompt[parsers.Score]:
    return Prompt(
        name,
        role="judge",
        parse=partial(parsers.parse_score, low=low, high=high),
        variables=("persona", "conversation", "reply"),
        optional=("scope",),
        sections=("<persona>", "<conversation>", '<reply id="only">', "<rubric scope="),
        response_format=_format("score", reason=_TEXT, style=_NUMBER, content=_NUMBER, natural=_NUMBER, score=_NUMBER),
        alternatives=alternatives,
        scale=(low, high),
    )


JUDGE_SCORE = _row(_scoring("judge_score", 1.0, 5.0, alternatives=5))
JUDGE_PERCENT = _row(_scoring("judge_percent", 1.0, 100.0, alternatives=10))
JUDGE_BINARY = _row(_scoring("judge_binary", 0.0, 1.0, alternatives=5))
