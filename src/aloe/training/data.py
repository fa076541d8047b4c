"""From stored examples to token rows: reads data sets, applies chat templates, limits lengths.

A *row* is a history with one reply: token ids and where the reply begins. Rows are made with the model's own chat
template exactly as for training without trees; shared tokens are found on token ids, so that a template that
rewrites earlier turns reduces sharing but does not change a result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aloe.config.files import refuse_special
from aloe.errors import DataError

Dataset = str | Path | Sequence[dict[str, Any]]
IGNORED = -100  # the label of a token that is not a target
_TOKENIZED_TOGETHER = 512
LONGEST_TEXT = 2_000_000  # characters of one message; a longer one is an accident, not a reply


@dataclass(slots=True)
class TokenRows:
    """The tokenised rows of one conversation.

    Attributes:
        rows: token ids, prompt and reply. starts: where each row's reply begins.
        pairs: (chosen, rejected) as numbers of rows; empty for SFT.
        is_loose: the data did not say which conversation this pair or reply is of: it may be joined with others.
    """

    key: str
    rows: list[list[int]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    is_loose: bool = False

    def add(self, rows: Iterable[tuple[list[int], int]]) -> None:
        for ids, start in rows:
            self.rows.append(ids)
            self.starts.append(start)

    @property
    def n_expanded(self) -> int:
        return sum(map(len, self.rows))


@dataclass(slots=True)
class Lengths:
    """What was done about conversations that are longer than the model's context, and what else is not a target.

    Attributes:
        n_targets_lost: replies that ``history = "preferred"`` left out.
    """

    limit: int | None
    policy: str
    n_cut: int = 0
    n_dropped: int = 0
    n_targets_lost: int = 0

    def say(self) -> str:
        """One line for people, empty where nothing was too long."""
        if not self.n_cut and not self.n_dropped:
            return ""
        cut = f"{self.n_cut} lost their oldest turns and {self.n_dropped} were dropped"
        return f"of the rows over {self.limit} tokens {cut}"


def find_files(path: str | Path, kind: str, split: str = "train") -> list[Path]:
    """The files of a data set: a file, a run directory, or a directory that ``aloe export`` wrote.

    Args:
        kind: ``sft`` or ``dpo`` (``preference`` in exports). split: ``train`` or ``test`` (``validation`` in exports; a
            run and a single file have none).

    Raises:
        DataError: nothing of that kind there.
    """
    place = Path(path)
    if place.is_file():
        return [place] if split == "train" else []
    run_files = [place / "datasets" / f"{name}.parquet" for name in (("rollout", kind) if kind == "dpo" else (kind,))]
    if split == "train" and (found := [file for file in run_files if file.is_file()][:1]):
        return found
    names = ("dpo", "preference") if kind == "dpo" else (kind,)
    splits = ("test", "validation") if split == "test" else (split,)
    patterns = [
        pattern
        for part in splits
        for name in names
        for pattern in (f"data/{name}/{part}-*.parquet", f"{name}.{part}.parquet", f"{name}.{part}.jsonl")
    ]
    patterns += [f"data/{part}-*.parquet" for part in splits]
    if split == "train":
        patterns += [f"{name}.{end}" for name in names for end in ("parquet", "jsonl")]
    for pattern in patterns:
        if files := sorted(place.glob(pattern)):
            return files
    if split == "test":
        return []
    what = "does not exist" if not place.exists() else f"holds no {kind} data"
    raise DataError(f"dataset {place} {what}", "give a run, what 'aloe export' wrote, a .parquet or a .jsonl")


def find_rows(dataset: Dataset, kind: str, columns: Sequence[str], split: str = "train") -> list[dict[str, Any]]:
    """The rows of a data set that is a path (see ``find_files``) or the rows themselves, which have no other split.

    Raises:
        DataError: no such data, or a column is missing.
    """
    if isinstance(dataset, (str, Path)):
        return [row for file in find_files(dataset, kind, split) for row in read_rows(file, columns)]
    if split != "train":
        return []
    return _checked(list(dataset), columns, "that was given")


def read_rows(path: str | Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a Parquet or JSONL file.

    Raises:
        DataError: no such file, no rows, a line that is not a JSON object, or a column is missing.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"dataset {file} does not exist", "run the stage that writes it first")
    if file.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        except pa.ArrowInvalid as error:
            raise DataError(f"dataset {file} is not a valid Parquet file: {error}", "write it again") from error
    else:
        rows = list(_json_lines(file))
    return _checked(rows, columns, str(file))


def _checked(rows: list[dict[str, Any]], columns: Sequence[str], name: str) -> list[dict[str, Any]]:
    if not rows:
        raise DataError(f"dataset {name} is empty", "grow more trees, or lower the minimum margin")
    missing = [column for column in columns if column not in rows[0]]
    if missing:
        raise DataError(f"dataset {name} has no column '{missing[0]}'", f"it has: {', '.join(rows[0])}")
    return rows


def _json_lines(file: Path) -> Iterable[dict[str, Any]]:
    import orjson

    refuse_special(file)
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise DataError(f"{file}, line {number}: {error}", "every line is one JSON object") from error
        if not isinstance(row, dict):
            raise DataError(f"{file}, line {number}: got {type(row).__name__}", "every line is one JSON object")
        yield row


def check_tokenizer(tokenizer: Any, name: str) -> None:
    """Say in one line what keeps a tokenizer from being trained with.

    Raises:
        DataError: it has no chat template, or neither a padding nor an end token.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise DataError(
            f"the tokenizer of '{name}' has no chat template",
            "start from an instruction-tuned model, or put a chat_template.jinja beside its weights",
        )
    if tokenizer.eos_token_id is None and tokenizer.pad_token_id is None:
        raise DataError(
            f"the tokenizer of '{name}' has neither an end nor a padding token", "set eos_token in its config"
        )


