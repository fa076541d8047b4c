"""Every option of aloe, declared once as a field; the command line's help is made from the descriptions.

Secrets and headers are only ever *names* of environment variables. Read and written by ``config``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from aloe.config.secrets import HINT, check_address, check_variable, find_secret
from aloe.config.section import Names, Section
from aloe.config.training import RLConfig, TrainingSection


class ModelConfig(Section):
    """A model for a role. A plain string in a recipe means ``{uri = ...}``."""

    uri: str = Field(description="world:ACTOR, openai:MODEL, hf:PATH_OR_ID, or a plug-in's scheme")
    base_url: str | None = Field(
        default=None,
        description="address of an OpenAI-compatible server (ends in /v1); None = $OPENAI_BASE_URL for openai: models, "
        "or OpenAI's own address where it is not set",
    )
    api_key_env: str | None = Field(
        default=None,
        description="name of the environment variable that holds the key; None = OPENAI_API_KEY at OpenAI's own "
        "address and at $OPENAI_BASE_URL, no key elsewhere",
    )
    headers_env: dict[str, str] = Field(default_factory=dict, description="header -> name of environment variable")
    temperature: float | None = Field(default=None, ge=0, description="None = the endpoint's own default")
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="nucleus sampling; None = the endpoint's own default"
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="most tokens of an answer; None = the server's default"
    )
    stop: tuple[str, ...] = Field(default=(), description="texts at which an answer ends")
    send_seed: bool = Field(default=True, description="send a sampling seed derived from (run seed, place in the run)")
    structured: bool | Literal["auto"] = Field(
        default=False,
        description="ask for JSON-schema output where a role has a schema; a server that refuses it is asked without; "
        "auto = of models behind an address, and of hf: models where llguidance is installed (extra 'train')",
    )
    logprobs: bool = Field(
        default=True,
        description="use log-probabilities for the judge's expected score: of openai: models, if the endpoint returns "
        "them, and with prompts of version 2 of hf: models",
    )
    extra: dict[str, Any] = Field(
        default_factory=dict, description="provider-specific fields of the request, sent unchanged"
    )
    max_concurrency: int = Field(default=64, ge=1, description="most calls in flight at the same time")
    requests_per_minute: float | None = Field(default=None, gt=0, description="most requests per minute")
    tokens_per_minute: float | None = Field(default=None, gt=0, description="most tokens per minute, prompts included")
    timeout_seconds: float = Field(default=120.0, gt=0, description="longest time to wait for an answer")
    max_attempts: int = Field(default=6, ge=1, description="attempts per call, including the first")
    price_prompt: float | None = Field(default=None, ge=0, description="USD per million prompt tokens")
    price_completion: float | None = Field(default=None, ge=0, description="USD per million completion tokens")
    price_cached: float | None = Field(default=None, ge=0, description="USD per million cached prompt tokens")
    batch_size: int = Field(default=32, ge=1, description="hf: prompts generated together")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="hf: number format of the weights; auto = as saved on a GPU, bfloat16 on a CPU with AMX or "
        "AVX512-BF16 for models of hidden size 512 and more, else float32",
    )
    weight: float = Field(default=1.0, gt=0, description="relative share of the calls, if a role has several models")

    @field_validator("base_url", "api_key_env", "headers_env", "extra")
    @classmethod
    def _holds_no_secret(cls, value: Any, info: ValidationInfo) -> Any:
        wrong = None
        if info.field_name == "base_url" and value is not None:
            wrong = check_address(value)
        elif info.field_name == "api_key_env" and value is not None:
            wrong = check_variable(value)
        elif info.field_name == "headers_env":
            wrong = next(filter(None, map(check_variable, value.values())), None)
        elif info.field_name == "extra" and (name := find_secret(value)) is not None:
            wrong = f"'{name}' looks like a secret, which would be stored with the run; {HINT}"
        if wrong is not None:
            raise PydanticCustomError("secret", "{wrong}", {"wrong": wrong})
        return value


def _as_model(value: Any) -> Any:
    return {"uri": value} if isinstance(value, str) else value


def _as_models(value: Any) -> Any:
    items = value if isinstance(value, list | tuple) else [value]
    return [_as_model(item) for item in items]


Model = Annotated[ModelConfig, BeforeValidator(_as_model)]
Panel = Literal["pick", "mean", "majority"]
Models = Annotated[tuple[ModelConfig, ...], BeforeValidator(_as_models), Field(min_length=1)]


class RolesConfig(Section):
    """The model of each role, or several weighted models."""

    writer: Models = Field(
        default=(ModelConfig(uri="world:persona-writer"),), description="writes the descriptions of the persona pool"
    )
    user: Models = Field(default=(ModelConfig(uri="world:user"),), description="plays the persona")
    inducer: Models = Field(
        default=(ModelConfig(uri="world:inducer"),), description="infers what the user has revealed"
    )
    tailored: Models = Field(
        default=(ModelConfig(uri="world:tailored"),), description="replies, knowing what was revealed"
    )
    generic: Models = Field(
        default=(ModelConfig(uri="world:generic"),), description="replies, knowing nothing about the user"
    )
    judge: Models = Field(default=(ModelConfig(uri="world:judge"),), description="compares and scores replies")


class PersonasConfig(Section):
    """Stage ``personas``: the pool of descriptions and the personas made from it (section 3.1)."""

    seeds: str = Field(
        default="packaged", description="packaged, world, or a file or directory of your own (docs/personas.md)"
    )
    population: str = Field(default="", description="a sentence that describes the people to write about")
    language: str = Field(default="en", description="language of the descriptions")
    n_profiles: int = Field(default=331, ge=2, description="target size of the profile pool, including the benchmark's")
    n_personalities: int = Field(
        default=71, ge=2, description="target size of the personality pool, including the benchmark's"
    )
    n_personas: int = Field(default=3310, ge=1, description="training personas")
    n_bench_profiles: int = Field(default=20, ge=1, description="profiles held out for the benchmark")
    n_bench_personalities: int = Field(default=5, ge=1, description="personalities held out for the benchmark")
    n_bench: int = Field(default=100, ge=1, description="benchmark personas")
    profile_words: int = Field(
        default=50, ge=3, description="length of a profile to ask for; 0.4 to 2.5 times this is accepted"
    )
    personality_words: int = Field(default=65, ge=3, description="the same for personalities")
    embedder: str = Field(default="lexical", description="auto, lexical, world, st:NAME_OR_PATH, openai:MODEL")
    profile_threshold: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="highest cosine similarity to any member; None = the embedder's calibrated value",
    )
    personality_threshold: float | None = Field(default=None, gt=0, le=1, description="the same for personalities")
    n_examples: int = Field(default=5, ge=1, description="pool members shown per call")
    n_new: int = Field(default=20, ge=1, description="new descriptions to ask for per call")
    wave: int = Field(
        default=4, ge=1, description="calls per wave; new members are used as examples from the next wave on"
    )
    max_waves: int = Field(default=200, ge=1, description="stop after this many waves even if the pool is not full")
    min_acceptance: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="stop if fewer candidates than this share were accepted in the last saturation_window waves",
    )
    saturation_window: int = Field(default=5, ge=1, description="waves over which min_acceptance is measured")
    file: str | None = Field(default=None, description="use this persona file instead of growing a pool")
    bench_file: str | None = Field(default=None, description="benchmark personas: 'packaged' or a file")


class TreesConfig(Section):
    """Stage ``trees``: preference trees by several collaborating models (section 3.2)."""

    n_trees: int = Field(default=0, ge=0, description="number of trees; 0 = one per training persona and replicate")
    replicates: int = Field(default=1, ge=1, description="trees per persona")
    n_turns: int = Field(default=10, ge=1, description="turns of a conversation, or of each of its sessions")
    sessions: int = Field(default=1, ge=1, description="sessions of a conversation: the user comes back to it later")
    drift: int = Field(default=0, ge=0, description="changes of facts and traits in a conversation (docs/sessions.md)")
    policy: str = Field(
        default="path",
        pattern=r"^(path|both:\d+|budget:\d+|chance:(0|1|0?\.\d+|1\.0+)(,(0|1|0?\.\d+|1\.0+))*)$",
        description="path, both:D, budget:N or chance:P,Q,... (by turn; see docs/trees.md)",
    )
    p_preferred: float = Field(
        default=0.5, ge=0, le=1, description="path: probability that the preferred reply continues"
    )
    orders: Literal[1, 2] = Field(
        default=1, description="compare once, in an order drawn from the seed, or in both orders"
    )
    scope: Literal["persona", "revealed"] = Field(default="persona", description="what the judge rewards")
    label: Literal["compare", "score"] = Field(
        default="compare", description="label by comparing replies or by the difference of their scores"
    )
    min_margin: float = Field(
        default=0.0, ge=0, description="score labels: smallest difference that counts as a preference"
    )
    n_tailored: int = Field(default=1, ge=0, description="tailored candidates per turn")
    n_generic: int = Field(
        default=1, ge=0, description="generic candidates per turn; with more than two in all, best against worst"
    )
    release: int = Field(default=0, ge=0, description="facts per turn that the user may reveal; 0 = no limit")
    cards: int = Field(
        default=0,
        ge=0,
        description="deal the user a goal and this many new facts per turn; 0 = it is told the whole persona",
    )
    tasks: Names = Field(default=(), description="kinds of conversation, one drawn per tree: advice,planning,...")
    end_on_goodbye: bool = Field(default=True, description="end a branch when the user says goodbye")
    panel: Panel = Field(
        default="pick", description="several roles.judge: pick = one per call, mean or majority = all of them"
    )

    @model_validator(mode="after")
    def _needs_two_replies(self) -> TreesConfig:
        if self.n_tailored + self.n_generic < 2:
            raise ValueError(
                "n_tailored and n_generic together must be at least 2, otherwise there is nothing to compare"
            )
        return self


class ExportConfig(Section):
    """Stage ``export``: which labels become preference pairs."""

    labeler: str | None = Field(
        default=None, description="use the labels of this labeler; None = those made with the trees"
    )
    min_margin: float | None = Field(
        default=None, ge=0, description="smallest margin of a pair; None = trees.min_margin"
    )
    max_length_ratio: float = Field(
        default=0.0, ge=0, description="largest length of the longer reply over the shorter; 0 = any"
    )
    evidenced: bool = Field(default=False, description="only turns at which something was revealed")


class BenchConfig(Section):
    """Stage ``bench``: AL(k) over turns for each model, under one user and one judge (section 4)."""

    models: Models = Field(
        default=tuple(ModelConfig(uri=f"world:{name}") for name in ("generic", "oracle", "knows-all", "swapped")),
        description="models to benchmark, with or without a wrapper (docs/benchmark.md)",
    )
    n_turns: int = Field(default=10, ge=1, description="turns of a conversation, or of each of its sessions")
    sessions: int = Field(default=1, ge=1, description="sessions of a conversation: the user comes back to it later")
    drift: int = Field(default=0, ge=0, description="changes of facts and traits in a conversation (docs/sessions.md)")
    n_personas: int = Field(default=0, ge=0, description="0 = all benchmark personas")
    samples: int = Field(default=1, ge=1, description="conversations per persona")
    scope: Literal["persona", "revealed"] = Field(default="revealed", description="what the judge rewards")
    scale: Literal["1-5", "1-100", "binary"] = Field(default="1-5", description="scale of the judge's scores")
    cards: int = Field(
        default=0,
        ge=0,
        description="deal the user a goal and this many new facts per turn; 0 = it is told the whole persona",
    )
    gain: bool = Field(default=False, description="also judge every conversation for a swapped persona: personal gain")
    full: bool = Field(default=False, description="also judge in the other scope; includes gain")
    judge: Models | None = Field(default=None, description="judge of the benchmark only; None = roles.judge")
    user: Models | None = Field(default=None, description="user of the benchmark only; None = roles.user")
    personas: str | None = Field(
        default=None, description="'packaged' or a persona file; None = the run's benchmark personas"
    )
    n_bootstrap: int = Field(default=2000, ge=100, description="resamples for intervals")
    panel: Panel = Field(
        default="pick", description="several judges: pick = one per call, mean or majority = all of them"
    )

    @property
    def unset(self) -> set[str]:
        """Options that came after results had been made, where they are not set: no digest holds them."""
        usual = (("cards", 0), ("drift", 0), ("sessions", 1), ("panel", "pick"))
        return {name for name, value in usual if getattr(self, name) == value}

    @property
    def later_prompts(self) -> tuple[str, ...]:
        """Prompts that came after results had been made, which the user of these conversations is asked with."""
        return ("user_cards",) * bool(self.cards) + ("user_session",) * (self.sessions > 1)


class TransferConfig(Section):
    """Stage ``transfer``: a model for each of several users, tested on all of them (docs/users.md)."""

    users: Names = Field(
        default=(), description="dialects of the world's user to train on and test on; none = no such stage"
    )
    judges: Names = Field(
        default=tuple(f"world:judge?weighing={name}" for name in ("style", "content", "tact")),
        description="URIs of judges that score the replies; labels are made by roles.judge",
    )
    checkpoint: Literal["sft", "dpo"] = Field(default="dpo", description="which checkpoint of each model is tested")
    personas: int = Field(default=40, ge=1, description="benchmark personas")
    mixture: bool = Field(default=True, description="also train a model on all users, one drawn for each tree")
    shared_base: bool = Field(
        default=True, description="one base model that reads the words of all users, instead of one for each user"
    )


class TinyConfig(Section):
    """Stage ``base``: a tiny model trained from scratch in the world's language."""

    d_model: int = Field(default=96, ge=8, description="width of the tiny transformer")
    n_layers: int = Field(default=3, ge=1, description="layers")
    n_heads: int = Field(default=4, ge=1, description="attention heads; they divide d_model")
    d_ffn: int = Field(default=256, ge=8, description="width of the feed-forward layers")
    drift: int = Field(
        default=0, ge=0, description="changes in each conversation that it reads, and their words; 0 = as trees.drift"
    )
    learning_rate: float = Field(
        default=3e-3, gt=0, description="of embeddings and norms (AdamW); matrices use 10/3 of it (Muon)"
    )
    batch_size: int = Field(default=32, ge=1, description="documents per step")
    min_steps: int = Field(default=200, ge=1, description="do not stop before this step")
    max_steps: int = Field(default=3000, ge=1, description="stop here even if copy_gate was not reached")
    copy_gate: float = Field(
        default=0.95, ge=0, le=1, description="pre-training ends when stated facts are copied with this accuracy"
    )
    cooldown_steps: int = Field(
        default=100, ge=1, description="steps after copy_gate is reached, while the learning rate falls to a tenth"
    )
    checkpoint_seconds: float = Field(default=10.0, gt=0, description="seconds between resumable checkpoints")


