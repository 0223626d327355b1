"""The report of a benchmark as one page of HTML."""

import html
from collections.abc import Sequence

from findna.benchmark.report import Section, TableCell
from findna.errors import MissingExtraError
from findna.plots import comparison

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:85rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}"
    "th,td{padding:.3rem .4rem;border-bottom:1px solid #ddd;text-align:left;white-space:nowrap}"
    "th,td:has(code){white-space:normal}th{border-bottom:2px solid #888;vertical-align:bottom}"
    ".quoted{color:#777;font-style:italic}.best{font-weight:bold}"
    "code{white-space:pre-wrap}figure{margin:1rem 0}svg{max-width:100%;height:auto}"
)


def as_html(sections: Sequence[Section]) -> str:
    """One self-contained HTML page. If matplotlib is installed, comparisons have a figure."""
    parts = []
    for section in sections:
        head = "".join(_html_cell(cell, "th") for cell in section.header)
        rows = "".join(f"<tr>{''.join(_html_cell(cell, 'td') for cell in row)}</tr>\n" for row in section.rows)
        notes = "".join(f"<p>{html.escape(note)}</p>\n" for note in section.notes)
        table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
        parts.append(f"<h2>{html.escape(section.title)}</h2>\n{_figure(section)}{table}{notes}")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Benchmark</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>Benchmark</h1>\n{''.join(parts)}</body>\n</html>\n"
    )


def _figure(section: Section) -> str:
    """The figure of a comparison as SVG; "" for other sections or without matplotlib."""
    if not section.value:
        return ""
    columns = section.header[1:-1]
    rows = {row[0].text: [_number(cell.text) for cell in row[1:-1]] for row in section.rows}
    try:
        drawn = comparison(
            rows, [cell.text for cell in columns], is_quoted=[cell.is_quoted for cell in columns], label=section.value
        )
    except MissingExtraError:
        return ""
    return f"<figure>{drawn}</figure>\n"


def _number(text: str) -> float | None:
    return None if text == "–" else float(text.split()[0])


def _html_cell(cell: TableCell, tag: str) -> str:
    names = [name for name, holds in (("quoted", cell.is_quoted), ("best", cell.is_best)) if holds]
    kind = f' class="{" ".join(names)}"' if names else ""
    text = html.escape(cell.text)
    if text.startswith("`") and text.endswith("`"):
        text = f"<code>{text[1:-1]}</code>"
    return f"<{tag}{kind}>{text}</{tag}>"
