"""Draws replies at an OpenAI-compatible server (vLLM and the like), which is given the new weights after every step.

Prompts go out as token ids, so that no second chat template has a say, and tokens come back with their ids and
log-probabilities; ``aloe.training.reinforce.loss.importance`` corrects for what the server's model differs in. Weights
are written to a folder as a checkpoint, and a command of the user's tells the server to load them.
"""

from __future__ import annotations

import asyncio
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from aloe.config import ModelConfig, RLConfig
from aloe.errors import ConfigError, EndpointError
from aloe.models.http.bodies import MAX_ANSWER, read_body
from aloe.models.http.connection import Endpoint, make_session
from aloe.models.http.retries import Tries, backoff
from aloe.models.local.batch import Codec
from aloe.models.local.checkpoint import save_checkpoint
from aloe.rl.sampler import Draw, Draws, Wanted
from aloe.seeding import derive_seed
from aloe.training.reinforce.together import gathered
from aloe.training.trl_run import processes

if TYPE_CHECKING:
    from aloe.training.reinforce.policy import Policy

COMMAND_SECONDS = 1800.0  # for a server to load new weights
PREFIX = "token_id:"  # how vLLM writes a token that it was asked to name by its number
#: Beyond temperature: a server's own defaults, as of a model's generation_config.json, would draw from something else.
PLAIN = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


def served_config(section: RLConfig) -> ModelConfig:
    """The server as aloe's clients take one."""
    return ModelConfig(
        uri=f"openai:{section.server_model or 'policy'}", base_url=section.server, api_key_env=section.server_key_env
    )


