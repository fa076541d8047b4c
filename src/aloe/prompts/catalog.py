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
        response_format: OpenAI's field of that name. tight: the same with bounds on lengths and numbers, for models in
            this process, which are held to all that a schema says. shaped_since: version of the packaged prompts from
            which on the template asks for that shape.
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
    tight: dict[str, Any] | None = None
    shaped_since: str = "1"
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


def _several(item: dict[str, Any], **bounds: int) -> dict[str, Any]:
    return {"type": "array", "items": item, **bounds}


def _text(most: int) -> dict[str, Any]:
    """A text of at most ``most`` characters, without line breaks: a small model that begins to ramble must end."""
    return {"type": "string", "minLength": 1, "maxLength": most, "pattern": r"^[^\n\r\t]*$"}


_TEXT = {"type": "string"}
_MENTION = {"type": "string", "pattern": r"^((I|I'm|I've|I'd|My|We|We've|Our) [^\n\r\t<>{}?.!]{4,110}[.!])?$"}
_QUESTION = {"type": "string", "pattern": r"^[A-Z][^\n\r\t<>{}?]{8,140}\?$"}
_NUMBER = {"type": "number"}
_REVEALED = _object(
    item=_TEXT,
    kind=_one_of("fact", "trait"),
    status=_one_of("stated", "implied"),
    evidence=_TEXT,
    turn={"type": "integer"},
)
_REVEALED_TIGHT = _object(
    item=_text(160),
    kind=_one_of("fact", "trait"),
    status=_one_of("stated", "implied"),
    evidence=_text(120),
    turn={"type": "integer", "minimum": 1, "maximum": 999},
)

WRITER = _row(
    Prompt(
        "writer",
        role="writer",
        parse=parsers.parse_descriptions,
        variables=("examples", "kind", "n"),
        optional=("words", "population"),
        sections=("<examples>", "<task kind="),
        response_format=_format("descriptions", descriptions=_several(_TEXT)),
        tight=_format("descriptions", descriptions=_several(_text(900), minItems=1, maxItems=20)),
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
USER_SESSION = _row(
    Prompt(
        "user_session",
        role="user",
        parse=parsers.parse_user_message,
        variables=("persona", "session"),
        optional=("release", "task"),
        sections=("<persona>", '<task kind="session"'),
        needs_history=True,
        check=parsers.refuse_echo,
        is_later=True,
    )
)
USER_CARDS = _row(
    Prompt(
        "user_cards",
        role="user",
        parse=parsers.parse_asking_message,
        variables=("persona", "conversation", "goal", "cards"),
        optional=("task",),
        sections=("<persona>", "<conversation>", '<task kind="goal"'),
        check=parsers.refuse_echo,
        response_format=_format("message", mention=_TEXT, ask=_TEXT),
        tight=_format("message", mention=_MENTION, ask=_QUESTION),
        shaped_since="2",
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
        response_format=_format("revealed", revealed=_several(_REVEALED)),
        tight=_format("revealed", revealed=_several(_REVEALED_TIGHT, maxItems=6)),
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
MEMORY = _row(
    Prompt(
        "memory",
        role="responder",
        parse=parsers.clean_message,
        variables=("memory", "conversation", "limit"),
        sections=("<memory limit=", "<conversation>"),
        is_later=True,
    )
)
REMEMBERED = _row(
    Prompt(
        "remembered",
        role="responder",
        parse=parsers.clean_message,
        variables=("memory",),
        sections=("<memory>",),
        needs_history=True,
        check=parsers.refuse_tags,
        is_later=True,
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
        tight=_format("described", profile=_text(900), personality=_text(900)),
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
        tight=_format("verdict", reason=_text(240), verdict=_one_of("first", "second", "tie")),
    )
)


def _scoring(name: str, low: float, high: float, alternatives: int) -> Prompt[parsers.Score]:
    steps = 2 if high == 5.0 else 1  # per whole point
    grades = {"enum": [i / steps if i % steps else i // steps for i in range(int(low) * steps, int(high) * steps + 1)]}
    whole = {"enum": list(range(int(low), int(high) + 1))}  # one token each: their probabilities give the decimals
    return Prompt(
        name,
        role="judge",
        parse=partial(parsers.parse_score, low=low, high=high),
        variables=("persona", "conversation", "reply"),
        optional=("scope",),
        sections=("<persona>", "<conversation>", '<reply id="only">', "<rubric scope="),
        response_format=_format("score", reason=_TEXT, style=_NUMBER, content=_NUMBER, natural=_NUMBER, score=_NUMBER),
        tight=_format("score", reason=_text(240), style=grades, content=grades, natural=grades, score=whole),
        alternatives=alternatives,
        scale=(low, high),
    )


JUDGE_SCORE = _row(_scoring("judge_score", 1.0, 5.0, alternatives=5))
JUDGE_PERCENT = _row(_scoring("judge_percent", 1.0, 100.0, alternatives=10))
JUDGE_BINARY = _row(_scoring("judge_binary", 0.0, 1.0, alternatives=5))
