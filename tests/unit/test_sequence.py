import numpy as np
import pytest

from findna.sequence import BLANK, N, decode, encode, reverse_complement


def test_case_is_ignored_and_u_is_t() -> None:
    assert decode(encode("AcGtNu")[0]) == "ACGTNT"


def test_iupac_codes_become_n_and_are_counted() -> None:
    codes, n_iupac = encode("ARYSWKMBDHVXn")
    assert (decode(codes), n_iupac) == ("A" + 12 * "N", 11)


def test_line_ends_are_no_bases() -> None:
    assert decode(encode(b"AC\r\nGT\n")[0]) == "ACGT"


@pytest.mark.parametrize("letter", "EFILPQZJO*-.\0é")
def test_any_other_letter_is_an_error_with_its_position(letter: str) -> None:
    with pytest.raises(ValueError, match=r"at base 3 is (not a nucleotide code|an alignment gap)"):
        encode(f"AC{letter}GT")


def test_an_empty_sequence_has_no_codes() -> None:
    assert encode(b"")[0].shape == (0,)


def test_n_and_a_zero_row_are_their_own_complements() -> None:
    codes = np.array([0, 1, 2, 3, N, BLANK], dtype=np.uint8)
    assert reverse_complement(codes).tolist() == [BLANK, N, 0, 1, 2, 3]
