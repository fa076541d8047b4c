"""``world:assistant``: a capable model that gives generic replies unless its prompt asks for more.

Asked plainly it answers as ``world:generic`` does, word for word. It is what the benchmark's wrappers are tested on
(``world:assistant+inducer``), since ``world:generic`` ignores whatever it is told. How far each prompt takes it:

- a reminder: facts that the user stated; hints and manner pass it by;
- the revision of a draft: stated facts, and the user's manner;
- asked to infer: stated and implied facts, and the manner; answered with such notes: as ``world:tailored``;
- told the persona: everything, revealed or not, as ``world:knows-all``.

``world:attentive`` needs no prompt for any of it: what a trained model aims at.

It reads users' messages without knowing who they are, so an ambiguous hint may be read wrongly, and what a user says
of itself that is not so is believed until the user puts it right.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from aloe.prompts.sections import read_conversation, read_section
from aloe.world import actors, dealt
from aloe.world.actors import Actor, Utterance
from aloe.world.latent import Item, fill
from aloe.world.lexicon.options import Options, narrow
from aloe.world.reading import read_message

_DESCRIBE = '<task kind="describe"'
_INFER, _REVISE, _REMEMBER = '<task kind="infer"', '<reply id="draft">', '<task kind="remember"'


def notice(said: Sequence[str], *, hints: bool, manner: bool) -> list[tuple[Item, str, str, int]]:
    """What messages tell of their writer, each once: item, ``stated`` or ``implied``, the words, the turn.

    Args:
        hints: also what is only implied.
        manner: also traits that show in how it is said.
    """
    lexicon = narrow()
    found: dict[tuple[str, str], tuple[Item, str, str, int]] = {}
    doubted: set[tuple[str, str]] = set()  # claimed in words that later ones may take back
    for turn, text in enumerate(said, 1):
        reading = read_message(text)
        for mention in (*reading.claimed, *reading.mentions):
            payload = mention.payloads[0]
            status = "stated" if payload.kind == "value" else "implied"
            key = ("fact", payload.name)
            is_news = (
                key not in found or found[key][1] == "implied" != status or (key in doubted and status == "stated")
            )
            if (status == "stated" or hints) and is_news:
                (doubted.add if mention in reading.claimed else doubted.discard)(key)
                clause = fill(lexicon.by_slot[payload.name].profile[0], payload.value)
                found[key] = (Item("fact", payload.name, payload.value, clause), status, mention.evidence, turn)
        for trait, pole, words in reading.shown if manner else ():
            which = next(p for p in lexicon.by_trait[trait].poles if p.name == pole)
            item = Item("trait", trait, pole, fill(which.persona[0]))
            found.setdefault(("trait", trait), (item, "implied", words, turn))
    return list(found.values())


def play_assistant(messages: Sequence[Utterance], seed: int | None, options: Options) -> str:
    """Answer as the prompt asks."""
    last = messages[-1].content if messages else ""
    if any(_DESCRIBE in m.content for m in messages):
        return describe("\n".join(m.content for m in messages))
    if any(_INFER in m.content for m in messages):
        return _infer("\n".join(m.content for m in messages))
    said = [m.content for m in messages if m.role == "user"]
    if _REVISE in last:
        text = last[: last.rfind(_REVISE)].strip()
        items = [entry[0] for entry in notice([*said[:-1], text], hints=False, manner=True)]
        draft = (read_section(last[last.rfind(_REVISE) :], "reply", 'id="draft"') or "").strip()
        return _revise(actors.reply_with(_with_last(messages, text), seed, options, items), draft, items)
    if _REMEMBER in last:
        text = last[: last.rfind(_REMEMBER)].strip()
        items = [entry[0] for entry in notice([*said[:-1], text], hints=False, manner=False)]
        if not items:
            return actors.play_generic(_with_last(messages, text), seed, options)
        return actors.reply_with(_with_last(messages, text), seed, options, items)
    if "<revealed>" in last:
        return actors.play_tailored(messages, seed, options)
    if any(m.role == "system" and "<persona>" in m.content for m in messages):
        return actors.play_knows_all(messages, seed, options)
    return actors.play_generic(messages, seed, options)


def play_attentive(messages: Sequence[Utterance], seed: int | None, options: Options) -> str:
    """What training aims at: told nothing, it notices by itself and answers as ``world:tailored`` does."""
    said = [m.content for m in messages if m.role == "user"]
    items = [entry[0] for entry in notice(said, hints=True, manner=True)]
    return actors.reply_with(messages, seed, options, items, asks=True)


def _with_last(messages: Sequence[Utterance], text: str) -> list[Utterance]:
    return [*messages[:-1], Utterance("user", text)]


def _infer(prompt: str) -> str:
    said = [m.content for m in read_conversation(prompt) if m.role == "user"]
    revealed = [
        {"item": item.clause, "kind": item.kind, "status": status, "evidence": words, "turn": turn}
        for item, status, words, turn in notice(said, hints=True, manner=True)
    ]
    return orjson.dumps({"revealed": revealed}).decode()


def describe(prompt: str) -> str:
    """A persona from what the user's own messages tell: ``{"profile": ..., "personality": ...}``, empty if nothing."""
    said = [m.content for m in read_conversation(prompt) if m.role == "user"]
    items = [entry[0] for entry in notice(said, hints=True, manner=True)]
    texts = {kind: " ".join(i.clause for i in items if i.kind == kind) for kind in ("fact", "trait")}
    return orjson.dumps({"profile": texts["fact"], "personality": texts["trait"]}).decode()


def play_inducer(messages: Sequence[Utterance], seed: int | None, options: Options) -> str:
    """The inducer; asked to describe a user whose persona nobody has given, it describes."""
    if messages and _DESCRIBE in messages[0].content:
        return describe("\n".join(m.content for m in messages))
    return actors.play_inducer(messages, seed, options)


def _revise(reply: str, draft: str, items: Sequence[Item]) -> str:
    if not items:
        return orjson.dumps({"critique": "Nothing to better yet.", "reply": draft}).decode()
    missing = ", ".join(item.value for item in items if item.value.lower() not in draft.lower())
    return orjson.dumps({"critique": f"The draft leaves out: {missing or 'nothing'}.", "reply": reply}).decode()


ACTORS: dict[str, Actor] = {
    **actors.ACTORS,
    "user": dealt.play_user,
    "inducer": play_inducer,
    "assistant": play_assistant,
    "attentive": play_attentive,
}
