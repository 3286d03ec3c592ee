"""The board's protocol, step by step, as if workers died or stood still between any two."""

import random

import pytest

from shardkit.loading.board import Board, Claim, Run


@pytest.fixture
def board():
    """An empty board of three workers."""
    return Board.create(workers=3, capacity=8, run_slots=4, shared=False)


def _run(number):
    return Run(step=number, first=0, epoch=0, rows=[number] * 4, positions=[5, 6, 7, 8])


def test_runs_are_claimed_in_the_order_they_were_published(board):
    """Each run goes to one worker, the oldest first."""
    for number in range(3):
        assert board.publish(_run(number)) == number
    assert [board.claim(worker) for worker in (2, 0, 1)] == [(n, _run(n)) for n in range(3)]


def test_an_empty_board_gives_nothing(board):
    """claim() on an empty board is None, and leaves the worker idle."""
    board.release(0)
    assert board.claim(0) is None
    assert board.claim_of(0) is None


def test_a_claim_says_where_its_worker_is(board):
    """claim_of follows a worker from slot to slot and stage to stage, until it is idle."""
    board.publish(_run(5))
    board.release(1)
    ticket, _ = board.claim(1)
    assert board.claim_of(1) is None
    board.begin_slot(1, ticket, 3, reads=True)
    assert board.claim_of(1) == Claim(ticket, 3, reads=True)
    board.reads(1, False)
    assert board.claim_of(1) == Claim(ticket, 3)
    board.release(1)
    assert board.claim_of(1) is None


def test_steps_get_their_buffers_in_order(board):
    """A run is claimed before its step has a buffer, and finds it once it has."""
    board.publish(_run(0))
    board.publish(_run(1))
    board.claim(0)
    assert board.buffer_of(0) is None
    board.assign(0, 7)
    assert (board.buffer_of(0), board.buffer_of(1)) == (7, None)
    board.assign(1, 0)
    assert (board.buffer_of(0), board.buffer_of(1)) == (7, 0)


def test_a_worker_is_there_from_its_first_word_to_its_last(board):
    """is_there tells a worker that has not come up, or has left, from an idle one."""
    assert not board.is_there(0)
    board.release(0)
    assert board.is_there(0)
    board.leave(0)
    assert not board.is_there(0)


def test_a_claim_that_was_not_counted_passes_to_the_next_worker(board):
    """A worker killed after it wrote itself down as owner and before that counted: another gets the run."""
    board.publish(_run(0))
    board._tasks[0, 4] = 0  # what claim() writes first
    assert board.claimed_by(0) == []
    assert board.unclaimed() == range(1)
    assert board.claim(1) == (0, _run(0))
    assert board.claimed_by(0) == []
    assert board.claimed_by(1) == [(0, _run(0))]


def test_whoever_takes_a_workers_place_finds_what_was_its_own(board):
    """claimed_by gives the runs that a worker claimed and that are not done, in order, shortened where they are."""
    for number in range(4):
        board.publish(_run(number))
    for worker in (2, 0, 2, 2):
        board.claim(worker)
    board.done(2)
    assert board.is_claimed_by(2, 3)
    assert not board.is_claimed_by(2, 1)
    board.shorten(3, _run(3).rest(2))
    assert board.claimed_by(2) == [(0, _run(0)), (3, Run(step=3, first=2, epoch=0, rows=[3, 3], positions=[7, 8]))]


def test_cancelled_runs_are_marked_and_later_ones_are_not(board):
    """cancel() concerns the runs published so far, claimed or not."""
    board.publish(_run(0))
    board.publish(_run(1))
    board.claim(0)
    board.cancel()
    later = board.publish(_run(2))
    assert [board.is_cancelled(ticket) for ticket in (0, 1, later)] == [True, True, False]


def test_wants_that_are_being_written_are_not_read():
    """Between the first and the last word of them: None, which is not that nothing is wanted."""
    board = Board.create(workers=1, capacity=2, run_slots=1, shards=4, shared=False)
    assert board.wanted() == []
    board.want([2, 0])
    assert board.wanted() == [2, 0]
    board._header[4] += 1  # what want() does first
    assert board.wanted() is None


def test_the_board_can_be_filled_up_for_ever(board):
    """Tickets go on beyond the capacity; each run comes out as it went in."""
    draw = random.Random(0)
    published = claimed = 0
    under_way = []
    for _ in range(1000):
        choice = draw.random()
        if published - (under_way[0] if under_way else claimed) < 8 and choice < 0.4:
            board.publish(_run(published))
            published += 1
        elif choice < 0.7 and (found := board.claim(draw.randrange(3))) is not None:
            assert found == (claimed, _run(claimed))
            under_way.append(claimed)
            claimed += 1
        elif under_way:
            board.done(under_way.pop(0))
    assert board.unclaimed() == range(claimed, published)
    assert claimed > 100
