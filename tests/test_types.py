"""Trees know their paths: on random trees, whatever way they were made, and without leaving a trace."""

import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aloe.types import ConversationTree, Message, Node


@st.composite
def trees(draw):
    """Nodes with parents first, some of them with several children; the opening message is the only root."""
    n = draw(st.integers(1, 25))
    parents = [None, *(draw(st.integers(0, i - 1)) for i in range(1, n))]
    nodes: list[Node] = []
    for i, at in enumerate(parents):
        above = nodes[at] if at is not None else None
        role = "user" if above is None or above.message.role == "assistant" else "assistant"
        turn = 1 if above is None else above.turn + (role == "user")
        message = Message(role=role, content=str(i))
        nodes.append(Node(node_id=f"n{i}", parent_id=above and above.node_id, turn=turn, message=message))
    make = draw(st.sampled_from([ConversationTree, ConversationTree.model_construct]))
    return make(tree_id="t", persona_id="p", seed=0, nodes=tuple(nodes))


@given(trees())
def test_a_path_is_unbroken_from_the_opening_message_to_its_node(tree):
    assert tree.path_to(None) == ()
    for node in tree.nodes:
        path = tree.path_to(node.node_id)
        assert path[0].parent_id is None and path[-1] is tree.by_id[node.node_id] is node
        assert [n.parent_id for n in path[1:]] == [n.node_id for n in path[:-1]]
        roles = [n.message.role for n in path]
        assert roles == [("user", "assistant")[i % 2] for i in range(len(path))]


@given(trees())
def test_children_and_siblings_share_a_parent_and_leave_nobody_out(tree):
    followers = [n for at in (None, *tree.by_id) for n in tree.children(at)]
    assert Counter(n.node_id for n in followers) == Counter(n.node_id for n in tree.nodes)
    for node in tree.nodes:
        others = tree.siblings(node.node_id)
        assert all(node in tree.siblings(other.node_id) for other in others)
        assert {n.node_id for n in others} == {
            n.node_id for n in tree.nodes if n.parent_id == node.parent_id and n is not node
        }
        assert list(others) == sorted(others, key=tree.nodes.index)


@given(trees(), trees())
def test_what_a_tree_has_looked_up_is_neither_written_nor_compared_nor_copied(tree, other):
    fresh, pickled = ConversationTree.model_validate_json(tree.model_dump_json()), pickle.dumps(tree)
    tree.path_to(tree.nodes[-1].node_id)
    assert tree == fresh and tree.model_dump_json() == fresh.model_dump_json()
    assert pickle.dumps(tree) == pickled
    changed = tree.model_copy(update={"nodes": other.nodes})
    assert set(changed.by_id) == {n.node_id for n in other.nodes}, "a copy with other nodes looks into these"


def test_an_unknown_node_is_an_error():
    tree = ConversationTree(tree_id="t", persona_id="p", seed=0, nodes=())
    with pytest.raises(KeyError):
        tree.path_to("nobody")
    assert tree.children("nobody") == () and tree.children(None) == ()
