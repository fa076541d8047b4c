# What type checkers see of `import aloe`: the names of _HOMES in __init__.py, as tests/test_api.py checks.
from aloe.api.measuring import benchmark as benchmark
from aloe.api.measuring import measure as measure
from aloe.api.measuring import score_conversations as score_conversations
from aloe.api.personas import make_persona as make_persona
from aloe.api.personas import novel as novel
from aloe.api.personas import read_personas as read_personas
from aloe.api.simulator import UserSimulator as UserSimulator
from aloe.api.training import train_dpo as train_dpo
from aloe.api.training import train_sft as train_sft
from aloe.api.trees import GrownTrees as GrownTrees
from aloe.api.trees import grow_trees as grow_trees
from aloe.bench.stepping import StepInfo as StepInfo
from aloe.config import DPOConfig as DPOConfig
from aloe.config import ModelConfig as ModelConfig
from aloe.config import SFTConfig as SFTConfig
from aloe.errors import AloeError as AloeError
from aloe.protocols import ChatModel as ChatModel
from aloe.protocols import ChatRequest as ChatRequest
from aloe.protocols import Completion as Completion
from aloe.types import BenchmarkResult as BenchmarkResult
from aloe.types import Message as Message
from aloe.types import Persona as Persona
from aloe.types import PreferencePair as PreferencePair
from aloe.types import SFTExample as SFTExample

__version__: str
__all__: list[str]
