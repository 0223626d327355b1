"""Counts with their nouns."""


def counted(n: int, noun: str) -> str:
    """The count with thousands separators, and the noun in singular or plural.

    >>> counted(1, "row"), counted(2304, "base"), counted(2, "class"), counted(0, "index")
    ('1 row', '2,304 bases', '2 classes', '0 indexes')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}{'es' if noun.endswith(('s', 'x')) else 's'}"