def tokenize_replies(tokenizer: Any, chats: Sequence[Sequence[dict[str, str]]]) -> list[tuple[list[int], int]]:
    """For each conversation that ends with a reply: its token ids, and where the reply's tokens begin.

    The reply begins where the rendered prompt ends, found by the characters that each token covers; a template that
    does not put the prompt in front unchanged is compared token by token.

    Raises:
        DataError: a last message is not the assistant's, or a message is empty or larger than any reply.
    """
    found: list[tuple[list[int], int]] = []
    for start in range(0, len(chats), _TOKENIZED_TOGETHER):
        some = chats[start : start + _TOKENIZED_TOGETHER]
        for messages in some:
            _check_chat(messages)
        prompts = [_render(tokenizer, messages[:-1], add_generation_prompt=True) for messages in some]
        wholes = [_render(tokenizer, messages) for messages in some]
        fast = bool(getattr(tokenizer, "is_fast", False))
        encoded = tokenizer(wholes, add_special_tokens=False, return_attention_mask=False)
        for i, (prompt, whole) in enumerate(zip(prompts, wholes, strict=True)):
            ids = list(encoded["input_ids"][i])
            at = _token_at(encoded, i, len(prompt)) if fast and whole.startswith(prompt) else None
            if at is None:
                at = common_prefix(tokenizer(prompt, add_special_tokens=False)["input_ids"], ids)
            found.append((ids, max(1, at)))
    return found


def _token_at(encoded: Any, number: int, place: int) -> int | None:
    """The first token that covers a character from ``place`` on (some, such as spaces, belong to no token)."""
    return next((at for n in range(place, place + 4) if (at := encoded.char_to_token(number, n)) is not None), None)


def _check_chat(messages: Sequence[dict[str, str]]) -> None:
    if not all(isinstance(m, dict) and isinstance(m.get("content"), str) and "role" in m for m in messages):
        raise DataError(
            "a conversation of the dataset is not a list of messages",
            'write each as [{"role": "user", "content": "..."}, ...], in prompt, chosen and rejected too',
        )
    if not messages or messages[-1]["role"] != "assistant":
        raise DataError("a training conversation does not end with a reply", "see the dataset's 'messages' column")
    if not messages[-1]["content"].strip():
        raise DataError("a reply of the dataset is empty", "filter it out, or export the run again")
    longest = max(len(m["content"]) for m in messages)
    if longest > LONGEST_TEXT:
        raise DataError(f"a message of the dataset has {longest:,} characters", f"at most {LONGEST_TEXT:,} are allowed")


def _render(tokenizer: Any, messages: Sequence[dict[str, str]], **options: Any) -> str:
    plain = [{"role": m["role"], "content": m["content"]} for m in messages]
    return str(tokenizer.apply_chat_template(plain, tokenize=False, **options))


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    n = min(len(first), len(second))
    return next((i for i in range(n) if first[i] != second[i]), n)


def sft_conversations(
    rows: Sequence[dict[str, Any]], tokenizer: Any, lengths: Lengths, *, history: str = "answered"
) -> list[TokenRows]:
    """SFT rows (``messages``, optionally ``tree_id``) by conversation, in the order of first appearance.

    Args:
        history: ``answered``: every preferred reply is a target under the history that the user really answered.
            ``preferred``: one history of each conversation, the longest, and the preferred replies on it. Where the
            conversation went on from a rejected reply, that reply stays in the history and is not a target.
    """
    by_tree: dict[str, TokenRows] = {}
    said: dict[str, list[list[tuple[str, str]]]] = {}
    made = _fitted([[row["messages"]] for row in rows], tokenizer, lengths)
    for number, (row, fitted) in enumerate(zip(rows, made, strict=True)):
        if fitted is not None:
            key, is_loose = _key(row, number)
            by_tree.setdefault(key, TokenRows(key, is_loose=is_loose)).add(fitted)
            if history == "preferred":
                said.setdefault(key, []).append([(m["role"], m["content"]) for m in row["messages"]])
    if history == "preferred":
        return [c if c.is_loose else _trunk(c, said[key], lengths) for key, c in by_tree.items()]
    return list(by_tree.values())


