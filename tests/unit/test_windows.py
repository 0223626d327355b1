"""Windows of long sequences: cover, ownership, errors."""

import pytest

from findna.data.windows import count_windows, iter_windows
from findna.errors import ConfigError


def windows(length, **settings):
    return [tuple(window) for window in iter_windows(length, **settings)]


def test_a_sequence_that_fits_is_one_window():
    assert windows(1, size=10, stride=10) == [(0, 1, 0)]
    assert windows(10, size=10, stride=3) == [(0, 10, 0)]


def test_one_base_more_makes_a_second_window_that_owns_it():
    assert windows(11, size=10, stride=10) == [(0, 10, 0), (1, 11, 10)]


def test_overlapping_windows_own_what_no_earlier_one_covers():
    assert windows(12, size=6, stride=2) == [(0, 6, 0), (2, 8, 6), (4, 10, 8), (6, 12, 10)]


@pytest.mark.parametrize("stride", [0, -1, 11])
def test_a_stride_that_leaves_bases_out_is_refused(stride):
    with pytest.raises(ConfigError, match=f"a stride of {stride} must lie in 1 to the window of 10 bases"):
        windows(25, size=10, stride=stride)


def test_a_chromosome_is_counted_without_walking_it():
    assert count_windows(248_956_422, size=1000, stride=1000) == 248_957
