"""Everything that aloe stores: plain, frozen records.

``chosen``/``rejected`` is a preference; ``continued`` is which reply the conversation went on from. They are
different things. Turns are 1-based; a turn is a user message and the replies to it. Unscored is ``None``,
never a default. No I/O, no other aloe module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

Role = Literal["system", "user", "assistant"]
ActorRole = Literal["writer", "user", "inducer", "tailored", "generic", "judge", "responder"]
Verdict = Literal["first", "second", "tie"]
Status = Literal["stated", "implied"]
ItemKind = Literal["fact", "trait"]
How = Literal["announced", "implied", "gradual", "contextual"]


_put = object.__setattr__  # records are frozen; a new one is filled before anybody sees it


class Record(BaseModel):
    """Base of all stored types: immutable, and a field it does not know is an error, not a surprise."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    _blank: ClassVar[dict[str, Any]] = {}
    _names: ClassVar[set[str]] = set()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """All fields in order with their defaults, so that ``model_construct`` need not ask for them each time."""
        cls._blank = {
            name: None if f.is_required() else f.get_default(call_default_factory=True, validated_data={})
            for name, f in cls.model_fields.items()
        }
        cls._names = set(cls._blank)

    @classmethod
    def model_construct(cls, _fields_set: set[str] | None = None, **values: Any) -> Self:  # type: ignore[override]
        """A record of values known to be valid, unchecked: a sixth of pydantic's own cost, on every call's path.

        Mutable defaults (empty dicts) are shared between the records built here: records are never changed.
        """
        record = cls.__new__(cls)
        _put(record, "__dict__", {**cls._blank, **values})
        _put(record, "__pydantic_fields_set__", cls._names if _fields_set is None else _fields_set)
        _put(record, "__pydantic_extra__", None)
        _put(record, "__pydantic_private__", None)
        return record


class Message(Record):
    role: Role
    content: str


class Usage(Record):
    """Token counts as the endpoint reported them (or as estimated where it reports none)."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0  # the part of prompt_tokens that a prefix cache served


class Generation(Record):
    """Where a text came from. ``call_key`` finds the full request and reply in the journal."""

    model: str  # logical name (a URI without address), never a host
    role: ActorRole
    prompt_name: str
    prompt_hash: str
    sampling: dict[str, Any] = Field(default_factory=dict)
    usage: Usage = Usage()
    cost: float | None = None  # USD; None where the price is unknown
    finish_reason: str = "stop"
    call_key: str = ""


class PoolEntry(Record):
    """One description in a persona pool; also the record of a rejected candidate (then ``reason`` is set)."""

    entry_id: str
    kind: Literal["profile", "personality"]
    text: str
    example_ids: tuple[str, ...] = ()  # the members shown when it was written
    round_index: int = 0  # 0 = seed
    nearest_id: str | None = None
    max_similarity: float | None = None  # cosine to the nearest member on arrival, [-1, 1]
    reason: str = ""  # why it was rejected; empty for members
    provenance: dict[str, Any] = Field(default_factory=dict)


class Change(Record):
    """A part of a persona that begins, ends or changes in the course of its conversation.

    ``announced``: the user says so at ``turn``. ``implied``: its words at ``turn`` only show it. ``gradual`` (traits):
    from ``turn`` on both manners are met, ever more of the new one, which alone holds from ``until`` on.
    ``contextual`` (traits): from ``turn`` on ``now`` holds in ``context``, ``was`` everywhere else. ``was`` and ``now``
    are sentences of the persona; an empty one means that something begins, or ends without anything in its place.
    """

    turn: int = Field(ge=1)  # of the whole conversation, through all its sessions
    kind: ItemKind
    how: How
    was: str = ""
    now: str = ""
    until: int = Field(default=0, ge=0)
    context: str = ""  # what it is about where ``now`` holds, e.g. "budget, tidying"

    @property
    def since(self) -> int:
        """The turn from which ``was`` no longer holds anywhere; 0 if it goes on holding somewhere."""
        return {"contextual": 0, "gradual": max(self.until, self.turn)}.get(self.how, self.turn)


class Persona(Record):
    """Profile (everyday facts) x personality (traits). ``split`` keeps benchmark texts out of training.

    ``timeline`` is what changes, in the order of its turns. Profile and personality say what holds before any of it;
    those of ``as_of(turn)`` say what holds then, and its timeline only what has changed by then.
    """

    persona_id: str
    profile: str
    personality: str
    profile_id: str
    personality_id: str
    split: Literal["train", "bench"] = "train"
    timeline: tuple[Change, ...] = Field(default=(), exclude_if=lambda changes: not changes)
    turn: int = Field(default=0, ge=0, exclude_if=lambda turn: not turn)  # whose state this is; 0: before any change

    def as_of(self, turn: int) -> Persona:
        """What this persona is at a turn of its conversation; itself if nothing ever changes."""
        if not self.timeline:
            return self
        texts = {"fact": self.profile, "trait": self.personality}
        past = tuple(change for change in self.timeline if change.turn <= turn)
        for change in past:
            if change.how == "contextual":
                texts[change.kind] = f"{texts[change.kind]} {change.now}"
            elif change.since <= turn:
                texts[change.kind] = _replaced(texts[change.kind], change.was, change.now)
        changed = {"profile": texts["fact"], "personality": texts["trait"], "timeline": past, "turn": turn}
        return self.model_copy(update=changed)


def _replaced(text: str, was: str, now: str) -> str:
    """A text with one of its sentences replaced, removed (``now`` empty) or added (``was`` empty or not found)."""
    if was and was in text:
        return " ".join(text.replace(was, now, 1).split()) if now else " ".join(text.replace(was, "", 1).split())
    return f"{text} {now}".strip() if now else text


class Disclosure(Record):
    """One part of the persona that a user message revealed, with the user's own words as evidence."""

    node_id: str
    item: str  # the clause of the persona, in the persona's words
    kind: ItemKind
    status: Status
    evidence_node_ids: tuple[str, ...] = ()
    evidence: str = ""
    generation: Generation | None = None