def _key(row: dict[str, Any], number: int) -> tuple[str, bool]:
    """The name of a row's conversation, and whether the data says nothing about that."""
    tree = row.get("tree_id")
    return (f"row {number + 1}", True) if tree is None or tree == "" else (str(tree), False)


def _trunk(conversation: TokenRows, said: list[list[tuple[str, str]]], lengths: Lengths) -> TokenRows:
    """The longest history and the rows that are on it, whatever the template makes of earlier turns."""
    longest = max(range(len(said)), key=lambda i: (len(said[i]), len(conversation.rows[i])))
    on = [i for i, messages in enumerate(said) if said[longest][: len(messages)] == messages]
    lengths.n_targets_lost += len(said) - len(on)
    return TokenRows(conversation.key, [conversation.rows[i] for i in on], [conversation.starts[i] for i in on])


def chat_conversations(
    rows: Sequence[dict[str, Any]], tokenizer: Any, lengths: Lengths, prefix: str = "mix"
) -> list[TokenRows]:
    """General chats (``messages`` with any number of turns): each assistant message is a target."""
    found = []
    for number, row in enumerate(rows):
        messages = row["messages"]
        replies = [at for at, message in enumerate(messages) if at and message["role"] == "assistant"]
        conversation = TokenRows(f"{prefix}-{number}")
        for fitted in _fitted([[messages[: at + 1]] for at in replies], tokenizer, lengths):
            if fitted is not None:
                conversation.add(fitted)
        if conversation.rows:
            found.append(conversation)
    return found


def dpo_conversations(rows: Sequence[dict[str, Any]], tokenizer: Any, lengths: Lengths) -> list[TokenRows]:
    """Preference rows (``prompt``, ``chosen``, ``rejected``, optionally ``tree_id``) by conversation.

    Raises:
        DataError: the two replies of a pair are the same.
    """
    by_tree: dict[str, TokenRows] = {}
    names = [str(row.get("pair_id") or f"row {number + 1}") for number, row in enumerate(rows)]
    for name, row in zip(names, rows, strict=True):
        if row["chosen"] == row["rejected"]:
            raise DataError(f"{name}: chosen and rejected reply are the same", "filter such pairs out of the dataset")
    chats = [[[*row["prompt"], *row["chosen"]], [*row["prompt"], *row["rejected"]]] for row in rows]
    for number, (row, fitted) in enumerate(zip(rows, _fitted(chats, tokenizer, lengths), strict=True)):
        if fitted is None:
            continue
        (one, at_one), (two, at_two) = fitted
        if one == two:
            raise DataError(f"{names[number]}: both replies are the same tokens", "filter such pairs out")
        start = min(at_one, at_two)
        key, is_loose = _key(row, number)
        conversation = by_tree.setdefault(key, TokenRows(key, is_loose=is_loose))
        n = len(conversation.rows)
        conversation.pairs.append((n, n + 1))
        conversation.add([(one, start), (two, start)])
    return list(by_tree.values())


def _fitted(
    groups: Sequence[Sequence[Sequence[dict[str, str]]]], tokenizer: Any, lengths: Lengths
) -> list[list[tuple[list[int], int]] | None]:
    """Token rows of each group of conversations that differ in their reply alone; None where they are dropped."""
    flat = tokenize_replies(tokenizer, [chat for group in groups for chat in group])
    found: list[list[tuple[list[int], int]] | None] = []
    at = 0
    for group in groups:
        made = flat[at : at + len(group)]
        at += len(group)
        fits = lengths.limit is None or _longest(made) <= lengths.limit
        found.append(made if fits else _shortened(group, made, tokenizer, lengths))
    return found


def _longest(made: Sequence[tuple[list[int], int]]) -> int:
    return max(len(ids) for ids, _ in made)


def _shortened(
    group: Sequence[Sequence[dict[str, str]]], made: list[tuple[list[int], int]], tokenizer: Any, lengths: Lengths
) -> list[tuple[list[int], int]] | None:
    """The same replies under a history without its oldest turns; None where nothing fits or they are to be dropped."""
    limit = lengths.limit or 0
    head = [m for m in group[0][:1] if m["role"] == "system"]
    rest = [list(chat[len(head) :]) for chat in group]
    while lengths.policy == "cut" and len(rest[0]) > 2:
        # a turn is the user's message and the answer; far too long histories lose several at once
        turns = max(1, (len(rest[0]) // 2) * (_longest(made) - limit) // (2 * _longest(made)))
        rest = [chat[2 * turns :] for chat in rest]
        made = tokenize_replies(tokenizer, [[*head, *chat] for chat in rest])
        if _longest(made) <= limit:
            lengths.n_cut += 1
            return made
    lengths.n_dropped += 1
    return None
