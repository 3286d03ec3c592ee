"""Views: which parts of a clip a slot shows, as pure functions of (seed, epoch, position, view)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.planning.hashing import Domain, uniform, uniform_pair
from shardkit.planning.views import View, ViewRules

NUMBERS = st.integers(0, 2**64 - 1)
POSITIONS = st.integers(0, 2**40)
DRAWN = {"random_window": True, "random_crop": True, "frame_choice": "random", "flip": 0.5}
SIGMAS = 5


def _views(rules, count, epoch=0):
    return [rules.views(epoch=epoch, position=position) for position in range(count)]


# --- one view


def test_what_is_not_drawn_is_the_middle():
    """Without randomness every position of every epoch has the centred window, frames and crop, not mirrored."""
    rules = ViewRules(seed=3)
    views = {view for epoch in range(3) for views in _views(rules, 50, epoch) for view in views}
    assert views == {View(0.5, 0.5, (0.5, 0.5), flip=False)}


@given(NUMBERS, NUMBERS, POSITIONS)
def test_each_draw_is_the_uniform_of_its_name(seed, epoch, position):
    """Window, frames, crop and flip are the numbers of (seed, epoch, what for, view) at the position, and no others."""
    for place, view in enumerate(ViewRules(seed=seed, independent=2, **DRAWN).views(epoch=epoch, position=position)):
        assert view.window == uniform(seed, epoch, Domain.WINDOW, place, counter=position)
        assert view.frames == uniform(seed, epoch, Domain.FRAMES, place, counter=position)
        assert view.crop == uniform_pair(seed, epoch, Domain.CROP, place, counter=position)
        assert view.flip == (uniform(seed, epoch, Domain.FLIP, place, counter=position) < 0.5)


@pytest.mark.parametrize("changed", [{"seed": 2}, {"epoch": 3}, {"position": 4}])
def test_each_of_seed_epoch_and_position_changes_the_draws(changed):
    """All shares of a view change with any one of the three numbers, and are the same for the same three."""

    def drawn(seed=1, epoch=1, position=1):
        (view,) = ViewRules(seed=seed, **DRAWN).views(epoch=epoch, position=position)
        return [view.window, view.frames, *view.crop]

    assert drawn() == drawn()
    assert not set(drawn()) & set(drawn(**changed))


def test_the_draws_of_version_1_are_what_they_were():
    """The two views of one position are fixed values: runs repeat across releases."""
    first, second = ViewRules(seed=1, independent=2, **DRAWN).views(epoch=2, position=3)
    assert first == View(
        window=0.05771217349983104,
        frames=0.10543959031179018,
        crop=(0.42471077805384994, 0.5871077789925039),
        flip=True,
    )
    assert second == View(
        window=0.5286712596489709, frames=0.5237142683674421, crop=(0.5313506489619613, 0.5259273201227188), flip=False
    )


@pytest.mark.parametrize("name", ["window", "frames", "down", "across"])
def test_shares_are_uniform(name):
    """Over 5,000 positions each tenth of [0, 1) has a tenth of the shares, within five deviations."""
    views = [view for (view,) in _views(ViewRules(seed=0, **DRAWN), 5000)]
    shares = {
        "window": [view.window for view in views],
        "frames": [view.frames for view in views],
        "down": [view.crop[0] for view in views],
        "across": [view.crop[1] for view in views],
    }[name]
    tenths = np.histogram(shares, bins=10, range=(0.0, 1.0))[0]
    assert int(tenths.sum()) == 5000
    assert np.abs(tenths - 500).max() < SIGMAS * np.sqrt(5000 * 0.1 * 0.9)


def test_all_draws_of_all_views_are_uncorrelated():
    """Over 4,000 positions no two of the shares and flips of two views go together, nor with the last position's."""
    views = _views(ViewRules(seed=0, independent=2, **DRAWN), 4001)
    table = np.array([[[v.window, v.frames, *v.crop, v.flip] for v in of_clip] for of_clip in views]).reshape(4001, 10)
    table = np.concatenate([table[1:], table[:-1]], axis=1)
    correlations = np.corrcoef(table.T)
    assert np.abs(correlations[~np.eye(20, dtype=bool)]).max() < SIGMAS / np.sqrt(4000)


@pytest.mark.parametrize("chance", [0.0, 0.1, 0.5, 1.0])
def test_so_many_views_are_mirrored(chance):
    """flip=0 mirrors none, 1 all, else about the share of 4,000 that it says, within five deviations."""
    flips = sum(view.flip for (view,) in _views(ViewRules(seed=0, flip=chance), 4000))
    assert abs(flips - 4000 * chance) <= SIGMAS * np.sqrt(4000 * chance * (1 - chance))


