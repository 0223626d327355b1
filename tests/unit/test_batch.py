"""Packing: sequences end to end with their class tokens."""

import numpy as np

from findna.data.batch import pack
from findna.nn.mixing import ring_runs
from findna.sequence import BLANK


def codes(*values):
    return np.array(values, np.uint8)


def test_sequences_stand_in_order_each_with_its_class_tokens():
    batch = pack([codes(0, 1, 2), codes(4)], n_class_tokens=2)
    assert batch.codes.tolist() == [0, 1, 2, BLANK, BLANK, 4, BLANK, BLANK]
    assert batch.codes.dtype == np.uint8
    assert batch.rings.tolist() == [0, 5, 8]
    assert batch.rings.dtype == np.int64


def test_a_packed_batch_is_a_copy():
    source = codes(0, 1)
    pack([source], n_class_tokens=1).codes[:] = 3
    assert source.tolist() == [0, 1]


def test_only_neighbours_of_one_length_rotate_together():
    runs = ring_runs(np.array([0, 3, 6, 8, 11]))
    assert [tuple(run) for run in runs] == [(0, 2, 3), (6, 1, 2), (8, 1, 3)]
    assert ring_runs(np.array([0])) == []
