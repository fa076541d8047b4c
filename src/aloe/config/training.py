"""Options of the training methods: what all share, what SFT and DPO share, and reinforcement learning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from aloe.config.secrets import check_address, check_variable
from aloe.config.section import Names, Section


class ModelTraining(Section):
    """What all training methods share: the optimiser, packing, number formats, adapters."""

    learning_rate: float = Field(default=1e-5, gt=0, description="highest learning rate (AdamW)")
    warmup_steps: int = Field(
        default=10, ge=0, description="steps over which the learning rate rises to its highest value"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="of AdamW; applied to matrices only")
    packing: Literal["auto", "segments", "flex", "dense", "rows"] = Field(
        default="auto",
        description="how trees are packed (docs/training.md); rows = each reply with its history as a separate row",
    )
    token_budget: int = Field(
        default=8192, ge=1, description="tokens per forward pass; a longer conversation gets a pass of its own"
    )
    pass_gb: float = Field(
        default=2.0,
        gt=0,
        description="CPU: fewer tokens per pass than token_budget, if a pass would otherwise take more GB",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="number format of the weights; auto = bfloat16 for frozen weights on a GPU, else float32",
    )
    compute_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="number format of matrix products; trained weights stay as 'dtype' says. auto = bfloat16 on a GPU "
        "and, for models of hidden size 512 and more, on a CPU with AMX or AVX512-BF16; else float32",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="compute activations again in the backward pass to save memory"
    )
    processes: int = Field(
        default=1,
        ge=1,
        description="processes of this machine that share each step, each with all weights (GPU: one for each)",
    )
    freeze_embeddings: bool = Field(
        default=False,
        description="do not train token embeddings (nor a head tied to them), so that unseen tokens are not unlearned",
    )
    lora_rank: int = Field(default=0, ge=0, description="0 = train all weights")
    lora_alpha: int = Field(default=0, ge=0, description="0 = twice the rank")
    lora_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="dropout of the trained adapter, in DPO too; at 0, packs equal rows"
    )
    lora_targets: Names = Field(default=("all-linear",), description="modules that get an adapter")


class TrainingSection(ModelTraining):
    """What SFT and DPO share: passes over a data set, evaluation on a part of it, records."""

    epochs: float = Field(default=1.0, gt=0, description="passes over the data")
    max_steps: int = Field(default=0, ge=0, description="optimiser steps; 0 = as many as 'epochs' take")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="cosine", description="course of the learning rate after the warm-up"
    )
    max_length: int = Field(
        default=0, ge=0, description="most tokens of a history with its reply; 0 = the model's context length"
    )
    too_long: Literal["cut", "drop"] = Field(
        default="cut", description="beyond max_length, cut the oldest turns or drop the row"
    )
    eval_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the profiles (if unknown: personas or conversations) held out for evaluation; 0 = none",
    )
    eval_steps: int = Field(default=50, ge=1, description="steps between evaluations")
    patience: int = Field(
        default=0, ge=0, description="stop after this many evaluations without improvement; 0 = never"
    )
    checkpoint_steps: int = Field(default=50, ge=1, description="steps between resumable checkpoints")
    report_to: Names = Field(default=(), description="wandb, trackio, tensorboard; metrics.jsonl is always written")


class RLConfig(ModelTraining):
    """Stage ``rl``: reinforcement learning against the simulated user, with credit by turn."""

    iterations: int = Field(
        default=0, ge=0, description="rounds of conversations and updates; 0 = no reinforcement learning"
    )
    start: Literal["sft", "dpo"] = Field(default="sft", description="checkpoint of the run that it starts from")
    learning_rate: float = Field(default=1e-5, gt=0, description="highest learning rate (AdamW)")
    schedule: Literal["constant", "linear"] = Field(
        default="constant",
        description="course of the learning rate after the warm-up; linear = down to 0 by the share of iterations or "
        "max_tokens that is used up",
    )
    warmup_steps: int = Field(
        default=5, ge=0, description="steps over which the learning rate rises to its highest value"
    )
    conversations: int = Field(default=32, ge=1, description="conversations per iteration, each with another persona")
    siblings: int = Field(default=4, ge=2, description="replies drawn to one message, each other's baseline")
    n_turns: int = Field(default=0, ge=0, description="turns of a conversation; 0 = trees.n_turns")
    temperature: float = Field(
        default=1.0, gt=0, description="sampling temperature; the policy that is trained has it too"
    )
    max_new_tokens: int = Field(
        default=96, ge=1, description="most tokens of a reply, and the constant of 'normaliser'"
    )
    credit: Literal["turn", "return"] = Field(
        default="turn",
        description="turn = a reply's own reward; return = the rewards until 'horizon' of its continuation",
    )
    forks: int = Field(
        default=1,
        ge=0,
        description="credit return: turns of a conversation, drawn, at which siblings continue; 0 = the first turn, so "
        "that siblings are whole conversations",
    )
    horizon: int = Field(
        default=0, ge=0, description="credit return: turns that count, the reply's own included; 0 = to the end"
    )
    discount: float = Field(default=1.0, ge=0, le=1, description="credit return: weight of a reward by turns ahead")
    continuations: bool = Field(
        default=True,
        description="credit return with at most one fork, no horizon and rloo: also train on the replies that "
        "continue the siblings, each against those of the same turn in the other continuations",
    )
    estimator: Literal["rloo", "grpo", "grpo-no-std"] = Field(
        default="rloo",
        description="advantage: against the mean of the other siblings (rloo) or of all, divided by their standard "
        "deviation (grpo) or not",
    )
    ratio: Literal["token", "sequence", "geometric"] = Field(
        default="token",
        description="probability ratio that is clipped: per token, of the whole reply, or its geometric mean",
    )
    clip: float = Field(default=0.2, gt=0, description="PPO: how far the ratio may fall below 1")
    clip_high: float = Field(default=0.0, ge=0, description="PPO: how far the ratio may rise above 1; 0 = as 'clip'")
    minibatches: int = Field(default=1, ge=1, description="optimiser steps per pass over an iteration's conversations")
    passes: int = Field(default=1, ge=1, description="passes over an iteration's conversations")
    normaliser: Literal["constant", "reply", "batch"] = Field(
        default="constant",
        description="a reply's loss is divided by max_new_tokens, its length, or the batch's mean length",
    )
    kl: float = Field(
        default=0.0, ge=0, description="weight of the KL divergence from the starting model (k3 estimator)"
    )
    kl_in: Literal["loss", "reward"] = Field(default="loss", description="where the divergence is subtracted")
    max_grad_norm: float = Field(default=1.0, gt=0, description="longest gradient; longer ones are shortened")
    rewards: Names = Field(
        default=("judge",),
        description="what is rewarded, as NAME or NAME=WEIGHT: judge, truth, belief, profile, brevity, repetition, "
        "or a plug-in's",
    )
    shuffle: bool = Field(default=False, description="control: rewards are shuffled among the replies to one message")
    eval_every: int = Field(default=10, ge=1, description="iterations between evaluations on held-out personas")
    eval_personas: int = Field(
        default=24, ge=0, description="training personas held out, with their profiles; 0 = no evaluation"
    )
    eval_temperature: float = Field(default=0.7, ge=0, description="sampling temperature of evaluations")
    checkpoint_every: int = Field(default=5, ge=1, description="iterations between resumable states")
    max_tokens: int = Field(default=0, ge=0, description="stop after this many generated tokens; 0 = no limit")
    max_minutes: float = Field(default=0.0, ge=0, description="stop after this many minutes; 0 = no limit")
    replay: bool = Field(
        default=False,
        description="keep every reply with its rewards, in folder 'replay' of the checkpoint: rollouts.jsonl, and "
        "dpo.jsonl and sft.jsonl of the best and worst siblings",
    )
    server: str | None = Field(
        default=None,
        description="address of an OpenAI-compatible server that draws the replies (vLLM; ends in /v1) and is given "
        "the new weights after every iteration; None = the training process draws them itself",
    )
    server_model: str = Field(
        default="", description="the policy's name at 'server'; empty = the only one that it lists"
    )
    server_key_env: str | None = Field(
        default=None, description="name of the environment variable with the key of 'server'"
    )
    server_calls: int = Field(default=64, ge=1, description="most calls to 'server' in flight at the same time")
    weights_dir: str = Field(
        default="",
        description="folder for the weights that 'server' is to load; empty = 'served' beside the resumable states",
    )
    weights_command: str = Field(
        default="",
        description="command that makes 'server' load them, run without a shell; {path} and {iteration} are filled in",
    )
    importance_cap: float = Field(
        default=2.0,
        gt=0,
        description="largest weight by which a token drawn at 'server' counts: its probability under the trained "
        "model over the one that the server gives",
    )
    max_mismatch: float = Field(
        default=0.5, gt=0, description="stop where the two differ by more than this, in nats per token on average"
    )

    @field_validator("server", "server_key_env")
    @classmethod
    def _holds_no_secret(cls, value: str | None, info: ValidationInfo) -> str | None:
        check = check_address if info.field_name == "server" else check_variable
        wrong = check(value) if value is not None else None
        if wrong is not None:
            raise PydanticCustomError("secret", "{wrong}", {"wrong": wrong})
        return value

    @property
    def trains_continuations(self) -> bool:
        """Whether the replies that continue siblings are trained on too."""
        whole = self.credit == "return" and self.forks <= 1 and self.horizon == 0 and self.estimator == "rloo"
        return whole and self.continuations

    @model_validator(mode="after")
    def _credit_fits(self) -> RLConfig:
        if self.server is None and (self.weights_command or self.weights_dir):
            raise ValueError("weights_command and weights_dir are for a server that draws the replies; set server")
        if self.credit == "turn" and (self.horizon > 1 or self.forks > 1):
            raise ValueError("forks and horizon are of credit 'return'; with 'turn' every turn has siblings")
        if self.credit == "return" and not self.forks and not self.trains_continuations:
            raise ValueError("forks = 0 needs continuations, horizon 0 and rloo: else only the first turn is trained")
        return self
