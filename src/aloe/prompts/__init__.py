"""What is said to models and how their answers are read: one template per role, parsers beside them."""

from aloe.prompts.render import PromptSet
from aloe.prompts.sections import Slots

__all__ = ["PromptSet", "Slots"]
