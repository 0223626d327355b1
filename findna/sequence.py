"""Bases as codes: the alphabet in channel order, encode, decode, reverse complement."""

import numpy as np
from Bio.Data import IUPACData
from numpy.typing import NDArray

ALPHABET = "ACGTN"
"""Codes 0 to 4, in channel order. This order is defined only here."""

N = ALPHABET.index("N")
BASES = ALPHABET[:N]
"""The four bases, in the order of columns."""

BLANK = len(ALPHABET)
"""Code of a zero row: a masked position or a class token."""

Codes = NDArray[np.uint8]

MOSTLY_N = 0.5
"""The result of a record with a larger fraction of N has no meaning."""

WHITE = b" \t\v\f\r\n"
"""White space, which a sequence may contain."""

_MIN_SEQUENCE = 8
"""A shorter text of these letters may be a name, such as a file cat or a column tag."""

_IUPAC, _INVALID = BLANK + 1, BLANK + 2


def _encode_table() -> bytes:
    table = bytearray([_INVALID] * 256)
    letters = dict.fromkeys(IUPACData.ambiguous_dna_values, _IUPAC)
    letters |= {letter: code for code, letter in enumerate(ALPHABET)} | {"U": ALPHABET.index("T")}
    for letter, code in letters.items():
        table[ord(letter)] = table[ord(letter.lower())] = code
    return bytes(table)


ENCODE = _encode_table()
"""Code of each byte; codes above `BLANK` are IUPAC codes and invalid bytes."""

COMPLEMENT = np.array([ALPHABET.index(base) for base in "TGCAN"] + [BLANK], dtype=np.uint8)
"""Code of the base that pairs with each code."""

_LETTERS = np.frombuffer((ALPHABET + ".").encode(), dtype=np.uint8)


def encode(bases: bytes | str) -> tuple[Codes, int]:
    """The codes of a sequence, shape (n,), and the number of IUPAC codes that became N.

    Case is ignored, U is read as T, white space is skipped.

    Raises:
        ValueError: A letter is not a nucleotide code; the text names it and its 1-based position.

    >>> codes, n_iupac = encode("acgtuR")
    >>> codes.tolist(), n_iupac
    ([0, 1, 2, 3, 3, 4], 1)
    """
    raw = bases.encode("latin-1", "replace") if isinstance(bases, str) else bases
    codes = np.frombuffer(raw.translate(ENCODE, WHITE), dtype=np.uint8)
    if not codes.size or codes.max() < BLANK:
        return codes, 0
    if codes.max() == _INVALID:
        position = int(np.argmax(codes == _INVALID))
        letter = chr(raw.translate(None, WHITE)[position])
        if letter in "-.":
            raise ValueError(f"{letter!r} at base {position + 1:,} is an alignment gap: remove gaps with seqkit seq -g")
        raise ValueError(f"{letter!r} at base {position + 1:,} is not a nucleotide code")
    is_iupac = codes == _IUPAC
    return np.where(is_iupac, np.uint8(N), codes), int(is_iupac.sum())


def looks_like_bases(text: str) -> bool:
    """Whether a text is a sequence and not a name: eight or more of A, C, G, T, U and N.

    >>> looks_like_bases("acgtacgt"), looks_like_bases("tag"), looks_like_bases("sequence")
    (True, False, False)
    """
    return len(text) >= _MIN_SEQUENCE and not set(text.upper()) - set("ACGTUN")


def protein_hint(problem: ValueError) -> str:
    """The message of an error of `encode`, with a hint that the sequence may be protein, except for gaps."""
    return str(problem) if "alignment gap" in str(problem) else f"{problem} (is it protein?)"


def decode(codes: Codes) -> str:
    """The letters of codes; a zero row is ".".

    >>> decode(encode("GATTACA")[0])
    'GATTACA'
    """
    return _LETTERS[codes].tobytes().decode()


def reverse_complement(codes: Codes) -> Codes:
    """The codes of the other strand, read in its own direction.

    >>> decode(reverse_complement(encode("AACGN")[0]))
    'NCGTT'
    """
    return COMPLEMENT[codes[::-1]]


def is_mostly_n(codes: Codes) -> bool:
    """Whether more than half of a sequence is N.

    >>> is_mostly_n(encode("NNNA")[0]), is_mostly_n(encode("NNAA")[0])
    (True, False)
    """
    return count_n(codes) > MOSTLY_N * len(codes)


def count_n(codes: Codes) -> int:
    """Number of N.

    >>> count_n(encode("NNAA")[0])
    2
    """
    return codes.tobytes().count(N)