class Judgement(Record):
    """One answer of a judge: a comparison (``verdict``) or a score (``score``), None where unparsed.

    ``node_ids`` are the replies in the order in which they were shown.
    """

    node_ids: tuple[str, ...]
    verdict: Verdict | None = None
    score: float | None = None
    parts: dict[str, float] = Field(default_factory=dict)
    reason: str = ""
    raw: str = ""
    generation: Generation | None = None


class Node(Record):
    """One message of a tree. User and assistant nodes alternate; siblings are replies to the same message."""

    node_id: str
    parent_id: str | None
    turn: int = Field(ge=1)
    message: Message
    continued: bool = False  # the conversation went on from here
    kind: Literal["user", "tailored", "generic", "responder"] = "user"  # who wrote it
    generation: Generation | None = None


class NodeError(Record):
    """A branch that ended because a call failed; the rest of the tree stands."""

    node_id: str
    turn: int
    role: ActorRole
    error: str


class ConversationTree(Record):
    """A branching conversation, nodes flat with parents first. Immutable once written; labels live beside it."""

    __slots__ = ("_index",)  # made when first asked for; a slot is not copied, compared or written

    schema_version: int = SCHEMA_VERSION
    tree_id: str
    persona_id: str
    seed: int
    nodes: tuple[Node, ...]
    errors: tuple[NodeError, ...] = ()
    task: str = ""  # the kind of conversation that the user was asked for; empty: any
    timeline: tuple[Change, ...] = Field(default=(), exclude_if=lambda changes: not changes)  # the persona's own
    session_turns: int = Field(default=0, ge=0, exclude_if=lambda turns: not turns)  # of each session; 0: only one

    @property
    def by_id(self) -> Mapping[str, Node]:
        """The nodes by their ids."""
        return self._indexed()[0]

    def children(self, node_id: str | None) -> tuple[Node, ...]:
        """What follows a node, in the tree's order; of None: the opening message."""
        return self._indexed()[1].get(node_id, ())

    def siblings(self, node_id: str) -> tuple[Node, ...]:
        """The other nodes that follow the same message."""
        return tuple(n for n in self.children(self.by_id[node_id].parent_id) if n.node_id != node_id)

    def path_to(self, node_id: str | None) -> tuple[Node, ...]:
        """The nodes from the opening message down to ``node_id``, inclusive; nothing leads to None."""
        path: list[Node] = []
        while node_id is not None:
            path.append(self.by_id[node_id])
            node_id = path[-1].parent_id
        return tuple(reversed(path))

    def persona_at(self, persona: Persona, turn: int) -> Persona:
        """What the persona of this conversation is at a turn of it."""
        if not self.timeline:
            return persona
        return persona.model_copy(update={"timeline": self.timeline}).as_of(turn)

    def _indexed(self) -> tuple[dict[str, Node], dict[str | None, tuple[Node, ...]]]:
        index: tuple[dict[str, Node], dict[str | None, tuple[Node, ...]]] | None = getattr(self, "_index", None)
        if index is None:
            below: dict[str | None, list[Node]] = {}
            for node in self.nodes:
                below.setdefault(node.parent_id, []).append(node)
            index = {n.node_id: n for n in self.nodes}, {at: tuple(nodes) for at, nodes in below.items()}
            _put(self, "_index", index)
        return index


