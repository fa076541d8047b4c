"""Write the golden files of the prompts anew: ``python tests/prompts/write_goldens.py``; say why in the commit."""

from __future__ import annotations

from pathlib import Path

from aloe.prompts import PromptSet
from aloe.prompts.catalog import CATALOG
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
        "task": "",
    }
    own = {k: v for k, v in values.items() if k in CATALOG[name].given}
    messages = prompts.render(name, history=(PromptMessage("user", ("[history]",)),), **own)
    return "\n".join(f"--- {m.role}\n{m.content}" for m in messages) + "\n"


if __name__ == "__main__":
    folder = Path(__file__).parent / "golden"
    folder.mkdir(exist_ok=True)
    prompts = PromptSet()
    for name in CATALOG:
        (folder / f"{name}.txt").write_text(rendered_text(prompts, name), "utf-8")