@pytest.mark.parametrize(
    ("options", "window", "frames", "crop"),
    [
        ({"random_window": True}, True, False, False),
        ({"random_crop": True}, False, False, True),
        ({"frame_choice": "random"}, False, True, False),
        ({"frame_choice": "contiguous"}, False, False, False),
        ({"frame_choice": "contiguous", "random_window": True}, True, True, False),
        ({"frame_choice": "uniform", "random_window": True, "random_crop": True}, True, False, True),
    ],
)
def test_only_what_is_asked_for_is_drawn(options, window, frames, crop):
    """Contiguous frames are drawn as windows are, random ones always, uniform ones never."""
    rules = ViewRules(seed=0, **options)
    views = [view for (view,) in _views(rules, 20)]
    assert ({view.window for view in views} != {0.5}) == window
    assert ({view.frames for view in views} != {0.5}) == frames
    assert ({view.crop for view in views} != {(0.5, 0.5)}) == crop
    assert (rules.drawn_frames, rules.drawn_crop) == (frames, crop)


# --- several


def test_the_first_of_several_views_is_the_view_of_one():
    """A loader with views=3 shows at each position what one without shows, and two more."""
    one, three = ViewRules(seed=5, **DRAWN), ViewRules(seed=5, independent=3, **DRAWN)
    for (alone,), several in zip(_views(one, 30), _views(three, 30), strict=True):
        assert several[0] == alone
        assert len({view.window for view in several}) == 3


@pytest.mark.parametrize(
    ("options", "count"), [({}, None), ({"independent": 1}, 1), ({"independent": 2}, 2), ({"grid": (3, 2)}, 6)]
)
def test_the_number_of_views_is_known_before_any_is_drawn(options, count):
    """One view has no dimension of its own (None); one that was asked for by number has."""
    rules = ViewRules(seed=0, **options)
    assert rules.count == count
    assert len(rules.views(epoch=0, position=0)) == (count or 1)


def test_a_grid_goes_window_by_window_from_the_first_place_to_the_last():
    """Three windows by two crops: shares 0, ½, 1, each with the crops at 0 and 1, the same for every clip and epoch."""
    rules = ViewRules(seed=0, grid=(3, 2), random_window=True, random_crop=True)
    views = rules.views(epoch=0, position=0)
    assert [(view.window, view.crop[0], view.crop[1]) for view in views] == [
        (0.0, 0.0, 0.0),
        (0.0, 1.0, 1.0),
        (0.5, 0.0, 0.0),
        (0.5, 1.0, 1.0),
        (1.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
    ]
    assert rules.views(epoch=7, position=99) == views
    assert not rules.drawn_crop


def test_a_grid_of_one_is_the_middle():
    """(1, 1) is the one centred view."""
    assert ViewRules(seed=0, grid=(1, 1)).views(epoch=0, position=0) == [View(0.5, 0.5, (0.5, 0.5), flip=False)]


@pytest.mark.parametrize(
    ("frame_choice", "shares"),
    [("uniform", [0.5, 0.5, 0.5, 0.5]), ("random", [0.125, 0.375, 0.625, 0.875]), ("contiguous", [0, 1 / 3, 2 / 3, 1])],
)
def test_the_frames_of_a_grid_are_uniform_phases_or_runs(frame_choice, shares):
    """Windows have the middles of the parts, or the phases that lie farthest apart, or runs from first to last."""
    rules = ViewRules(seed=0, grid=(4, 1), frame_choice=frame_choice, random_window=True)
    assert [view.frames for view in rules.views(epoch=0, position=0)] == shares
    assert not rules.drawn_frames


# --- crops


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (256, 456, [(16, 0), (16, 116), (16, 232)]),
        (456, 256, [(0, 16), (116, 16), (232, 16)]),
        (256, 256, [(16, 0), (16, 16), (16, 32)]),
        (224, 224, [(0, 0)] * 3),
    ],
    ids=["landscape", "portrait", "square", "no room"],
)
def test_the_crops_of_a_grid_lie_along_the_side_with_more_room(height, width, expected):
    """Three crops are left, centre and right of a wide frame, top, centre and bottom of a high one, centred across."""
    rules = ViewRules(seed=0, grid=(1, 3), random_crop=True)
    views = rules.views(epoch=0, position=0)
    assert [rules.crop_of(view, height, width, 224, 224) for view in views] == expected


def test_the_room_decides_and_not_the_side():
    """A crop of 100 x 400 from 300 x 500 has more room down, though the frame is wide."""
    rules = ViewRules(seed=0, grid=(1, 2))
    views = rules.views(epoch=0, position=0)
    assert [rules.crop_of(view, 300, 500, 100, 400) for view in views] == [(0, 50), (200, 50)]


def test_drawn_crops_reach_every_place_and_edges_alike():
    """Over 4,000 positions each of 3 x 5 places comes as often, within five deviations."""
    rules = ViewRules(seed=0, random_crop=True)
    seen = np.zeros((3, 5))
    for (view,) in _views(rules, 4000):
        seen[rules.crop_of(view, 12, 14, 10, 10)] += 1
    assert np.abs(seen - 4000 / 15).max() < SIGMAS * np.sqrt(4000 / 15 * 14 / 15)
