"""Personas from chat logs: what people told an assistant becomes descriptions of such people.

Per user one call to the inducer's model, after personal data was removed (``pii``); what comes back is looked through
again. Rows carry the user's hash, so that ``aloe pool forget`` finds everything that came from one person. What is left
(a job, a town, a family) can still point to somebody: the result is pseudonymous, not anonymous.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from aloe.config import Config
from aloe.errors import BudgetExceeded, DataError, EndpointError, ParseError
from aloe.models.caller import Caller
from aloe.personas.checks import count_words, find_celebrity, find_hostile, tidy
from aloe.personas.importer import MAX_TEXT, Problem
from aloe.personas.pairing import make_entry_id
from aloe.privacy.chats import UserChats, merge, open_salt, read_chats
from aloe.privacy.pii import Scrubber
from aloe.prompts.catalog import FROM_CHATS
from aloe.protocols import PromptMessage
from aloe.store.records import write_jsonl
from aloe.types import Message, PoolEntry

logger = logging.getLogger(__name__)
MIN_WORDS = 3
Described = tuple[str, str]


@dataclass(slots=True)
class ChatsResult:
    """What came of a chat log."""

    n_users: int = 0
    n_chats: int = 0
    n_left_out: int = 0  # chats of users who said more than is read
    personas: list[dict[str, str]] = field(default_factory=list)
    rejected: list[PoolEntry] = field(default_factory=list)
    removed: Counter[str] = field(default_factory=Counter)  # personal data, by kind
    problems: list[Problem] = field(default_factory=list)


def rejected_path(out: Path) -> Path:
    """Where the users are listed from whom no persona came."""
    return out.with_name(f"{out.stem}.rejected.jsonl")


async def personas_from_chats(
    caller: Caller,
    config: Config,
    scrubber: Scrubber,
    path: Path,
    out: Path,
    *,
    salt_folder: Path,
    user_field: str = "user",
    progress: Callable[[int, int], None] | None = None,
) -> ChatsResult:
    """Read a chat log, ask for one persona per user, write ``out`` (what ``personas.file`` reads).

    Raises:
        DataError: no such file, or no usable conversation in it.
        EndpointError: not one call succeeded.
    """
    users, problems = read_chats(path, open_salt(salt_folder), user_field)
    if not users:
        raise DataError(
            f"{path} contains no conversation" + (f" ({problems[0]})" if problems else ""),
            'a line looks like {"messages": [{"role": "user", "content": "..."}], "user": "id"}',
        )
    result = ChatsResult(n_users=len(users), problems=problems)
    gate = asyncio.Semaphore(config.execution.concurrency)
    n_done = 0

    async def work(user: UserChats) -> Described | str | EndpointError:
        nonlocal n_done
        async with gate:
            found = await _describe(caller, config, scrubber, user, result.removed)
        n_done += 1
        if progress:
            progress(n_done, len(users))
        return found

    answers = await asyncio.gather(*(work(u) for u in users))
    errors = [a for a in answers if isinstance(a, EndpointError)]
    if errors and len(errors) == len(answers):
        raise errors[0]
    for user, answer in zip(users, answers, strict=True):
        result.n_chats += user.n_chats
        result.n_left_out += user.n_left_out
        if isinstance(answer, tuple):
            row = {"profile": answer[0], "personality": answer[1], "source": "chats", "user_hash": user.user_hash}
            result.personas.append(row)
        else:
            reason = f"the call failed: {answer.message}" if isinstance(answer, EndpointError) else answer
            result.rejected.append(_rejection(user, reason))
    write_jsonl(out, result.personas, private=True)
    if result.rejected:
        write_jsonl(rejected_path(out), result.rejected, private=True)
    else:
        rejected_path(out).unlink(missing_ok=True)
    return result


def _rejection(user: UserChats, reason: str) -> PoolEntry:
    provenance = {"source": "chats", "user_hash": user.user_hash}
    return PoolEntry(
        entry_id=make_entry_id("chats", user.user_hash), kind="profile", text="", reason=reason, provenance=provenance
    )


async def _describe(
    caller: Caller, config: Config, scrubber: Scrubber, user: UserChats, removed: Counter[str]
) -> Described | str | EndpointError:
    """Profile and personality of one user, or why there are none. Nothing is sent before it was cleaned."""
    texts, counts = await asyncio.to_thread(scrubber.scrub, [m.content for m in user.messages], user.user_id)
    removed.update(counts)
    pairs = zip(user.messages, texts, strict=True)
    cleaned = merge(Message(role=m.role, content=t) for m, t in pairs if t.strip())
    if not cleaned:
        return "nothing is left once personal data is removed"

    def refuse_personal_data(found: Described, _: Sequence[PromptMessage]) -> None:
        left = scrubber.count(" ".join(_tidy(found)))
        if left:
            raise ParseError(f"the description holds {', '.join(sorted(left))}: describe without")

    prompt = replace(FROM_CHATS, check=refuse_personal_data)
    words = config.personas.profile_words
    try:
        found, reply = await caller.ask(prompt, f"chats/{user.user_hash}", conversation=cleaned, words=words)
        found = _clean(_tidy(FROM_CHATS.read(reply.text)), scrubber) if found is None else _tidy(found)
    except EndpointError as error:
        return error
    except BudgetExceeded as error:
        return f"not asked: {error.message}"
    except ParseError as error:
        return error.message
    return _usable(found)


def _tidy(found: Described) -> Described:
    return tidy(found[0]), tidy(found[1])


def _clean(found: Described, scrubber: Scrubber) -> Described:
    """An answer that names somebody even when asked again: ``someone`` instead.

    Raises:
        ParseError: it holds other personal data.
    """
    texts, removed = scrubber.scrub(found)
    others = sorted(kind for kind, n in removed.items() if n and kind != "name")
    if others:
        raise ParseError(f"the description still holds personal data: {', '.join(others)}")
    profile, personality = (t.replace("[name]", "someone") for t in texts)
    return profile, personality


def _usable(found: Described) -> Described | str:
    for kind, text in zip(("profile", "personality"), found, strict=True):
        if count_words(text) < MIN_WORDS:
            return f"too little is told for a {kind}"
        if len(text) > MAX_TEXT:
            return f"{kind} of {len(text)} characters, at most {MAX_TEXT}"
        reason = find_hostile(text) or find_celebrity(text)
        if reason:
            return f"{kind}: {reason}"
    return found
