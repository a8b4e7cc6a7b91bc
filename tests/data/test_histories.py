"""Histories, compared with loops over the rows."""
# SPDX-License-Identifier: BSD-3-Clause

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklrec._data.histories import Histories, last_rows

N_SEQUENCES, N_ITEMS = 4, 5
interactions = st.lists(
    st.tuples(st.integers(0, N_SEQUENCES - 1), st.integers(0, N_ITEMS), st.integers(0, 6)),
    min_size=1,
    max_size=30,
)


def columns(rows):
    sequences, items, times = (np.array(column) for column in zip(*rows, strict=True))
    return sequences, items, times


def histories_of(rows, timed=True):
    sequences, items, times = columns(rows)
    ratings = np.arange(len(rows), dtype=float)  # tells the rows apart
    return Histories(sequences, items, ratings, times if timed else None, N_SEQUENCES)


def contents(histories):
    parts = np.split(np.arange(len(histories.items)), histories.starts[1:-1])
    return [list(zip(histories.items[p], histories.ratings[p], strict=True)) for p in parts]


@given(rows=interactions)
def test_interactions_are_sorted_by_sequence_time_and_item(rows):
    histories = histories_of(rows)
    sequences, items, times = columns(rows)
    for number in range(N_SEQUENCES):
        own = [k for k in range(len(rows)) if sequences[k] == number]
        own.sort(key=lambda k: (times[k], items[k]))
        assert contents(histories)[number] == [(items[k], k) for k in own]
    assert histories.timed
    assert histories.lengths.sum() == len(rows)
    assert (np.bincount(histories.sequences, minlength=N_SEQUENCES) == histories.lengths).all()


@given(rows=interactions)
def test_without_times_the_rows_are_in_time_order(rows):
    histories = histories_of(rows, timed=False)
    for number in range(N_SEQUENCES):
        own = [(row[1], k) for k, row in enumerate(rows) if row[0] == number]
        assert contents(histories)[number] == own
    assert not histories.timed


@given(rows=interactions, timed=st.booleans())
def test_the_last_of_equal_interactions_is_kept(rows, timed):
    sequences, items, times = columns(rows)
    times = times if timed else None
    found = Histories.of_last(sequences, items, np.arange(len(rows)), times, N_SEQUENCES)
    keys = rows if timed else [row[:2] for row in rows]
    last = [len(keys) - 1 - keys[::-1].index(key) for key in keys]
    assert last_rows(sequences, items, times).tolist() == last
    keep = [row for k, row in enumerate(rows) if last[k] == k]
    assert np.array_equal(found.items, histories_of(keep, timed).items)
    assert sorted(found.ratings) == sorted(set(last))


@given(rows=interactions, asked=interactions, shift=st.sampled_from([0.0, 0.5, -0.5]))
def test_earlier_interactions_are_counted_and_ties_are_found(rows, asked, shift):
    histories = histories_of(rows)
    sequences, _, times = columns(rows)
    of, _, at = columns(asked)
    at = at + shift
    earlier = histories.count_earlier(of, at)
    ties = histories.tie_of(of, at)
    for k in range(len(asked)):
        own = sequences == of[k]
        assert earlier[k] == np.sum(own & (times < at[k]))
        tied = histories.ratings[histories.ties == ties[k]].astype(int)
        assert set(tied) == set(np.flatnonzero(own & (times == at[k])))


@given(
    rows=interactions, asked=interactions, timed=st.booleans(), max_len=st.sampled_from([1, 2, 99])
)
def test_only_the_item_of_the_target_and_what_is_not_read_are_removed(rows, asked, timed, max_len):
    histories = histories_of(rows, timed)
    of, items, _ = columns(asked)
    apart, reads = histories.without_targets(of, items, max_len)
    for k in range(len(asked)):
        whole = contents(histories)[of[k]]
        others = [pair for pair in whole if pair[0] != items[k]]
        found = contents(apart)[reads[k]]
        assert found == others[len(others) - len(found) :]
        assert len(found) == len(others) or max_len < len(found) <= 2 * max_len
        assert len(found) <= 2 * max_len
        assert (len(others) - len(found)) % max_len == 0
    assert apart.timed == timed


@given(rows=interactions, asked=interactions, n=st.integers(0, 4))
def test_the_latest_interactions_with_other_items_are_found(rows, asked, n):
    histories = histories_of(rows, timed=False)
    of, items, _ = columns(asked)
    positions = histories.latest_without(of, items, n)
    assert positions.shape == (len(asked), n)
    for k in range(len(asked)):
        others = [row for item, row in contents(histories)[of[k]] if item != items[k]]
        latest = others[-n:] if n else []
        found = positions[k][positions[k] >= 0]
        assert histories.ratings[found].tolist() == latest
        assert (positions[k] == -1).tolist() == [True] * (n - len(latest)) + [False] * len(latest)


@given(rows=interactions, later=interactions, timed=st.booleans())
@settings(max_examples=50)
def test_later_interactions_replace_the_same_ones(rows, later, timed):
    extended = histories_of(rows, timed).extended(histories_of(later, timed))
    again = set(later) if timed else {row[:2] for row in later}
    stay = [row for row in rows if (row if timed else row[:2]) not in again]
    whole = histories_of(stay + later, timed)
    for name in ("items", "starts", *(["times"] if timed else [])):
        assert np.array_equal(getattr(extended, name), getattr(whole, name))


def test_more_sequences_may_come_later():
    first = Histories(np.array([0]), np.array([1]), np.array([5.0]), np.array([1]), 1)
    second = Histories(np.array([2]), np.array([3]), np.array([4.0]), np.array([0]), 3)
    assert first.extended(second).lengths.tolist() == [1, 0, 1]


def test_the_median_gap_ignores_ties_and_other_sequences():
    sequences, times = np.array([0, 0, 0, 1, 1]), np.array([10, 10, 13, 500, 505])
    histories = Histories(sequences, np.ones(5, int), np.ones(5), times, 2)
    assert histories.median_gap() == 4
    wide = Histories(
        sequences, np.ones(5, int), np.ones(5), np.array([-(2**63), 0, 1, 0, 2**62]), 2
    )
    assert wide.median_gap() > 0
    alone = Histories(np.array([0, 1]), np.ones(2, int), np.ones(2), np.array([3, 9]), 2)
    assert alone.median_gap() == 1


@pytest.mark.parametrize("timed", [True, False])
def test_a_pickle_contains_no_cached_arrays(timed):
    histories = histories_of([(0, 1, 5), (1, 2, 3), (0, 2, 4)], timed)
    before = len(pickle.dumps(histories))
    assert histories.count_earlier(np.array([0]), np.array([9])) == 2
    copied = pickle.loads(pickle.dumps(histories))
    assert len(pickle.dumps(histories)) == before
    assert copied.count_earlier(np.array([0]), np.array([9])) == 2
    assert copied.tie_of(np.array([1]), np.array([7])) == -1
