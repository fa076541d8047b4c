"""Conversations to compare: people's, from files, and a simulator's, held with an assistant for the purpose.

Files hold a conversation a line, with ``messages`` as OpenAI writes them; SimulatorArena's files, with ``task`` beside
them, are such. A run's own ``conversations.jsonl`` or ``trees.jsonl`` is read too, each tree as its longest path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aloe.bench.logged import tidy
from aloe.config import Config, ModelConfig
from aloe.config.files import refuse_special
from aloe.dialogue.casting import Casting
from aloe.dialogue.responder import plain_reply
from aloe.dialogue.state import PathState, content_id, make_tree_id
from aloe.dialogue.user import Steering, next_user_message, says_goodbye
from aloe.errors import DataError, EndpointError
from aloe.models.caller import Caller
from aloe.store.records import read_rows
from aloe.types import ConversationTree, Message, Persona
from aloe.world.dialects.mood import has_walked_out
from aloe.world.truth import disclosed, read_persona


@dataclass(frozen=True, slots=True)
class UserTalk:
    """A conversation of a user with an assistant; ``group``: the task or source it is of. ``persona``: whose it is."""

    messages: tuple[Message, ...]
    group: str = ""
    persona: Persona | None = None

    @property
    def n_turns(self) -> int:
        return sum(message.role == "user" for message in self.messages)


def read_talks(path: Path) -> list[UserTalk]:
    """The conversations of a file, those without a message of the user left out.

    Raises:
        DataError: a line is neither a conversation nor a tree, or no line is left.
    """
    refuse_special(path)
    found = []
    for number, row in read_rows(path):
        where = f"{path}, line {number}"
        if not isinstance(row, dict) or ("messages" not in row and "nodes" not in row):
            raise DataError(f"{where}: not a conversation", 'write {"messages": [{"role": ..., "content": ...}, ...]}')
        messages = _longest(row, where) if "nodes" in row else tidy(row["messages"], where)
        if messages:
            found.append(UserTalk(tuple(messages), str(row.get("task") or path.stem)))
    if not found:
        raise DataError(f"{path}: no conversation in it", "give a file with at least one user message")
    return found


def _longest(row: dict[str, object], where: str) -> list[Message]:
    try:
        tree = ConversationTree.model_validate(row)
    except ValueError as error:
        raise DataError(f"{where}: not a conversation tree", "give conversations.jsonl or trees.jsonl") from error
    paths = (tree.path_to(node.node_id) for node in tree.nodes)
    return [node.message for node in max(paths, key=len, default=())]


async def hold_talks(
    caller: Caller,
    personas: Sequence[Persona],
    turns: Sequence[int],
    assistant: ModelConfig,
    *,
    config: Config,
    progress: Callable[[int, int], None] | None = None,
) -> list[UserTalk]:
    """A conversation of the role ``user`` with ``assistant`` for each persona, those that hold nothing left out.

    Args:
        turns: how long each of them is, at most: as long as people's, so that length gives nobody away. A user that
            takes its leave ends it before.
    """
    casting = Casting(config.roles.user, config.seed)
    gate = asyncio.Semaphore(config.execution.concurrency)
    n_done = 0

    async def hold(persona: Persona, n_turns: int) -> UserTalk:
        nonlocal n_done
        async with gate:
            messages = await _hold(caller, persona, n_turns, assistant, casting)
        n_done += 1
        if progress is not None:
            progress(n_done, len(personas))
        return UserTalk(messages, "simulated", persona)

    talks = await asyncio.gather(*(hold(p, n) for p, n in zip(personas, turns, strict=True)))
    return [talk for talk in talks if talk.messages]


async def _hold(
    caller: Caller, persona: Persona, n_turns: int, assistant: ModelConfig, casting: Casting
) -> tuple[Message, ...]:
    tree_id = make_tree_id(persona, 0, "users")
    state = PathState(tree_id)
    steering = Steering(tree_id=tree_id, model=casting.user_of(tree_id))
    for _ in range(n_turns):
        path = f"users/{persona.persona_id}/{state.node_id}"
        try:
            text, _ = await next_user_message(caller, persona, state, path, steering)
            if text is None:
                break
            state = state.with_user(content_id(state.node_id, "user", text), text)
            if says_goodbye(text) or has_walked_out(text):
                break
            reply, _ = await plain_reply(caller, state, f"{path}/reply", assistant)
        except EndpointError:
            break
        if reply is None:
            break
        state = state.with_reply(content_id(state.node_id, "assistant", reply), reply)
    return tuple(state.messages)


def front_loading(talks: Sequence[UserTalk]) -> list[float | None]:
    """The share of the persona's facts that is given away by each turn, over the conversations that reach it.

    Only where personas are known; exact only in the world's language.
    """
    by_turn: list[list[float]] = []
    for talk in talks:
        if talk.persona is None:
            continue
        latent = read_persona(talk.persona.profile, talk.persona.personality)
        known = 0
        for turn, new in enumerate(disclosed(latent, [m.content for m in talk.messages if m.role == "user"])):
            known += sum(shown.item.kind == "fact" for shown in new)
            if turn == len(by_turn):
                by_turn.append([])
            by_turn[turn].append(known / max(1, len(latent.facts)))
    return [sum(shares) / len(shares) if shares else None for shares in by_turn]
