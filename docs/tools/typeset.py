"""A hook of MkDocs: tables of settings, cells with a sentence, and what stays on one line: options, names, units."""

import pydoc
import re
from typing import Any

from findna.settings import settings_of

_SETTINGS = re.compile(r"^settings: (\S+)$", re.MULTILINE)
_TAGS = re.compile(r"(<pre.*?</pre>|<[^>]*>)", re.DOTALL)
_CODE = re.compile(r"\S*-\S*")
# --max-n, 8.6e-4, 31-mers, 0.828 ± 0.004, 25.5 %, 835 MB
_TEXT = re.compile(r"--[a-z][a-z-]*|\d[\d.]*e-\d+|\d+-mers?\b|[\d.]+ ± [\d.]+|[\d.,]*\d (?:%|[kMG]?B\b|[kMG]?bp\b)")
_LONGEST = 30
"""Characters of a word that fit on a telephone."""
_CELL = re.compile(r"<td>(.*?)</td>", re.DOTALL)
_SENTENCE = 40
"""Characters of a cell that needs several lines on a telephone."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page with a table in the place of each line `settings: findna.config.EmbedConfig`."""
    return _SETTINGS.sub(lambda found: _table(found[1]), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Return the HTML of a page in which no word is broken at a hyphen or before its unit, and long cells are marked."""
    html = _CELL.sub(_marked, html)
    pieces = _TAGS.split(html)
    # Text and tags alternate; a text directly after <code> is code.
    for i in range(0, len(pieces), 2):
        is_code = i > 0 and pieces[i - 1].startswith("<code")
        pieces[i] = (_CODE if is_code else _TEXT).sub(_whole, pieces[i])
    return "".join(pieces)


def _table(name: str) -> str:
    rows = (
        f"| `{setting}` | `{default!r}` | {about.help} |"
        for setting, (_, default, about) in settings_of(pydoc.locate(name)).items()  # type: ignore[arg-type]
    )
    return "\n".join(("| setting | default | meaning |", "|---|---|---|", *rows))


def _whole(found: re.Match[str]) -> str:
    word = found[0]
    return word if len(word) > _LONGEST else f'<span class="whole">{word}</span>'


def _marked(cell: re.Match[str]) -> str:
    words = _TAGS.sub("", cell[1]).split()
    return f'<td><div class="long">{cell[1]}</div></td>' if len(" ".join(words)) > _SENTENCE else cell[0]
