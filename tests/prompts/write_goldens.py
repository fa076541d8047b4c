"""Write the golden files of the prompts anew: ``python tests/prompts/write_goldens.py``; say why in the commit."""

from __future__ import annotations

from pathlib import Path

from aloe.prompts import PromptSet
from aloe.prompts.catalog import CATALOG
from aloe.prompts.render import packaged_source
from aloe.protocols import PromptMessage
from aloe.types import Message, Persona


def rendered_text(prompts: PromptSet, name: str) -> str:
    """Prompt ``name`` with fixed values, as the golden files hold it."""
    values = {
        "examples": ["One.", "Two."],
        "kind": "profile",
        "n": 20,
        "words": 50,
        "population": "",
        "persona": Persona(
            persona_id="p", profile="A profile.", personality="A personality.", profile_id="", personality_id=""
        ),
        "last": "Last words.",
        "conversation": [Message(role="user", content="Hello.")],
        "revealed": [],
        "first": "One.",
        "second": "Two.",
        "reply": "Only.",
        "draft": "A draft.",
        "scope": "revealed",
        "release": 2,
        "goal": "what should I cook tonight?",
        "cards": ["She keeps bees."],
        "task": "",
        "session": 2,
        "memory": "fact: She keeps bees.",
        "limit": 256,
    }
    own = {k: v for k, v in values.items() if k in CATALOG[name].given}
    messages = prompts.render(name, history=(PromptMessage("user", ("[history]",)),), **own)
    return "\n".join(f"--- {m.role}\n{m.content}" for m in messages) + "\n"


def golden_of(name: str, version: str) -> Path:
    """Where the golden file of a prompt's version is; a prompt that a version does not change has the first one's."""
    folder = Path(__file__).parent / "golden"
    own = folder / f"v{version}" / f"{name}.txt"
    return own if packaged_source(name, version) != packaged_source(name) else folder / f"{name}.txt"


if __name__ == "__main__":
    for version in ("1", "2"):
        prompts = PromptSet(version=version)
        for name in CATALOG:
            file = golden_of(name, version)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(rendered_text(prompts, name), "utf-8")
