"""The way from a stage to a model: seeds, journal, limits, budget and retries in one place.

A call is named by its role and its content path in the run. From these its sampling seed and (with everything that
is sent) its journal key derive, so nothing depends on order or concurrency. A call that the journal holds is replayed
without touching the model; equal calls in flight are sent once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

import aiohttp
import orjson

from aloe.config import BudgetConfig, Config, ExecutionConfig, ModelConfig
from aloe.errors import AloeError, ConfigError, EndpointError, ParseError, nearest
from aloe.models.allowance import Allowance
from aloe.models.calls import Reply, RoleStats, alternatives_for, schema_for
from aloe.models.http.chat import OpenAIChatModel, sent_fields
from aloe.models.http.connection import allow_open_files, make_session
from aloe.models.http.limits import Host, Limiter
from aloe.models.http.retries import Route, cost_of, send
from aloe.models.journal.journal import FailedAttempt, Journal
from aloe.models.pricing import price_of, require_price
from aloe.models.quality import MEASURED
from aloe.models.rare_collections import RareCollections
from aloe.models.registry import create_model
from aloe.models.uri import is_in_process, portable
from aloe.prompts.catalog import CATALOG, Prompt
from aloe.prompts.faults import AGAIN, KINDS, QUOTING, kind_of
from aloe.prompts.render import PromptSet
from aloe.protocols import ChatModel, ChatRequest, Completion, PromptMessage
from aloe.seeding import derive_seed
from aloe.types import ActorRole, Generation

T = TypeVar("T")
Listener = Callable[[ModelConfig, str, tuple[PromptMessage, ...], Reply], None]  # model, path, messages, answer
LimiterName = tuple[str | None, str | None, str]  # address, variable of the key, model
_windows: dict[LimiterName, float] = {}  # concurrency that each endpoint bore last: the next stage begins with it
_SORTED = orjson.OPT_SORT_KEYS


@dataclass(slots=True)
class _Plan:
    """What all calls of one role, model and prompt have in common."""

    role: ActorRole
    prompt: str
    prompt_hash: str
    config: ModelConfig
    route: Route
    sampling: dict[str, Any]
    fixed: dict[str, Any]  # of the key: model, revision, role and sampling
    row: int
    stats: RoleStats
    response_format: dict[str, Any] | None = field(default=None)
    logprobs: int | None = None
    former: dict[str, Any] | None = None  # ``fixed`` as earlier versions had it, where it is another


def request_key(
    fixed: Mapping[str, Any], path: str, sample: int, seed: int | None, messages: Sequence[PromptMessage]
) -> bytes:
    """16 bytes over canonical JSON of everything that is sent, the model, the role and the place in the run."""
    body = {
        **fixed,
        "path": path,
        "sample": sample,
        "seed": seed,
        "messages": [(m.role, m.content) for m in messages],
    }
    return blake2b(orjson.dumps(body, option=_SORTED), digest_size=16).digest()


class Caller:
    """Roles to models. Use :meth:`open`; close with :meth:`aclose`.

    Attributes:
        prompts: what it asks with. stats: what each role's calls came to.
        listener: told of every answer, replayed ones included. watch: told of a role's counters after every answer
            that was asked for; what it raises ends the call.
    """

    def __init__(
        self,
        journal: Journal,
        prompts: PromptSet,
        seed: int,
        models: Mapping[str, Sequence[ModelConfig]],
        budget: BudgetConfig | None = None,
        execution: ExecutionConfig | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self.stats: dict[str, RoleStats] = {}
        self.listener: Listener | None = None
        self.watch: Callable[[str, RoleStats], None] | None = None
        self.journal = journal
        self.prompts = prompts
        self._seed = seed
        self.models = models
        self._replicas = (execution or ExecutionConfig()).replicas
        self._patience = 60 * (execution or ExecutionConfig()).outage_minutes
        self._hosts: dict[str | None, Host] = {}  # by address
        self._limits = budget or BudgetConfig()
        self._allowance = allowance or Allowance()
        self.budget = self._allowance.budget(self._limits, journal)
        self._limiters: dict[LimiterName, Limiter] = {}
        self._flying: dict[bytes, list[asyncio.Future[Reply | None]]] = {}
        self._plans: dict[tuple[str, str, int], _Plan] = {}
        self._made: dict[str, ChatModel] = {}
        self._session: aiohttp.ClientSession | None = None
        self._collections = RareCollections()

    @classmethod
    def open(
        cls,
        config: Config,
        journal: Path | Journal | None,
        *,
        seed: int,
        prompts: PromptSet | None = None,
        models: Mapping[str, Sequence[ModelConfig]] | None = None,
        allowance: Allowance | None = None,
    ) -> Caller:
        """Open the journal (None: in memory) and prepare the roles.

        Args:
            journal: its path, or one that is open already and is closed with the caller.
            seed: the run's seed.
            prompts: where several callers share them; default: those of ``config.prompts_dir``.
            models: role -> weighted models; default ``config.roles``.
            allowance: what may be used of the limits; default: all.

        Raises:
            DataError: the journal is in use or not readable.
            ConfigError: a prompt that is not usable, or a money budget with a model whose price is unknown.
        """
        prompts = (prompts or PromptSet(config.prompts_dir, config.prompt_set)).check()
        if models is None:
            models = {name: getattr(config.roles, name) for name in type(config.roles).model_fields}
        for role in models.values() if config.budget.usd is not None else ():
            for model in role:
                require_price(model)
        if not isinstance(journal, Journal):
            journal = Journal.open(journal)
        return cls(journal, prompts, seed, models, config.budget, config.execution, allowance)

    async def call(
        self,
        role: str,
        path: str,
        prompt: str,
        messages: tuple[PromptMessage, ...],
        *,
        sample: int = 0,
        turn: int = 0,
        model: ModelConfig | None = None,
    ) -> Reply:
        """One answer to messages that are rendered already.

        Args:
            path: content path in the run; part of the key and of the sampling seed.
            prompt: the prompt's name, for provenance and what the catalog says of its answers.
            sample: index among answers to the same request.
            turn: scheduling priority, deepest first.
            model: instead of the role's.

        Raises:
            EndpointError: the call failed for good.
            EndpointStopped: no call gets through to the endpoint.
            BudgetExceeded: it might have passed the budget; nothing was sent.
        """
        return await self._call(self._plan(role, path, prompt, model), path, messages, sample, turn)

    async def ask(
        self,
        prompt: Prompt[T],
        path: str,
        *,
        role: ActorRole | None = None,
        history: Sequence[PromptMessage] = (),
        sample: int = 0,
        turn: int = 0,
        model: ModelConfig | None = None,
        **variables: Any,
    ) -> tuple[T | None, Reply]:
        """Render a prompt, send it, read the answer: all as the prompt's row in the catalog says.

        An answer that can't be read is asked for once more with the reason; then its value is None.

        Args:
            path: as in :meth:`call`, like ``sample``, ``turn`` and ``model``.
            role: instead of the row's.
            history: the conversation so far, for prompts that take it as messages.
            variables: the prompt's own, see ``PromptSet.render``.

        Raises:
            EndpointError, BudgetExceeded: as in :meth:`call`.
        """
        messages = self.prompts.render(prompt.name, history, **variables)
        plan = self._plan(role or prompt.role, path, prompt.name, model)
        reply = await self._call(plan, path, messages, sample, turn)
        if reply.nothing:  # the same request was repeated already; a complaint would change the question
            return self._nothing(plan, reply)
        try:
            return self._took(plan, prompt.read(reply.text, history), reply)
        except ParseError as error:
            plan.stats.n_again += 1
            reason = f"That could not be read: {error.message}. {AGAIN}"
            answer = PromptMessage("assistant", (reply.text or "(empty)",))
            again = (*messages, answer, PromptMessage("user", (reason,)))
        reply = await self._call(plan, f"{path}/again", again, sample, turn)
        if reply.nothing:
            return self._nothing(plan, reply)
        try:
            if AGAIN in reply.text:
                raise ParseError("the complaint said back", kind=QUOTING)
            return self._took(plan, prompt.read(reply.text, history), reply)
        except ParseError as error:
            return self._took(plan, None, reply, error.kind or kind_of(reply.text, reply.finish_reason))

    def _took(self, plan: _Plan, value: T | None, reply: Reply, fault: str = "") -> tuple[T | None, Reply]:
        """The final answer, counted; ``fault``: of which kind one is that can't be used."""
        plan.stats.count(fault, reply.finish_reason == "length")
        if self.watch is not None:
            self.watch(plan.role, plan.stats)
        return value, reply

    def _nothing(self, plan: _Plan, reply: Reply) -> tuple[None, Reply]:
        """No attempt brought any text: so it is with the model under test, for any other role the call has failed."""
        self._took(plan, None, reply, reply.nothing)
        if plan.role in MEASURED:
            return None, reply
        plan.stats.n_failed += 1
        raise EndpointError(
            f"{plan.route.model.name} gave no text in {plan.config.max_attempts} attempts: {KINDS[reply.nothing]}",
            "the next run asks again",
            status=200,
        )

    async def _call(self, plan: _Plan, path: str, messages: tuple[PromptMessage, ...], sample: int, turn: int) -> Reply:
        reply = await self._answer(plan, path, messages, sample, turn)
        if self.listener is not None:
            self.listener(plan.config, path, messages, reply)
        return reply

    async def _answer(
        self, plan: _Plan, path: str, messages: tuple[PromptMessage, ...], sample: int, turn: int
    ) -> Reply:
        seed = derive_seed(self._seed, path, sample) if plan.config.send_seed else None
        key = request_key(plan.fixed, path, sample, seed, messages)
        if plan.former is not None and key not in self.journal.keys:
            before = request_key(plan.former, path, sample, seed, messages)
            key = before if before in self.journal.keys else key
        while True:
            row = self.journal.keys.get(key)
            stored = self.journal.read(row) if row is not None else None
            if stored is not None:
                plan.stats.n_replayed += 1
                return self._reply(plan, key, stored.completion, stored.cost)
            waiting = self._flying.get(key)
            if waiting is None:
                break
            future: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
            waiting.append(future)
            reply = await future
            if reply is not None:  # else the one that had sent it was cancelled: send it ourselves
                return reply
        followers = self._flying[key] = []
        try:
            reply = await self._send(plan, key, (path, sample, seed), messages, turn)
        except BaseException as error:
            del self._flying[key]
            if isinstance(error, AloeError):
                plan.stats.n_failed += 1
            _settle(followers, error)
            raise
        del self._flying[key]
        for follower in followers:
            if not follower.done():
                follower.set_result(reply)
        return reply

    async def _send(
        self,
        plan: _Plan,
        key: bytes,
        place: tuple[str, int, int | None],
        messages: tuple[PromptMessage, ...],
        turn: int,
    ) -> Reply:
        config = plan.config
        request = ChatRequest(
            messages, config.temperature, config.top_p, config.max_tokens, place[2], config.stop,
            None, plan.response_format, plan.logprobs, config.extra,
        )  # fmt: skip
        route = plan.route
        if route.is_direct:
            started = time.perf_counter()
            completion = await route.model.complete(request)
            tries, ms = 1, int(1000 * (time.perf_counter() - started))
        else:

            def record(failed: FailedAttempt) -> None:
                plan.stats.count_nothing(failed.kind)
                self.journal.note_attempt(key, plan.row, place[0], failed)

            completion, tries, ms = await send(route, request, turn, (self._seed, key), record)
        cost = cost_of(route.price, completion.usage)
        if not completion.nothing:  # else there is no answer to keep, and the attempts are on record
            await self.journal.append(key, plan.row, place, messages, completion, (cost, ms, tries))
        return self._reply(plan, key, completion, cost)

    def _reply(self, plan: _Plan, key: bytes, completion: Completion, cost: float | None) -> Reply:
        usage = completion.usage
        stats = plan.stats
        stats.n_calls += 1
        stats.prompt_tokens += usage.prompt_tokens
        stats.completion_tokens += usage.completion_tokens
        stats.cached_tokens += usage.cached_tokens
        stats.cost = None if cost is None or stats.cost is None else stats.cost + cost
        generation = Generation.model_construct(
            model=plan.route.model.name,
            role=plan.role,
            prompt_name=plan.prompt,
            prompt_hash=plan.prompt_hash,
            sampling=plan.sampling,
            usage=usage,
            cost=cost,
            finish_reason=completion.finish_reason,
            call_key=key.hex(),
        )
        return Reply(
            completion.text, generation, completion.finish_reason, completion.logprobs, completion.reasoning,
            completion.nothing,
        )  # fmt: skip

    def _plan(self, role: str, path: str, prompt: str, model: ModelConfig | None) -> _Plan:
        config = model if model is not None else self._pick(role, path)
        found = self._plans.get((role, prompt, id(config)))
        if found is None:
            found = self._plans[role, prompt, id(config)] = self._make_plan(role, prompt, config)
        return found

    def _pick(self, role: str, path: str) -> ModelConfig:
        """The role's model; among several a weighted pick that depends on (seed, role, path) only."""
        models = self.models.get(role)
        if not models:
            raise ConfigError(f"no model for role '{role}'{nearest(role, self.models)}", f"set roles.{role}")
        if len(models) == 1:
            return models[0]
        point = derive_seed(self._seed, "pick", role, path) / 2**31 * sum(m.weight for m in models)
        for model in models:
            point -= model.weight
            if point < 0:
                return model
        return models[-1]

    def _make_plan(self, role: str, prompt: str, config: ModelConfig) -> _Plan:
        route = self._route(config)
        model = route.model
        known = CATALOG.get(prompt)
        schema = schema_for(config, known, self.prompts.version) if known else None
        logprobs = alternatives_for(config, known, self.prompts.version) if known else None
        sampling = sent_fields(
            ChatRequest(
                (), config.temperature, config.top_p, config.max_tokens, None, config.stop,
                response_format=schema, logprobs=logprobs, extra=config.extra,
            )
        )  # fmt: skip
        fixed = {"model": model.name, "revision": model.revision, "role": role, "sampling": sampling}
        prompt_hash = self.prompts.hashes.get(prompt, "")
        row = self.journal.plan_id({**fixed, "prompt": prompt, "prompt_hash": prompt_hash})
        stats = self.stats_of(role)
        former = {**fixed, "model": config.uri} if portable(config.uri) != config.uri else None
        said = (cast(ActorRole, role), prompt, prompt_hash)
        return _Plan(*said, config, route, sampling, fixed, row, stats, schema, logprobs, former)

    def stats_of(self, role: str) -> RoleStats:
        """The counters of a role, begun where there are none yet."""
        return self.stats.setdefault(role, RoleStats())

    def _model(self, config: ModelConfig) -> ChatModel:
        """One model object per content of config; a checkpoint's weights are held once, however roles sample it."""
        here = is_in_process(config) and config.uri.startswith("hf:")
        name = config.model_dump_json(include={"uri", "dtype"} if here else None)
        if name not in self._made:
            self._made[name] = create_model(config, self._shared_session, self._replicas)
        return self._made[name]

    def _route(self, config: ModelConfig) -> Route:
        """Model, limits, budget and price of ``config``; limits are shared by (address, key, model)."""
        if self._limits.usd is not None:
            require_price(config)
        model = self._model(config)
        limiter = None
        if not is_in_process(config):
            name = (config.base_url, config.api_key_env, config.uri)
            limiter = self._limiters.get(name)
            if limiter is None:
                where = f"{config.uri} at {config.base_url}" if config.base_url else config.uri
                host = self._hosts.setdefault(config.base_url, Host())
                limiter = self._limiters[name] = self._allowance.limiter(
                    config, where, self._patience, _windows.get(name), host
                )
            allow_open_files(2 * config.max_concurrency + 256)
            most = self._allowance.concurrency(config.max_concurrency)
            limiter.max_concurrency = max(limiter.max_concurrency, most)
            if isinstance(model, OpenAIChatModel) and model.learn is None:
                model.observe = limiter.observe
                where = f"{model.name} at {model.endpoint.host}"
                model.refused |= self.journal.learnt(where)
                model.learn = partial(self.journal.learn, where)
        return Route(model, limiter, self.budget, price_of(config), config.max_attempts, self._patience)

    def _shared_session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = make_session()
        return self._session

    async def aclose(self) -> None:
        """Commit what is queued; close the journal, the models and their connections."""
        self._collections.end()
        _windows.update((name, limiter.window) for name, limiter in self._limiters.items())
        try:
            self.journal.close()
        finally:
            for model in self._made.values():
                await model.aclose()
            if self._session is not None:
                await self._session.close()


def _settle(followers: list[asyncio.Future[Reply | None]], error: BaseException) -> None:
    """Tell those who wait for the same call: our failure is theirs too, our cancellation is not."""
    for follower in followers:
        if follower.done():
            continue
        if isinstance(error, Exception):
            follower.set_exception(error)
        else:
            follower.set_result(None)
