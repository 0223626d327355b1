"""The report of a teacher as files: JSON, and Markdown and figures made from it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from findna import plots
from findna.benchmark.stored import MARK, read_stored
from findna.benchmark.teacher import SCHEMA, TEACHER
from findna.counts import counted
from findna.io.files import make_folder, write_atomic

FILES = ("teacher.json", "teacher.md", "by_position.png", "curves.png")
"""What a folder gets; the last only where there is a log."""

TITLES = {
    TEACHER: "this teacher",
    "left": "counting: up to 8 bases on the left",
    "around": "counting: the four positions on each side",
    "visible_around": "counting: the four nearest visible bases on each side",
    "left_unmasked": "counting: up to 8 bases on the left, none masked",
}
"""Names of the models that predict masked bases; the last one sees more than the teacher."""

_HEALTH = {
    "effective_rank": "effective rank",
    "agreement": "agreement of student and teacher",
    "teacher_entropy": "teacher entropy, nats",
    "valid_accuracy": "masked-base accuracy",
    "kmer_accuracy": "7-mer table",
    "valid_loss": "loss",
}
_SPACES = {
    TEACHER: "this teacher",
    "random": "random weights",
    f"{TEACHER}_2": "this teacher, second read-out",
    "random_2": "random weights, second read-out",
    "kmer": "6-mer counts",
}


def read_teacher(path: Path) -> dict[str, Any]:
    """The JSON file of `findna benchmark teacher`.

    Raises:
        TableError: It cannot be read or is another file.
    """
    return read_stored(path, schema=SCHEMA, what="report of a teacher")


def write_teacher(
    folder: Path, result: Mapping[str, Any], *, log: Sequence[Mapping[str, float]] = (), n_held_out: int = 0
) -> None:
    """Write teacher.json, teacher.md, by_position.png and, if there is a log, curves.png.

    Args:
        folder: Created if missing.
        result: The content of teacher.json.
        log: Lines of the training run's log.csv.
        n_held_out: Number of held-out windows of that run; 0: not known.

    Raises:
        OutputError: A file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    make_folder(folder)
    name, by_position = result["model"]["name"], result["masked_bases"]["by_position"]
    title = f"{name}, {counted(result['masked_bases']['n_windows'], 'held-out window')}"
    shares = {TITLES[model]: by_position[model] for model in (TEACHER, "around", "left")}
    plots.accuracy_by_position(by_position["start"], shares, folder / "by_position.png", title=title)
    of_run = counted(n_held_out, "held-out window")
    if log:
        plots.pretraining_curves(log, folder / "curves.png", title=f"{name}, {of_run}" if n_held_out else name)
    write_atomic(folder / "teacher.json", json.dumps(result, indent=1) + "\n")
    write_atomic(folder / "teacher.md", f"{MARK}# {name}\n\n{teacher_markdown(result)}")


def teacher_markdown(result: Mapping[str, Any]) -> str:
    """Sections of the report: masked bases, class tokens, precision, neighbours, and the command."""
    sections = [_masked_bases(result["masked_bases"], result["settings"]["mask_fraction"]), _vectors(result)]
    if "neighbours" in result:
        sections.append(_neighbours(result["neighbours"], result["settings"]))
    sections.append(_origin(result))
    return "\n".join(sections)


def _masked_bases(masked: Mapping[str, Any], fraction: float) -> str:
    lines = [
        "### Masked bases",
        "",
        f"All models predict the same {masked['n_bases']:,} masked bases ({fraction:.0%}) of {masked['n_windows']:,} "
        "held-out windows.",
        f"The counting models were fitted on {masked['n_training_windows']:,} training windows with the same masking; "
        "a tenth of these chose order and smoothing.",
        "The last column has the standard error over windows.",
        "",
        "| model | accuracy | loss, nats | accuracy of the teacher minus this |",
        "|---|---|---|---|",
    ]
    for name, title in TITLES.items():
        one = masked["models"][name]
        order = f" (chosen: {one['order']})" if "order" in one else ""
        ahead = f"{one['ahead']:+.4f} ± {one['ahead_standard_error']:.4f}" if "ahead" in one else ""
        lines.append(f"| {title}{order} | {one['accuracy']:.4f} | {one['nats']:.4f} | {ahead} |")
    return "\n".join([*lines, "", "![Masked-base accuracy by position in the window](by_position.png)", ""])


def _vectors(result: Mapping[str, Any]) -> str:
    rank, bf16 = result["effective_rank"], result["bf16"]
    lines = [
        "### Vectors",
        "",
        f"Effective rank of the class tokens of {rank['n_windows']:,} held-out windows: {rank['value']:.1f}.",
        f"Cosine of mean vectors with bf16 products and with fp32, {bf16['n_windows']:,} held-out windows:",
        f"at least {bf16['min']:.6f}, mean {bf16['mean']:.6f}.",
        "",
    ]
    if health := result.get("health"):
        lines += [
            f"The held-out windows of the run, which had {health['steps']:,} steps. The slope of the effective rank "
            f"over the last fifth is {health['rank_slope']:+.1f} per run.",
            "",
            "| metric | start of the last fifth | end |",
            "|---|---|---|",
            *(
                f"| {title} | {health['last_fifth_from'][name]:.4g} | {health['end'][name]:.4g} |"
                for name, title in _HEALTH.items()
                if name in health["end"]
            ),
            "",
            "![Held-out metrics over the run](curves.png)",
            "",
        ]
    return "\n".join(lines)


def _neighbours(found: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    spaces = {name: title for name, title in _SPACES.items() if name in found["same_class"]}
    lines = [
        "### Nearest neighbours",
        "",
        f"Fraction of the {settings['n_neighbours']} nearest sequences that have the same class, by cosine of "
        "standardised vectors (mean of both strands).",
    ]
    if f"{TEACHER}_2" in spaces:
        flags = [f"--{name} {settings[name]}" for name in ("pool", "blocks") if settings[name]]
        lines += [f"The second read-out is `{' '.join(flags)}`."]
    lines += [
        "",
        f"| class | sequences | by chance | {' | '.join(spaces.values())} |",
        "|---|---|---|" + "---|" * len(spaces),
    ]
    for name, n in found["n"].items():
        shares = " | ".join(f"{found['same_class'][space][name]:.3f}" for space in spaces)
        lines.append(f"| {name} | {n:,} | {found['chance'][name]:.3f} | {shares} |")
    return "\n".join([*lines, ""])


def _origin(result: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        f"Made by `{result['command']}` with {versions}; weights sha256\n`{result['model']['sha256']}`, products in "
        f"{result['products']} on {result['device']}.\n"
    )