class Label(Record):
    """A preference between sibling replies, by one labeler. ``chosen`` is None for a tie or an unparsed answer."""

    tree_id: str
    node_ids: tuple[str, ...]
    chosen: str | None
    rejected: str | None
    margin: float | None = None  # see docs: 1.0 for an unscored verdict, score difference where scored
    labeler: str
    outcome: Literal["preferred", "tie", "disagreement", "unparsed"] = "preferred"
    judgements: tuple[Judgement, ...] = ()


class PreferencePair(Record):
    """TRL's conversational preference columns plus provenance. Always derived, never edited."""

    pair_id: str
    tree_id: str
    persona_id: str
    turn: int
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    margin: float | None = None
    labeler: str = ""


class SFTExample(Record):
    """A conversation whose last assistant message is the target, under the history that the user answered."""

    example_id: str
    tree_id: str
    persona_id: str
    turn: int
    messages: tuple[Message, ...]


class BenchScore(Record):
    """The judge's score of one reply: a row of ``scores.jsonl``, one per turn, scored or not, so that nothing shrinks.

    ``outcome``: ``scored``; ``unparsed`` (the judge's answer could not be read even when asked again); ``failed``
    (the conversation had ended before there was a reply or a judgement); ``empty`` (the model gave no reply, here or
    before, which scores the scale's lowest); ``left`` (the user had walked out: the lowest, too). ``score`` is None
    where unparsed or failed.
    """

    tree_id: str
    persona_id: str
    profile_id: str
    personality_id: str
    sample: int = Field(default=0, ge=0)
    turn: int = Field(ge=1)
    node_id: str = ""  # the reply; empty where there is none
    score: float | None = None
    outcome: Literal["scored", "unparsed", "failed", "empty", "left"] = "scored"
    parts: dict[str, float] = Field(default_factory=dict)
    others: dict[str, float | None] = Field(default_factory=dict)  # judged for the swapped persona, in the other scope
    reason: str = ""
    raw: str = ""  # the judge's words where they could not be read
    generation: Generation | None = None


class AlignmentPoint(Record):
    """AL(k): the mean judge score over personas at turn k, with a 95% interval (None where undefined)."""

    k: int
    al: float | None
    ci_low: float | None
    ci_high: float | None
    n_scored: int
    n_unscored: int
    in_figures: bool = True  # False: fewer than ten conversations were scored here, so that no figure holds this point


class ScopeFigures(Record):
    """The same replies judged in the other scope.

    ``mind_reading`` is AVG judged with the whole persona minus AVG judged with what was revealed: what a model earns
    by hitting on things that the user never said.
    """

    scope: Literal["persona", "revealed"]
    points: tuple[AlignmentPoint, ...]
    avg: float | None
    avg_ci: tuple[float, float] | None = None
    ir: float | None
    ir_ci: tuple[float, float] | None = None
    mind_reading: float | None = None
    mind_reading_ci: tuple[float, float] | None = None


class SessionFigures(Record):
    """What several sessions say about a model; all with 95% intervals over personas, None where undefined.

    ``boundary_loss``: AL of the last turns of a session minus AL of the first ones of the next (three each, fewer in
    shorter sessions), over all boundaries. ``fact_use_by_session_lag``: position = sessions since it was revealed.
    ``use_per_1000_tokens``: fact use per thousand prompt tokens that the model read for a reply.
    """

    n_turns: int  # of each session
    al: tuple[float | None, ...]  # by session
    al_ci: tuple[tuple[float, float] | None, ...] = ()
    boundary_loss: float | None = None
    boundary_loss_ci: tuple[float, float] | None = None
    fact_use_by_session_lag: tuple[float | None, ...] = ()
    fact_use_by_session_lag_ci: tuple[tuple[float, float] | None, ...] = ()
    prompt_tokens_per_turn: float | None = None
    use_per_1000_tokens: float | None = None


