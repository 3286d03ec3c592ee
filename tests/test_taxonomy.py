"""The taxonomy: relations of classes in a tree of levels, on AVO-65's and on trees that hypothesis grows."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.annotations import read_annotations
from shardkit.errors import UsageError
from shardkit.taxonomy import UNKNOWN, LabelSet, Level, Taxonomy, find_level

RELEASED = Path(__file__).parents[1] / "../shared/data/annotations/AVO-65.csv"
LABEL = LabelSet("label", "single", (Level("label", tuple("abcde")),))
TREE = LabelSet("tree", "hierarchy", (Level("top", ("x", "y")), Level("leaf", ("p", "q", "r"))), ((0, 0, 1),))
OTHER = LabelSet("other", "hierarchy", (Level("top", ("x",)), Level("end", ("p",))), ((0,),))


@st.composite
def trees(draw) -> Taxonomy:
    """Trees of one to four levels, some of whose parents are not known."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    levels = tuple(Level(f"l{depth}", tuple(f"{depth}.{id}" for id in range(n))) for depth, n in enumerate(sizes))
    ids = [st.sampled_from([UNKNOWN, *range(upper)]) for upper in sizes[:-1]]
    parents = tuple(tuple(draw(st.lists(one, min_size=n, max_size=n))) for one, n in zip(ids, sizes[1:], strict=True))
    return Taxonomy(levels, parents)


@given(trees(), st.data())
def test_relations_of_a_class_agree(tree, data):
    """Its path ends in it and is its ancestors' before; it is among its parent's children, and not its own sibling."""
    level = data.draw(st.integers(0, tree.depth - 1))
    id = data.draw(st.integers(0, tree.level_sizes[level] - 1))
    path = tree.path(level, id)
    assert path == (*tree.ancestors(level, id), id)
    assert len(path) == level + 1
    assert path[-2:-1] == ((tree.parent(level, id),) if level else ())
    siblings = tree.siblings(level, id)
    assert id not in siblings
    if level and tree.parent(level, id) != UNKNOWN:
        assert sorted((*siblings, id)) == list(tree.children(level - 1, tree.parent(level, id)))
    elif level:
        assert siblings == ()
        assert id in tree.children(level - 1, UNKNOWN)
    for child in tree.children(level, id):
        assert tree.parent(level + 1, child) == id


@given(trees())
def test_above_an_unknown_parent_nothing_is_known(tree):
    """Every leaf's ancestors at a level are those of its path."""
    for level in range(tree.depth):
        for leaf, ancestor in enumerate(tree.ancestors_at(level)):
            path = tree.path(tree.depth - 1, leaf)
            assert ancestor == path[level]
            assert ancestor != UNKNOWN or set(path[: level + 1]) == {UNKNOWN}


def test_avo65_has_its_levels():
    """5, 11, 16 and 65 classes; the 65 leaves are below all of them, and each has a known path."""
    if not RELEASED.exists():
        pytest.skip("../shared/data/annotations/AVO-65.csv is not there")
    tree = read_annotations(RELEASED).label_sets[0].taxonomy
    assert tree.level_sizes == (5, 11, 16, 65)
    accordion = tree.levels[3].classes.index("Accordion")
    assert tree.path(3, accordion) == (3, 5, 8, 0)
    paths = {tree.path(3, leaf) for leaf in range(65)}
    assert [len({path[: level + 1] for path in paths}) for level in range(4)] == [5, 11, 16, 65]
    assert UNKNOWN not in {id for path in paths for id in path}


@pytest.mark.parametrize(("which", "number"), [("top", 0), ("leaf", 1), (0, 0), (1, 1), (-1, 1), (-2, 0)])
def test_a_level_is_named_or_numbered(which, number):
    """Names, and numbers as places in a list."""
    assert TREE.taxonomy.level(which) == number


@pytest.mark.parametrize("which", ["stem", 2, -3, "0"])
def test_a_level_that_is_not_there_is_refused(which):
    """The error lists names and numbers."""
    with pytest.raises(UsageError, match=r"there are top, leaf \(0 to 1\)"):
        TREE.taxonomy.level(which)


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ((), "2 levels with 0 parent maps"),
        (((0, 0),), "level 'leaf': 2 parents of 3 classes"),
        (((0, 2, 1),), "level 'leaf': parent 2, where 'top' has ids 0 to 1"),
        (((0, -1, 1),), "level 'leaf': parent -1"),
    ],
)
def test_what_is_no_tree_is_refused(parents, message):
    """Parent maps that do not fit the levels: UsageError that says which."""
    with pytest.raises(UsageError, match=message):
        Taxonomy(TREE.levels, parents)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("label", (LABEL, 0)), ("tree", (TREE, 1)), ("leaf", (TREE, 1)), ("end", (OTHER, 1)), ("other", (OTHER, 1))],
)
def test_a_name_is_a_levels_or_a_label_sets(name, expected):
    """A label set's name stands for its deepest level."""
    assert find_level([LABEL, TREE, OTHER], name) == expected


@pytest.mark.parametrize(("name", "message"), [("top", "several label sets have such a level"), ("stem", "no such")])
def test_a_name_of_no_level_or_of_several_is_refused(name, message):
    """The error lists all names."""
    with pytest.raises(UsageError, match=f"'{name}': {message}.*; there are label, tree, top, leaf, other, end"):
        find_level([LABEL, TREE, OTHER], name)
