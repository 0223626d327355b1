"""Results beside published figures: tables in Markdown and HTML, and the commands that reproduce them."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

from findna.benchmark.modes import MODES
from findna.errors import InputError
from findna.tasks.catalog import METRICS

Result = Mapping[str, Any]

TITLES = {
    "probe": "frozen probe",
    "finetune": "fine-tuned",
    "kmer": "6-mers",
    "random": "random weights",
    "cnn": "CNN",
    "random-finetune": "random weights, fine-tuned",
}
_DEFAULT = "auroc"


class Quoted(NamedTuple):
    """A published figure.

    Args:
        model: Its model.
        value: Within -1 to 1.
        sd: Over its runs; None if it is not stated.
        source: Where it was published.
    """

    model: str
    value: float
    sd: float | None
    source: str


class TableCell(NamedTuple):
    """One cell of a table.

    Args:
        text: Its content.
        is_best: Whether it is the best of its row.
        is_quoted: Whether it is a published figure.
    """

    text: str
    is_best: bool = False
    is_quoted: bool = False


@dataclass(frozen=True)
class Section:
    """A table with its title and the notes below it.

    Args:
        title: Of the section.
        header: One cell per column.
        rows: Of the table.
        notes: Paragraphs below the table.
        value: Axis label for a figure of the cells between the first and the last column; "": no figure.
    """

    title: str
    header: Sequence[TableCell]
    rows: Sequence[Sequence[TableCell]]
    notes: Sequence[str]
    value: str = ""


def published() -> dict[tuple[str, str, str, str], list[Quoted]]:
    """Published figures by (suite, set, metric, setting); the setting is frozen or fine-tuned."""
    found: dict[tuple[str, str, str, str], list[Quoted]] = {}
    text = (files("findna.benchmark") / "published.tsv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines(), delimiter="\t"):
        sd = float(row["sd"]) / 100 if row["sd"] else None
        quoted = Quoted(row["model"], float(row["value"]) / 100, sd, row["source"])
        found.setdefault((row["suite"], row["task"], row["metric"], row["setting"]), []).append(quoted)
    return found


def make_report(results: Iterable[Result]) -> list[Section]:
    """The sections of a report: sets with comparable published figures, other sets, all figures, the commands.

    Raises:
        InputError: No result is given, or two results are of the same measurement.
    """
    ordered = sorted(results, key=lambda r: (r["suite"], r["task"], MODES.index(r["mode"]), r["model"]))
    if not ordered:
        raise InputError("there is no result to report")
    keys = [(r["suite"], r["task"], r["mode"], r["model"]) for r in ordered]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise InputError(f"two results of {' '.join(twice[0])}: name the files of one run only")
    quoted = published()
    sections: list[Section] = []
    shown: set[tuple[str, str]] = set()
    for suite, metric, setting in sorted({(key[0], key[2], key[3]) for key in quoted}):
        rows = {
            r["task"]: quoted[suite, r["task"], metric, setting]
            for r in ordered
            if r["suite"] == suite and r["is_comparable"] and (suite, r["task"], metric, setting) in quoted
        }
        if rows:
            shown |= {(suite, task) for task in rows}
            sections.append(_beside(suite, metric, setting, rows, ordered))
    rest = [r for r in ordered if (r["suite"], r["task"]) not in shown]
    if rest:
        sections.append(_apart(rest))
    return [*sections, _all_figures(ordered), _commands(ordered)]


def _beside(
    suite: str, metric: str, setting: str, rows: Mapping[str, Sequence[Quoted]], results: Sequence[Result]
) -> Section:
    own = [r for r in results if r["suite"] == suite and r["task"] in rows and r["is_comparable"]]
    columns = _columns(own)
    models = list(dict.fromkeys(q.model for quoted in rows.values() for q in quoted))
    table = []
    for task, quoted in rows.items():
        by_model = {q.model: q for q in quoted}
        measured = {column: _find(own, task, column) for column in columns}
        values = [_mean(r, metric) for r in measured.values()]
        others = [by_model[m].value if m in by_model else None for m in models]
        best = _largest([*values, *others])
        cells = [TableCell(_shown(r, metric), v == best) for r, v in zip(measured.values(), values, strict=True)]
        cells += [
            TableCell(_text(v, by_model[m].sd if m in by_model else None), v is not None and v == best, True)
            for m, v in zip(models, others, strict=True)
        ]
        names = [*map(_title, columns), *(f"{m} (quoted)" for m in models)]
        winner = next((name for name, v in zip(names, [*values, *others], strict=True) if v == best), "")
        table.append([TableCell(task), *cells, TableCell(winner)])
    header = [
        TableCell(suite),
        *(TableCell(_title(c)) for c in columns),
        *(TableCell(m, is_quoted=True) for m in models),
        TableCell("best"),
    ]
    sources = sorted({q.source for quoted in rows.values() for q in quoted})
    notes = [
        f"Columns in italics are quoted, not measured here ({setting}): {'; '.join(sources)}.",
        *_counts(own, rows, metric),
        *dict.fromkeys(f"{r['task']}: {r['note']}." for r in own if r["note"]),
    ]
    return Section(f"{suite}: {METRICS[metric]}, quoted figures {setting}", header, table, notes, METRICS[metric])


def _counts(own: Sequence[Result], rows: Mapping[str, Sequence[Quoted]], metric: str) -> list[str]:
    """How often each mode of the teacher beats the best quoted figure and the 6-mers."""
    notes = []
    for column in _columns(own):
        if column[0] not in ("probe", "finetune"):
            continue
        means = {task: _mean(_find(own, task, column), metric) for task in rows}
        kmers = {task: _mean(_find(own, task, ("kmer", "")), metric) for task in rows}
        measured = {task: mean for task, mean in means.items() if mean is not None}
        n_quoted = sum(mean > max(q.value for q in rows[task]) for task, mean in measured.items())
        both = [(mean, kmers[task]) for task, mean in measured.items() if kmers[task] is not None]
        n_above = sum(mean > kmer for mean, kmer in both if kmer is not None)
        text = f"{_title(column)}: above the best quoted figure on {n_quoted} of {len(measured)} sets"
        notes.append(f"{text}, above the 6-mers on {n_above} of {len(both)}." if both else f"{text}.")
    return notes


def _apart(results: Sequence[Result]) -> Section:
    columns = _columns(results)
    rows, notes = [], []
    for suite, task in dict.fromkeys((r["suite"], r["task"]) for r in results):
        own = [r for r in results if (r["suite"], r["task"]) == (suite, task)]
        values = [_mean(_find(own, task, column), _DEFAULT) for column in columns]
        best = _largest(values)
        cells = [
            TableCell(_shown(_find(own, task, column), _DEFAULT), value is not None and value == best)
            for column, value in zip(columns, values, strict=True)
        ]
        winner = next((_title(c) for c, value in zip(columns, values, strict=True) if value == best), "")
        rows.append([TableCell(f"{suite} {task}"), *cells, TableCell(winner)])
        reasons = [own[0]["note"], *_limits(own)]
        notes += [f"{suite} {task}: {'; '.join(filter(None, reasons))}."] if any(reasons) else []
    header = [TableCell("set"), *(TableCell(_title(column)) for column in columns), TableCell("best")]
    text = "No published figure is comparable: other splits, a part of the training split, or a set of your own."
    return Section(f"Other sets: {METRICS[_DEFAULT]}", header, rows, [text, *notes], METRICS[_DEFAULT])


def _limits(results: Sequence[Result]) -> list[str]:
    limits = {(r["limits"]["train"], r["limits"]["test"]) for r in results} - {(0, 0)}
    return [f"at most {train:,} training and {test:,} test sequences" for train, test in sorted(limits)]


def _all_figures(results: Sequence[Result]) -> Section:
    header = ["set", "method", "seeds", *METRICS.values(), "AUROC without near duplicates", "near duplicates in test"]
    rows = []
    for r in results:
        without = r["mean"].get("test_without_duplicates")
        n_near, n_test = r["n_near_duplicates"], r["n"]["test"]
        clean = (
            "none is left"
            if n_near == n_test
            else "the same"
            if not n_near
            else _text(without and without[_DEFAULT], None)
        )
        what = _title((r["mode"], r["model"])), str(len(r["runs"]))
        texts = [f"{r['suite']} {r['task']}", *what, *(_shown(r, name) for name in METRICS), clean]
        rows.append([TableCell(text) for text in (*texts, f"{n_near:,} of {n_test:,}")])
    note = (
        "Mean, and standard deviation if there are several seeds; a method without a seed was run once. "
        "A near duplicate has half or more of its 16-mers in one sequence of the training or validation split, "
        "on either strand."
    )
    return Section("All figures, test split", [TableCell(text) for text in header], rows, [note])


def _commands(results: Sequence[Result]) -> Section:
    commands = dict.fromkeys(r["command"] for r in results if r["command"])
    versions = {f"{name} {number}" for r in results for name, number in r["versions"].items()}
    rows = [[TableCell(f"`{command}`")] for command in commands]
    return Section("Made by", [TableCell("command")], rows, [f"With {', '.join(sorted(versions))}."])


def _columns(results: Sequence[Result]) -> list[tuple[str, str]]:
    found = {(r["mode"], r["model"]) for r in results}
    return sorted(found, key=lambda column: (MODES.index(column[0]), column[1]))


def _title(column: tuple[str, str]) -> str:
    mode, model = column
    return f"{TITLES[mode]} ({model})" if model else TITLES[mode]


def _find(results: Sequence[Result], task: str, column: tuple[str, str]) -> Result | None:
    return next((r for r in results if r["task"] == task and (r["mode"], r["model"]) == column), None)


def _mean(result: Result | None, metric: str) -> float | None:
    return None if result is None else result["mean"]["test"][metric]


def _shown(result: Result | None, metric: str) -> str:
    sd = result["sd"]["test"][metric] if result is not None and len(result["runs"]) > 1 else None
    return _text(_mean(result, metric), sd)


def _text(value: float | None, sd: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if sd is None else f"{value:.3f} ± {sd:.3f}"


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def as_markdown(sections: Sequence[Section]) -> str:
    """A page of Markdown. The best value of a row is bold, quoted values are in italics."""
    parts = ["# Benchmark"]
    for section in sections:
        lines = [_markdown_row(section.header), "|" + "---|" * len(section.header), *map(_markdown_row, section.rows)]
        parts += [f"## {section.title}", "\n".join(lines), *section.notes]
    return "\n\n".join(parts) + "\n"


def _markdown_row(cells: Sequence[TableCell]) -> str:
    marked = []
    for cell in cells:
        text = cell.text.replace("|", "\\|")
        text = f"*{text}*" if cell.is_quoted else text
        marked.append(f"**{text}**" if cell.is_best else text)
    return f"| {' | '.join(marked)} |"
