"""aloe: interact to align.

Over a conversation a model infers a user's unspoken preferences from what the user says and how, and
tailors what it says next. This package builds personas, preference trees, trained models and the ALOE
benchmark (Wu et al., "Aligning LLMs with Individual Preferences via Interaction", arXiv 2410.03642).

Importing it is cheap: no torch.
"""

__version__ = "0.1.0"
