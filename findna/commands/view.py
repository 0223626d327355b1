"""The work of `findna view` and `findna plot` on an embedding file."""

import base64
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from findna import phases
from findna.errors import ConfigError
from findna.io.arrays import require_absent
from findna.io.files import sha256
from findna.io.reader import EmbeddingReader
from findna.io.view import describe as describe
from findna.io.view import iter_rows as iter_rows
from findna.io.watch import refuse_inputs
from findna.map_figures import check_figure, draw_map, write_page
from findna.maps import choose_rows, make_map
from findna.runs.finished import require_same_run

_NOTE = re.compile(rb"findna-map:([A-Za-z0-9+/=]+)")
"""The facts of a map in the metadata of a PNG, SVG, PDF or HTML file."""


def plot(
    path: str | Path,
    *,
    figure: str | Path | None = None,
    page: str | Path | None = None,
    title: str | None = None,
    color: str = "",
    labels: str | Path | None = None,
    method: Literal["pca", "tsne"] = "pca",
    max_points: int = 20_000,
    seed: int = 0,
    force: bool = False,
) -> dict[str, Any]:
    """Draw a map of an embedding file as a figure, as a page, or both. A file that has this map already is kept.

    Args:
        path: A file of `findna embed`.
        figure: A .png, .svg or .pdf file.
        page: An .html file.
        title: Title; None: file, number of sequences and model.
        color: As for `findna.maps.choose_rows`, like `labels` and `max_points`.
        labels: A table of labels.
        method: As for `findna.maps.make_map`.
        max_points: Maximum number of points.
        seed: Random seed of the sample and of t-SNE.
        force: Replace existing files.

    Returns:
        outputs, color, n_points, n_rows, n_unlabelled (points without a row in `labels`); nothing_to_do if all
        files have this map already.

    Raises:
        TableError: The file or the labels cannot be read, or no id is in both.
        ConfigError: A name has another ending, an output is an input, or there is no such column.
        OutputError: A file exists and has another content, or cannot be written.
        MissingExtraError: matplotlib, or scikit-learn for t-SNE, is not installed.
    """
    path = Path(path)
    figure, page, labels = (Path(name) if name else None for name in (figure, page, labels))
    if figure:
        check_figure(figure)
    if page and page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"html={page}: a page is .html")
    targets = [target for target in (figure, page) if target]
    refuse_inputs(targets, [path, labels])
    with EmbeddingReader(path) as file:
        shown = choose_rows(file, color=color, labels=labels, max_points=max_points, seed=seed)
        facts = {
            "file": sha256(path),
            "labels": sha256(labels) if labels else "",
            "color": shown.color,
            "method": method,
            "max_points": max_points,
            "seed": seed,
            "title": title,
        }
        names = {"file": path.name, "labels": labels.name if labels else ""}
        missing = [target for target in targets if force or not _has_map(target, facts, names)]
        report = {
            "outputs": [str(target) for target in targets],
            "color": shown.color,
            "n_points": len(shown.rows),
            "n_rows": len(file),
            "n_unlabelled": shown.n_unlabelled if labels else 0,
            "nothing_to_do": not missing,
        }
        if missing:
            phases.enter(f"reading {path.name}")
            found = make_map(file, shown, method=method, seed=seed)
            content = json.dumps({**facts, "names": names}).encode()
            note = f"findna-map:{base64.b64encode(content).decode()}"
            for target in missing:
                (draw_map if target == figure else write_page)(found, target, title=title, note=note)
    return report


def _has_map(path: Path, facts: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    """Whether a file has the map of these facts; another name of a file with the same content does not matter.

    Raises:
        OutputError: It exists and is another file or map, or its folder does not exist.
    """
    if path.is_file() and (note := _NOTE.search(path.read_bytes())):
        with suppress(ValueError):  # a damaged one
            found = json.loads(base64.b64decode(note[1]))
            differing = [name for name in names if facts[name] and found.get(name) not in ("", facts[name])]
            earlier = _named(found, {**names, **found.get("names", {})}, differing)
            require_same_run(path, earlier, _named(facts, names, differing))
            return True
    require_absent(path, force=False)
    return False


def _named(facts: Mapping[str, Any], names: Mapping[str, str], which: list[str]) -> dict[str, Any]:
    """The facts of a map with the names of some files, for a message."""
    return {**facts, **{name: {"path": names[name], "sha256": facts.get(name)} for name in which}}
