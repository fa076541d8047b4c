"""JSONL and atomic files: what is written is read back, and a torn tail is refused or cut, not passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aloe.errors import DataError
from aloe.store.records import SortedJsonlWriter, read_jsonl, read_rows, repair_tail, write_jsonl
from aloe.types import Message

MESSAGES = st.lists(
    st.builds(
        Message, role=st.sampled_from(["user", "assistant"]), content=st.text(st.characters(exclude_categories=["Cs"]))
    )
)


@given(records=MESSAGES)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, records: list[Message]) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "m.jsonl"
    assert write_jsonl(path, records) == len(records)
    assert list(read_jsonl(path, Message)) == records
    assert repair_tail(path) == 0


@given(records=MESSAGES.filter(bool), cut=st.integers(min_value=1))
def test_torn_tail_costs_one_line(tmp_path_factory: pytest.TempPathFactory, records: list[Message], cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "m.jsonl"
    write_jsonl(path, records)
    last = path.read_bytes().splitlines(keepends=True)[-1]
    torn = path.read_bytes()[: -(cut % len(last) or 1)]
    path.write_bytes(torn)
    if cut % len(last) > 1:  # more is missing than the line's end
        with pytest.raises(DataError, match=f"line {len(records)}: not valid JSON"):
            list(read_jsonl(path, Message))
    repair_tail(path)
    assert path.read_bytes() == b"" or path.read_bytes().endswith(b"\n")
    assert list(read_jsonl(path, Message)) == records[:-1]


def test_damage_in_the_middle_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"role":"user","content":"a"}\n{"role":"us\n{"role":"user","content":"c"}\n')
    with pytest.raises(DataError, match="line 2: not valid JSON"):
        list(read_rows(path))
    path.write_text('{"role":"user","content":"a"}\n{"role":"king","content":"b"}\n')
    with pytest.raises(DataError, match="line 2: not a valid Message: role"):
        list(read_jsonl(path, Message))
    with pytest.raises(DataError, match="does not exist"):
        list(read_rows(tmp_path / "none.jsonl"))


def test_sorted_writer_orders_groups_and_leaves_a_growing_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    writer = SortedJsonlWriter(path)
    writer.add("b", [{"id": "b", "n": 1}, {"id": "b", "n": 2}])
    writer.add("a", [{"id": "a", "n": 1}])
    assert not path.exists() and writer.partial.exists()
    writer.close()
    assert [row for _, row in read_rows(path)] == [{"id": "a", "n": 1}, {"id": "b", "n": 1}, {"id": "b", "n": 2}]
    assert not writer.partial.exists()
