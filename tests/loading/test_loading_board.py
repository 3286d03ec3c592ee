"""The board's protocol, step by step, as if workers died or stood still between any two."""

import random

import pytest

from shardkit.loading.board import Board, Claim, Run


@pytest.fixture
def board():
    """An empty board of three workers."""
    return Board.create(workers=3, capacity=8, shared=False)


def _run(number):
    return Run(buffer=number, first=0, stop=4, epoch=0)


def test_runs_are_claimed_in_the_order_they_were_published(board):
    """Each run goes to one worker, the oldest first."""
    for number in range(3):
        assert board.publish(_run(number)) == number
    assert [board.claim(worker) for worker in (2, 0, 1)] == [(n, _run(n)) for n in range(3)]


def test_a_token_too_many_claims_nothing(board):
    """claim() on an empty board is None, and leaves the worker idle."""
    board.release(0)
    assert board.claim(0) is None
    assert board.claim_of(0) is None


def test_a_claim_says_where_its_worker_is(board):
    """claim_of follows a worker from slot to slot, until it is idle."""
    board.publish(_run(5))
    ticket, _ = board.claim(1)
    assert board.claim_of(1) == Claim(ticket, 0)
    board.begin_slot(1, ticket, 3)
    assert board.claim_of(1) == Claim(ticket, 3)
    board.release(1)
    assert board.claim_of(1) is None


def test_a_worker_is_there_from_its_first_word_to_its_last(board):
    """is_there tells a worker that has not come up, or has left, from an idle one."""
    assert not board.is_there(0)
    board.release(0)
    assert board.is_there(0)
    board.leave(0)
    assert not board.is_there(0)


def test_a_claim_that_was_not_counted_passes_to_the_next_worker(board):
    """A worker killed after it wrote its claim down and before it was counted: the run is another's, and only its."""
    board.publish(_run(0))
    board.begin_slot(0, 0, 0)  # what claim() writes first
    assert board.claim_of(0) is None
    assert board.unclaimed() == range(1)
    assert board.claim(1) == (0, _run(0))
    assert board.claim_of(1) == Claim(0, 0)
    assert board.claim_of(0) is None


def test_cancelled_runs_are_marked_and_later_ones_are_not(board):
    """cancel() concerns the runs published so far, claimed or not."""
    board.publish(_run(0))
    board.publish(_run(1))
    board.claim(0)
    board.cancel()
    later = board.publish(_run(2))
    assert [board.is_cancelled(ticket) for ticket in (0, 1, later)] == [True, True, False]


def test_the_board_can_be_filled_up_for_ever(board):
    """Tickets go on beyond the capacity; each run comes out as it went in."""
    draw = random.Random(0)
    published = claimed = 0
    for _ in range(1000):
        if published - claimed < 8 and draw.random() < 0.5:
            board.publish(_run(published))
            published += 1
        elif (found := board.claim(draw.randrange(3))) is not None:
            assert found == (claimed, _run(claimed))
            claimed += 1
    assert board.unclaimed() == range(claimed, published)
    assert claimed > 100