class BenchmarkResult(Record):
    """What one model scored. ``truth`` holds figures that only a world with ground truth can give.

    ``rules`` says how the figures were made. 1 (results that don't name any): an empty reply was unscored, every turn
    was in the figures, intervals pooled the effects that a test did not see. 2: an empty reply has the scale's lowest
    score, turns with fewer than ten scored conversations are in no figure, no effect is pooled; the world's judge and
    ground truth read how a reply is put together: a fact counts as used where a phrase ties it to advice (before: where
    its words stand anywhere), and what a reply says of the user out of nothing counts as false.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    uri: str
    judge_model: str
    user_model: str
    config_digest: str
    setting: dict[str, str] = Field(default_factory=dict)  # user, dialect, judges, prompts, ... (bench.setting)
    n_personas: int
    n_samples: int = 1  # conversations per persona
    n_failed: int = 0  # conversations that a failed call ended early
    n_empty: int = 0  # replies that the model left empty, those after an empty one among them
    n_verdict_like: int = 0  # replies with text in the form of a judge's answer (prompts.suspicion): read them
    rules: int = 1
    scope: Literal["persona", "revealed"] = "revealed"  # what the judge rewards
    points: tuple[AlignmentPoint, ...]
    avg: float | None
    avg_ci: tuple[float, float] | None = None
    ir: float | None
    ir_ci: tuple[float, float] | None
    n_ir: float | None
    n_ir_ci: tuple[float, float] | None = None
    n_r2: float | None
    n_r2_ci: tuple[float, float] | None = None
    late_mean: float | None = None  # mean AL of the last three turns
    late_mean_ci: tuple[float, float] | None = None
    late: float | None = Field(default=None, exclude=True)  # rules 1: mean AL of the last third; never written
    late_ci: tuple[float, float] | None = Field(default=None, exclude=True)
    scale: Literal["1-5", "1-100", "binary"] = "1-5"
    parts: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)  # style, content, natural by turn
    gain: float | None = None  # AL(true persona) - AL(same conversation judged for a swapped persona)
    gain_ci: tuple[float, float] | None = None
    gain_by_turn: tuple[float | None, ...] = ()
    other_scope: ScopeFigures | None = None
    identification: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)  # AUC by turn, per reader
    identification_ci: dict[str, tuple[float, float]] = Field(default_factory=dict)  # of the last turn's AUC
    truth: dict[str, float | None] = Field(default_factory=dict)
    truth_ci: dict[str, tuple[float, float]] = Field(default_factory=dict)  # of the shares among them
    fact_use_by_lag: tuple[float | None, ...] = ()  # position = turns since the fact was revealed
    recall_by_lag: tuple[float | None, ...] = Field(default=(), exclude=True)  # rules 1, a laxer reading; never written
    facts_by_turn: tuple[float | None, ...] = ()
    usage: dict[str, Usage] = Field(default_factory=dict)
    sessions: SessionFigures | None = Field(default=None, exclude_if=lambda figures: figures is None)


class Rating(Record):
    """A person's blind choice between two replies. ``first`` is the one shown as A; pairs are in the order shown."""

    schema_version: int = SCHEMA_VERSION
    rating_id: str
    talk_id: str
    time: float  # seconds since the epoch
    persona_id: str | None = None  # None: the rater spoke for himself
    profile: str = ""
    personality: str = ""
    turn: int = Field(ge=1)
    messages: tuple[Message, ...]  # ends with the user's message
    replies: tuple[str, str]
    models: tuple[str, str]
    uris: tuple[str, str]
    choice: Verdict
    stars: tuple[int | None, int | None] = (None, None)  # 1 to 5, where given
    scores: tuple[float | None, float | None] | None = None  # the judge's, None where not judged
    judge_model: str = ""
    blind: bool = True  # the names were not shown yet
    rater: str = ""
