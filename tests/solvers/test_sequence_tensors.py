"""Batches of histories: each target reads exactly the history that it may read."""
# SPDX-License-Identifier: BSD-3-Clause

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklrec._data.histories import Histories
from sklrec._solvers.sequence_tensors import SequenceTensors

N_SEQUENCES, N_ITEMS = 4, 6
log = st.lists(
    st.tuples(st.integers(0, N_SEQUENCES - 1), st.integers(1, N_ITEMS), st.integers(0, 8)),
    min_size=1,
    max_size=40,
)


def arrays(rows):
    sequences, items, times = (np.array(column) for column in zip(*rows, strict=True))
    return sequences, items, times


def tensors(past, targets, **params):
    """Histories and targets whose ratings are their row numbers."""
    sequences, items, times = arrays(past)
    histories = Histories(sequences, items, np.arange(len(past)), times, N_SEQUENCES)
    return SequenceTensors(histories, *arrays(targets), np.arange(len(targets)), **params)


def reads(inputs):
    """Row numbers that each target of a batch reads before and after itself."""
    past = inputs["past_ratings"].numpy().astype(int)
    for k, row in enumerate(inputs["sequences"].tolist()):
        length = int(inputs["lengths"][row])
        before = past[row, : inputs["before"][k]].tolist()
        after = past[row, inputs["after"][k] : length].tolist() if "after" in inputs else []
        yield before, after


def all_reads(data, batch_size=7, generator=None):
    found = {}
    for inputs, ratings in data.batches(batch_size, generator):
        for target, sides in zip(ratings.int().tolist(), reads(inputs), strict=True):
            assert target not in found
            found[target] = sides
    return [found[k] for k in range(len(found))]


def generator(seed=0):
    return None if seed is None else torch.Generator().manual_seed(seed)


@given(past=log, targets=log, seed=st.none() | st.integers(0, 9))
@settings(max_examples=60)
def test_a_target_reads_all_strictly_earlier_interactions_and_nothing_else(past, targets, seed):
    found = all_reads(tensors(past, targets), generator=generator(seed))
    for (sequence, _, time), (before, after) in zip(targets, found, strict=True):
        expected = {k for k, row in enumerate(past) if row[0] == sequence and row[2] < time}
        assert sorted(before) == sorted(expected)
        assert [past[k][2] for k in before] == sorted(past[k][2] for k in before)
        assert after == []


@given(past=log, extra=log, seed=st.none() | st.integers(0, 9))
@settings(max_examples=60)
def test_a_bidirectional_target_reads_all_interactions_but_itself(past, extra, seed):
    targets = past + extra
    data = tensors(past, targets, bidirectional=True)
    found = all_reads(data, generator=generator(seed))
    for row, (before, after) in zip(targets, found, strict=True):
        expected = [k for k, other in enumerate(past) if other[0] == row[0] and other != row]
        assert Counter(before + after) == Counter(expected)
        assert all(past[k][2] <= row[2] for k in before)
        assert all(past[k][2] >= row[2] for k in after)


@given(past=log, max_len=st.integers(1, 5), both=st.booleans(), seed=st.none() | st.just(0))
@settings(max_examples=60)
def test_a_target_reads_the_nearest_interactions_of_a_long_history(past, max_len, both, seed):
    past = [(0, item, time) for _, item, time in past]
    whole = all_reads(tensors(past, past, bidirectional=both), generator=generator(seed))
    data = tensors(past, past, max_len=max_len, bidirectional=both)
    cut = all_reads(data, generator=generator(seed))
    for long, short in zip(whole, cut, strict=True):
        assert set(short[0]) <= set(long[0])
        assert set(short[1]) <= set(long[1])
        if seed is None:
            assert short[0] == long[0][len(long[0]) - len(short[0]) :]
            assert short[1] == long[1][: len(short[1])]
            assert len(long[0]) >= len(short[0]) >= min(len(long[0]), max_len)
        # a shuffled tie can extend over the end of a piece
        assert len(short[0]) <= (2 if seed is None else 3) * max_len


def test_the_order_inside_a_tie_is_random_in_each_epoch():
    past = [(0, item, 5) for item in range(1, 7)]
    data, order = tensors(past, [(0, 1, 9)]), generator()
    seen = {tuple(all_reads(data, generator=order)[0][0]) for _ in range(10)}
    assert len(seen) > 5
    assert all_reads(data)[0][0] == [0, 1, 2, 3, 4, 5]


@given(past=log, batch_size=st.integers(1, 50))
@settings(max_examples=40)
def test_batches_are_counted_and_have_a_largest_size(past, batch_size):
    data = tensors(past, past)
    for seed in range(3):
        batches = list(data.batches(batch_size, generator(seed)))
        assert len(batches) == data.n_batches(batch_size)
    for inputs, _ in data.batches(batch_size):
        n_rows, width = inputs["past_items"].shape
        assert n_rows == 1 or n_rows * width <= batch_size


def test_gaps_are_in_the_time_unit_and_start_anew_in_each_sequence():
    past = [(0, 1, 10), (0, 2, 14), (1, 3, 100), (1, 4, 100), (1, 5, 106)]
    data = tensors(past, [(0, 1, 20), (1, 1, 100), (1, 1, 108), (2, 1, 50)], time_unit=2.0)
    found = {}
    for inputs, ratings in data.batches(1):
        for k, target in enumerate(ratings.int().tolist()):
            found[target] = inputs["past_gaps"][inputs["sequences"][k]].tolist()
    for target, gaps in {0: [0, 2], 1: [0, 0, 3], 2: [0, 0, 3], 3: [0]}.items():
        assert np.allclose(found[target], np.log1p(gaps) / 5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_batches_of_predictions_have_the_positions_of_their_targets(bidirectional):
    past = [(s, item, time) for s in range(3) for time, item in enumerate([1, 2, 3] * (7 * s + 1))]
    data = tensors(past, past[::-1], bidirectional=bidirectional)
    plain, seen = all_reads(data), []
    for rows, past_inputs, queries in data.whole_batches():
        seen += rows.tolist()
        for row, found in zip(rows, reads(past_inputs | queries), strict=True):
            assert found == plain[row]
    assert sorted(seen) == list(range(len(past)))


def test_weights_belong_to_their_targets():
    past = [(0, 1, 1), (1, 1, 1)]
    data = tensors(past, past[::-1], sample_weight=np.array([2.0, 3.0]))
    found = {}
    for inputs, ratings in data.batches(1):
        found |= dict(zip(ratings.tolist(), inputs["sample_weight"].tolist(), strict=True))
    assert found == {0: 2, 1: 3}
    equal = tensors(past, past, sample_weight=np.ones(2))
    assert all("sample_weight" not in inputs for inputs, _ in equal.batches(1))
