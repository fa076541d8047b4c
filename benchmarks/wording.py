"""How many ways the wide wording has, whether what it writes is worth as much, and what writing it costs.

Counts of compositions by slot, manner and topic (all, and those left when ``hold_out=1``). Then fresh personas of the
full world converse with the oracle in the listed and in the wide wording (users, replies; ten turns each); CPU time is
that of the actors' calls, conversations of both wordings in turn. A reply *copies* if one of its clauses with a fact in
it is that of an earlier reply of the conversation about the same fact, word for word.

Figures: ``fewest_clauses``, ``fewest_sentences`` (over slots, without those held out), ``fewest_manners``,
``fewest_said``, ``fewest_hinted``, ``fewest_shown``, ``al_gap`` (wide minus listed), ``natural_wide`` (mean, of 5),
``cost_ratio``, ``copied_listed``, ``copied_wide`` (shares of facts used again).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import time
from dataclasses import dataclass, field
from random import Random

from aloe.prompts import parsers
from aloe.prompts.render import PromptSet
from aloe.protocols import ChatRequest, PromptMessage
from aloe.types import Disclosure, Message, Persona
from aloe.world.judge import form_opinion
from aloe.world.latent import draw_facts, draw_traits, write_personality, write_profile
from aloe.world.lexicon.options import narrow
from aloe.world.lexicon.wording import compositions, grammar
from aloe.world.model import WorldModel
from aloe.world.reply import read_reply
from aloe.world.truth import disclosed, read_known, read_persona

KINDS = ("uses", "follows", "questions", "fits", "said", "hinted", "other", "shown", "requests", "advice")
WORDINGS = ("listed", "wide")
N_TURNS = 10
PROMPTS = PromptSet()


@dataclass
class Sum:
    """What one wording came to."""

    scores: list[float] = field(default_factory=list)
    natural: list[float] = field(default_factory=list)
    n_words: list[int] = field(default_factory=list)
    n_used: int = 0  # facts used again
    n_copied: int = 0
    seconds: float = 0.0
    n_calls: int = 0


def count_all() -> dict[str, int]:
    """Print the counts; the fewest of each kind with what is held out left out."""
    fewest = {}
    for kind in KINDS:
        whole = {name: len(compositions(kind, name)) for name in grammar(kind)}
        seen = {name: len(compositions(kind, name, held="out")) for name in whole}
        print(f"{kind:<10}", ", ".join(f"{name} {n}/{seen[name]}" for name, n in whole.items()))
        fewest[kind] = min(seen.values())
    return fewest


def fresh_person(seed: int) -> Persona:
    rng, lexicon = Random(seed), narrow()
    profile = write_profile(draw_facts(rng, lexicon), "She", rng, lexicon)
    personality = write_personality(draw_traits(rng, lexicon), "She", rng, lexicon)
    return Persona(
        persona_id="", profile=profile, personality=personality, profile_id="", personality_id="", split="bench"
    )


def ask(model: WorldModel, prompt: str, total: Sum, seed: int, **values: object) -> str:
    history = values.pop("history", ())
    turns = [PromptMessage(m.role, (m.content,)) for m in history]  # type: ignore[attr-defined]
    request = ChatRequest(PROMPTS.render(prompt, history=turns, **values), seed=seed)
    start = time.process_time()
    text = model.answer(request).text
    total.seconds += time.process_time() - start
    total.n_calls += 1
    return text


def converse(person: Persona, wording: str, seed: int, total: Sum) -> None:
    """One conversation with the oracle, added to ``total``."""
    user, oracle = WorldModel(f"world:user?wording={wording}"), WorldModel(f"world:oracle?wording={wording}")
    latent = read_persona(person.profile, person.personality)
    history: list[Message] = []
    before: dict[tuple[str, str], set[str]] = {}
    for turn in range(N_TURNS):
        turned = [Message(role="assistant" if m.role == "user" else "user", content=m.content) for m in history]
        said = parsers.clean_message(ask(user, "user", total, seed + turn, history=turned, persona=person))
        history.append(Message(role="user", content=said))
        shown = [s for new in disclosed(latent, [m.content for m in history[::2]]) for s in new]
        notes = [Disclosure(node_id="", item=s.item.clause, kind=s.item.kind, status=s.status) for s in shown]
        reply = ask(oracle, "tailored", total, seed + turn, history=history[:-1], last=said, revealed=notes)
        opinion = form_opinion(read_known(latent, history), reply, "revealed")
        total.scores.append(opinion.score)
        total.natural.append(opinion.natural)
        total.n_words.append(len(reply.split()))
        _count_copies(reply, before, total)
        history.append(Message(role="assistant", content=reply))


def _count_copies(reply: str, before: dict[tuple[str, str], set[str]], total: Sum) -> None:
    clauses = [clause.strip().lower() for clause in re.split(r"[,.?]\s", reply)]
    for payloads in read_reply(reply).used:
        fact = (payloads[0].name, payloads[0].value)
        mine = {clause for clause in clauses if payloads[0].value.lower() in clause}
        if fact in before:
            total.n_used += 1
            total.n_copied += bool(mine & before[fact])
        before.setdefault(fact, set()).update(mine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--personas", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    fewest = count_all()
    for wording in WORDINGS:  # indexes are built before anything is timed
        converse(fresh_person(10**6), wording, 0, Sum())
    totals = {wording: Sum() for wording in WORDINGS}
    for number in range(options.personas):
        for wording in WORDINGS:
            converse(fresh_person(options.seed * 1000 + number), wording, number * 100, totals[wording])
    mean = {wording: sum(t.scores) / len(t.scores) for wording, t in totals.items()}
    for wording, t in totals.items():
        print(
            f"{wording:<7} AL {mean[wording]:.2f}  natural {sum(t.natural) / len(t.natural):.2f}  words "
            f"{sum(t.n_words) / len(t.n_words):.0f}  copied {t.n_copied / t.n_used:.2f} of {t.n_used}  "
            f"{1e3 * t.seconds / t.n_calls:.3f} CPU-ms a call"
        )
    listed, wide = (totals[wording] for wording in WORDINGS)
    names = {"uses": "clauses", "follows": "sentences", "fits": "manners"}
    figures = {f"fewest_{names.get(kind, kind)}": fewest[kind] for kind in (*names, "said", "hinted", "shown")}
    rates = {
        "al_gap": mean["wide"] - mean["listed"],
        "natural_wide": sum(wide.natural) / len(wide.natural),
        "cost_ratio": (wide.seconds / wide.n_calls) / (listed.seconds / listed.n_calls),
        "copied_listed": listed.n_copied / listed.n_used,
        "copied_wide": wide.n_copied / wide.n_used,
    }
    print(json.dumps({"benchmark": "wording", "figures": {**figures, **{k: round(v, 3) for k, v in rates.items()}}}))


if __name__ == "__main__":
    main()