class ServedSampler:
    """Replies drawn at ``section.server``. See ``rl.sampler.Sampler``.

    Args:
        work: folder for the weights, unless the section names one. seed: of all draws, sent with each call.

    Raises:
        ConfigError: no valid address, or the key's variable is not set.
    """

    def __init__(self, policy: Policy, section: RLConfig, work: Path, seed: int) -> None:
        self._policy, self._section, self._seed = policy, section, seed
        self._config = served_config(section)
        self._endpoint = Endpoint(self._config, "completions")
        config = policy.plain.config.get_text_config()
        self._codec = Codec(policy.tokenizer, int(getattr(config, "max_position_embeddings", 0) or 1 << 20))
        self._n_tokens = int(policy.plain.get_input_embeddings().weight.shape[0])
        self._folder = Path(section.weights_dir) if section.weights_dir else work / "served"
        self._name = section.server_model
        self._session: aiohttp.ClientSession | None = None
        self._gate, self._naming = asyncio.Semaphore(section.server_calls), asyncio.Lock()

    async def refresh(self, iteration: int) -> None:
        """Write the weights and have the server load them; the first process does it for all."""
        failed = ""
        if processes().is_main_process:
            try:
                self._save(iteration)
                await self._load(iteration)
            except (ConfigError, EndpointError, OSError) as error:
                failed = str(error)
        if said := [text for text in gathered([failed]) if text]:
            raise EndpointError(
                f"the weights after iteration {iteration:,} did not get to {self._endpoint.host}: {said[0]}",
                "correct rl.weights_command or the server, then run the same command again, which continues there",
            )

    def _save(self, iteration: int) -> None:
        """A checkpoint takes the place of the last one: of an adapter alone where one is trained."""
        card, made_by = "Weights in training.\n", {"stage": "rl", "iteration": iteration}
        save_checkpoint(self._policy.model, self._policy.tokenizer, self._folder, card, made_by)

    async def _load(self, iteration: int) -> None:
        if not self._section.weights_command:
            return
        given = {"{path}": str(self._folder.resolve()), "{iteration}": str(iteration)}
        words = shlex.split(self._section.weights_command)
        for mark, value in given.items():
            words = [word.replace(mark, value) for word in words]
        pipe = asyncio.subprocess.PIPE
        try:
            command = await asyncio.create_subprocess_exec(*words, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
        except OSError as error:
            raise ConfigError(f"rl.weights_command '{words[0]}' can't be run: {error.strerror}") from error
        try:
            said, _ = await asyncio.wait_for(command.communicate(), COMMAND_SECONDS)
        except TimeoutError:
            command.kill()
            raise ConfigError(f"rl.weights_command did not end within {COMMAND_SECONDS:g} s") from None
        if command.returncode:
            last = self._endpoint.clean(said[-300:])
            raise ConfigError(f"rl.weights_command ended with {command.returncode}: {last}")

    async def sample(self, wanted: Sequence[Wanted], temperature: float) -> list[Draws]:
        """Replies to each of ``wanted``; where a call failed for good, its ``error``."""
        return list(await asyncio.gather(*(self._draw(want, temperature) for want in wanted)))

    async def _draw(self, want: Wanted, temperature: float) -> Draws:
        prompt = self._codec.encode([dict(m) for m in want.messages])
        room = min(self._section.max_new_tokens, self._codec.max_positions - len(prompt))
        if room <= 0:
            return Draws(prompt)
        try:
            async with self._gate:
                choices = await self._ask(prompt, want, room, temperature)
            return Draws(prompt, [self._read(choice) for choice in choices])
        except EndpointError as error:
            return Draws(prompt, error=error)

    async def _ask(self, prompt: list[int], want: Wanted, room: int, temperature: float) -> list[Any]:
        seed = derive_seed(self._seed, "rl", "draw", want.key)
        body = {
            "model": self._name or await self._only_model(), "prompt": prompt, "n": want.n, "max_tokens": room,
            "temperature": temperature, "seed": seed % 2**31, "logprobs": 1, "return_token_ids": True,
            "return_tokens_as_token_ids": True, **PLAIN,
        }  # fmt: skip
        found = await self._call("POST", self._endpoint.url, body, seed)
        choices = found.get("choices") if isinstance(found, dict) else None
        if not isinstance(choices, list) or len(choices) != want.n:
            raise self._odd(f"holds {len(choices) if isinstance(choices, list) else 'no'} choices, expected {want.n}")
        return choices

    async def _only_model(self) -> str:
        """The name of the one model that the server lists."""
        async with self._naming:
            self._name = self._name or await self._listed()
        return self._name

    async def _listed(self) -> str:
        found = await self._call("GET", self._endpoint.url.parent / "models", None, 0)
        rows = found.get("data") if isinstance(found, dict) else None
        names = [row.get("id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        if len(names) != 1 or not isinstance(names[0], str):
            shown = ", ".join(map(str, names[:5])) or "none"
            raise self._odd(f"lists the models {shown}, expected one", "set rl.server_model to the policy's name")
        return names[0]

    async def _call(self, method: str, url: Any, body: Any, seed: int) -> Any:
        """The answer as JSON; what passes by itself is waited out."""
        tries, key = Tries(self._config.max_attempts), str(url).encode()
        while True:
            number = tries.number
            try:
                return await self._attempt(method, url, body)
            except EndpointError as error:
                tries.count(error)
                await asyncio.sleep(max(error.retry_after or 0.0, backoff(error, number, (seed, key))))

    async def _attempt(self, method: str, url: Any, body: Any) -> Any:
        endpoint, seconds = self._endpoint, self._config.timeout_seconds
        if self._session is None:
            self._session = make_session(self._section.server_calls, seconds)
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._session.request(
                method, url, data=data, headers=endpoint.headers, proxy=endpoint.proxy, allow_redirects=False
            ) as response:
                raw = await read_body(response, MAX_ANSWER, f"the policy at {endpoint.host}")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise endpoint.broken(error, "the policy", seconds) from None
        if response.status != 200:
            raise endpoint.refused(response.status, raw, response.headers, "the policy")
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise self._odd("is not valid JSON") from None

    def _read(self, choice: Any) -> Draw:
        """A reply with its token ids and their log-probabilities.

        Raises:
            EndpointError: one of these is missing, or is not what it should be.
        """
        given: dict[str, Any] = choice if isinstance(choice, dict) else {}
        found = given.get("logprobs")
        logs: dict[str, Any] = found if isinstance(found, dict) else {}
        ids, log_probs = given.get("token_ids"), logs.get("token_logprobs")
        if ids is None and isinstance(names := logs.get("tokens"), list):
            ids = [int(n[len(PREFIX) :]) for n in names if str(n).startswith(PREFIX) and n[len(PREFIX) :].isdigit()]
        if not isinstance(ids, list) or not isinstance(log_probs, list) or len(ids) != len(log_probs):
            raise self._odd(
                "names its tokens by text alone, or without log-probabilities; training needs their ids",
                "use a server that takes return_token_ids and logprobs, such as vLLM 0.10.2 or later",
            )
        for token, log_prob in zip(ids, log_probs, strict=True):
            if not isinstance(token, int) or not 0 <= token < self._n_tokens:
                raise self._odd(
                    f"has token {str(token)[:20]}, expected 0 to {self._n_tokens - 1}", "let it serve the trained model"
                )
            if not isinstance(log_prob, int | float) or not math.isfinite(log_prob) or log_prob > 1e-3:
                raise self._odd(f"has log-probability {str(log_prob)[:20]}, expected a number up to 0")
        return Draw(ids, self._codec.text(ids), given.get("finish_reason") == "length", [float(v) for v in log_probs])

    def _odd(self, what: str, hint: str = "check that rl.server ends in /v1 and serves completions") -> EndpointError:
        return EndpointError(f"the answer of the policy at {self._endpoint.host} {what}", hint, status=200)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
