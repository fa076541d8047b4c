"""What is said to models and how their answers are read: a row of the catalog and a template per prompt."""

from aloe.prompts.catalog import CATALOG, Prompt
from aloe.prompts.render import PromptSet

__all__ = ["CATALOG", "Prompt", "PromptSet"]