class SFTConfig(TrainingSection):
    """Stage ``sft``: supervised fine-tuning on preferred replies (section 3.3), by TRL."""

    model: str | None = Field(
        default=None, description="path or id of the model to start from; None = the checkpoint of stage base"
    )
    batch_size: int = Field(
        default=48, ge=1, description="replies per optimiser step, about (conversations stay whole)"
    )
    history: Literal["answered", "preferred"] = Field(
        default="answered",
        description="answered = all preferred replies, each with the history that the user answered; preferred = only "
        "those on the longest history (rejected replies that continued stay in it; n_targets_lost counts the others)",
    )
    mix: str | None = Field(
        default=None, description="file of general chats ('messages') to mix in, against forgetting"
    )
    mix_share: float = Field(default=0.5, gt=0, lt=1, description="share of the replies that come from 'mix'")


class RolloutConfig(Section):
    """Stage ``rollout``: trees of the SFT checkpoint's own replies, for DPO."""

    n_trees: int = Field(
        default=240, ge=0, description="number of trees; 0 = none, DPO uses the pairs of stage 'trees'"
    )
    n_candidates: int = Field(default=6, ge=2, description="replies drawn per turn")
    temperature: float = Field(default=1.0, gt=0, description="sampling temperature of the replies")
    p_best: float = Field(
        default=0.7, ge=0, le=1, description="probability that the best reply continues; otherwise the worst does"
    )
    min_margin: float = Field(default=0.15, ge=0, description="smallest score difference of a pair")
    select: Literal["closest", "extreme"] = Field(
        default="closest", description="pair the best reply with the closest one below it, or with the worst"
    )


