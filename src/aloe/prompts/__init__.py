"""The prompts: a row of the catalog and a template for each, and the parsers of the answers."""

from aloe.prompts.catalog import CATALOG, Prompt
from aloe.prompts.render import PromptSet

__all__ = ["CATALOG", "Prompt", "PromptSet"]
