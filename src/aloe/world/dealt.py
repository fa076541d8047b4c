"""``world:user`` that is dealt cards: a goal for each message and the facts that may come up in it.

It tells them as the user who knows the whole persona tells its own, and keeps them back where it is ignored. Told the
whole persona, it is that user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from aloe.prompts.sections import read_conversation, read_section
from aloe.world import actors, language
from aloe.world.actors import SILENT, Voiced, choose_markers, faulty_user, find_persona, read_notes
from aloe.world.character import digest, roll
from aloe.world.dialects import user as dialect_user
from aloe.world.dialects.typing import as_typed
from aloe.world.lexicon.options import Options, narrow
from aloe.world.reply import read_reply

_GOAL, _CARD = '<task kind="goal">', '<fact status="new">'


def play_user(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """The user's next message. Who is dealt cards speaks as ever: a dialect decides by itself what to tell."""
    if messages and _GOAL in messages[-1].content:
        return _play_by_cards(messages, seed, options)
    play = dialect_user.play_user if options.dialect else actors.play_user
    if not options.typing:
        return play(messages, seed, options)
    scene = actors.read_scene(messages, seed)
    said = play(messages, seed, replace(options, typing=0.0))
    rng = Random(digest(seed, scene.character.key, scene.turn, scene.reply, "typing"))
    return as_typed(said, scene.reply, options.typing, scene.character.key, rng)


def _play_by_cards(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """The next message of a user who is dealt its goal and what may come up now."""
    asked = messages[-1].content
    talk = read_conversation(asked)
    own = [m.content for m in talk if m.role == "user"]
    reply = talk[-1].content if talk else ""
    latent = find_persona(messages)
    at = asked.find(_CARD, asked.rfind("</conversation>"))
    new = read_notes(asked[at:]) if at >= 0 else ()
    key = digest(*(item.clause for item in latent.traits))
    turn = len(own) + 1
    lexicon, rng = narrow(options), Random(digest(seed, key, turn, reply))
    fault = faulty_user(own, reply, rng, options)
    if fault:
        return fault
    heard = read_reply(reply)
    mentioned = {(p.name, p.value) for payloads in heard.values for p in payloads}
    known = [item for item in latent.facts if item not in new]
    engaged = heard.asks_about_user or any((i.name, i.value) in mentioned for i in known)
    talks = turn == 1 or engaged or rng.random() >= SILENT
    told = [
        language.tell(item, language.can_hint(item) and roll(key, item.clause, "hint") < options.hints, rng, lexicon)
        for item in (new if talks else ())
    ]
    markers = choose_markers(tuple(latent.poles.values()), turn, rng, lexicon)
    goal = (read_section(asked, "task", 'kind="goal"') or "").strip()
    return language.write_user_message(told, markers, "", goal, rng)