class DPOConfig(TrainingSection):
    """Stage ``dpo``: direct preference optimisation from the SFT checkpoint (section 3.3), by TRL."""

    batch_size: int = Field(default=48, ge=1, description="pairs per optimiser step, about (conversations stay whole)")
    beta: float = Field(default=0.1, gt=0, description="weight of the log-probability ratios in the loss")
    loss: Names = Field(
        default=("sigmoid",), description="TRL's losses that are means over pairs: sigmoid, ipo, robust, ..."
    )
    sft_weight: float = Field(default=1.0, ge=0, description="weight of the likelihood term on the chosen reply")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="assumed share of wrong labels; for the losses robust and exo_pair"
    )
    warmup_steps: int = Field(
        default=5, ge=0, description="steps over which the learning rate rises to its highest value"
    )
    siblings: Literal["all", "widest"] = Field(
        default="all", description="pair with all rejected replies of a turn, or only with the worst"
    )
    labeler: str | None = Field(default=None, description="use only pairs of this labeler")
    checkpoint_steps: int = Field(default=20, ge=1, description="steps between resumable checkpoints")
    control: bool = Field(
        default=True, description="also train 'sft-control': the same steps without the preference term"
    )


class BudgetConfig(Section):
    """Limits on what a run may spend; no call is sent that could exceed one."""

    usd: float | None = Field(default=None, gt=0, description="stop before more than this is spent")
    tokens: int | None = Field(default=None, gt=0, description="stop before more tokens than this are used")


class ExecutionConfig(Section):
    """How the work is done; nothing here changes a result."""

    concurrency: int = Field(
        default=64, ge=1, description="conversations in progress at the same time, in each process"
    )
    replicas: int = Field(
        default=1, ge=1, description="hf: processes that decode in parallel, each on its own GPU if there are several"
    )
    allow_degraded: bool = Field(
        default=False,
        description="continue although more than half of a role's answers are unusable (flag: --allow-degraded)",
    )
    outage_minutes: float = Field(
        default=5.0,
        gt=0,
        description="how long an endpoint may be down, or refuse for its rate, before the stage stops",
    )
    journal_dir: str | None = Field(
        default=None, description="put the journal here (if the run is on NFS or another network file system)"
    )

    executor: Literal["local", "processes", "ray"] = Field(
        default="local", description="what runs the shards of a stage: none (local), processes of this machine, Ray"
    )
    workers: int = Field(
        default=2, ge=1, description="shards at work at the same time, by processes or Ray (docs/scale.md)"
    )
    shards: int | None = Field(default=None, ge=1, description="shards of a stage; None = as many as workers")
    address: str | None = Field(default=None, description="of the Ray cluster; None = one is started on this machine")


class Config(Section):
    """A whole run."""

    seed: int = Field(default=0, ge=0, description="seed of every random choice")
    prompts_dir: str | None = Field(
        default=None, description="directory of your own prompt files, named like the packaged ones"
    )
    prompt_set: Annotated[Literal["1", "2"], BeforeValidator(str)] = Field(
        default="1", description="version of the packaged prompts; 2 = for models of every size (docs/trees.md)"
    )
    skip: Names = Field(default=(), description="stages to leave out of 'aloe run'")
    roles: RolesConfig = RolesConfig()
    personas: PersonasConfig = PersonasConfig()
    trees: TreesConfig = TreesConfig()
    export: ExportConfig = ExportConfig()
    base: TinyConfig = TinyConfig()
    sft: SFTConfig = SFTConfig()
    rollout: RolloutConfig = RolloutConfig()
    dpo: DPOConfig = DPOConfig()
    rl: RLConfig = RLConfig()
    bench: BenchConfig = BenchConfig()
    transfer: TransferConfig = TransferConfig()
    methods: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="settings of training methods that plug-ins bring: [methods.NAME]"
    )
    suites: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="benchmarks that plug-ins bring, run after 'bench': [suites.NAME]"
    )
    budget: BudgetConfig = BudgetConfig()
    execution: ExecutionConfig = ExecutionConfig()
