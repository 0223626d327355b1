"""Train the built-in tasks whose data lies in DIR, and put their heads into the package, with the table of docs/tasks.md.

    python docs/tools/make_heads.py --data DIR [--tasks covid tf-0] [--work runs/heads]

Run it again whenever the default teacher changes. DIR holds the GUE sets, `covid/` and `genomic_benchmarks/` (tables
`DATASET.*.tsv.gz` with the columns split, label, sequence). A task without such files keeps its head. Each
recipe is the one of `findna task info NAME`; a task that has a teacher of its own has it pretrained first.
"""

import argparse
import csv
import gzip
import json
import shlex
import subprocess
import sys
from pathlib import Path

from findna.errors import InputError
from findna.io.fasta import read_fasta
from findna.io.files import write_atomic
from findna.models.save_task import save_task
from findna.models.store import load_model
from findna.models.task import load_task
from findna.sequence import decode
from findna.tasks.catalog import HEADS, METRICS, Task, read_task, task_names
from findna_cli.task import training_command

PAGE = Path(__file__).parents[1] / "tasks.md"
MARKS = ("<!-- heads -->", "<!-- /heads -->")


def run(*words: str | Path) -> None:
    """Run findna, or stop."""
    print("findna", shlex.join(map(str, words)), flush=True)
    subprocess.run([sys.executable, "-m", "findna_cli", *map(str, words)], check=True)


def locate(data: Path, name: str) -> tuple[Path, str] | None:
    """A task's file under DIR, plain or gzip, and a note on it; None if it does not exist."""
    short = Path(*Path(name).parts[1:] or [name])
    for folder in (data, data / Path(name).parts[0], data / Path(name).parts[0].lower()):
        for stem, note in ((short.stem, ""), ("train_partial_nt", "a random tenth of the official training split")):
            if note and short.stem != "train":
                continue
            for ending in (".csv", ".csv.gz"):
                path = folder / short.with_name(stem + ending)
                if path.is_file():
                    return path, note
    return None


def cut_tables(task: Task, data: Path, work: Path) -> dict[str, Path]:
    """Training and test table of a GenomicBenchmarks set from its table of sequences."""
    found = sorted((data / "genomic_benchmarks").glob(f"{task.dataset}.*.tsv.gz"))
    if not found:
        return {}
    with gzip.open(found[0], "rt", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if {row["label"] for row in rows} != set(task.classes):
        return {}
    work.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        with (work / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["sequence", "label"])
            writer.writerows((row["sequence"], row["label"]) for row in rows if row["split"] == split)
    return {split: work / f"{split}.csv" for split in ("train", "test")}


def splits_of(task: Task, data: Path, work: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """The files of each split, and what is to be said of them; no training split if a file is missing."""
    if task.suite == "genomic-benchmarks":
        tables = cut_tables(task, data, work / "data")
        return {split: [path] for split, path in tables.items()}, ["a part of the official set, not a random sample"]
    splits: dict[str, list[Path]] = {}
    notes: list[str] = []
    for split in ("train", "valid", "test"):
        for name in getattr(task, split):
            if name == "covid/dev_genomes.csv" and (data / "covid/dev_genomes.fa.gz").is_file():
                splits[split].append(genome_table(data, work))
                continue
            if (found := locate(data, name)) is None:
                return {}, []
            splits.setdefault(split, []).append(found[0])
            notes += [f"{split}: {found[1]}"] if found[1] else []
    return splits, notes


def genome_table(data: Path, work: Path) -> Path:
    """Whole genomes of the validation split as a table, so that joined windows are calibrated too."""
    table = work / "dev_genomes.csv"
    work.mkdir(parents=True, exist_ok=True)
    labels = {name: label for label, name in read_task("covid").classes.items()}
    with table.open("w") as file:
        file.write("sequence,label\n")
        for item in read_fasta(data / "covid/dev_genomes.fa.gz"):
            if isinstance(item, InputError):
                raise item
            file.write(f"{decode(item.codes)},{labels[item.name.split()[0]]}\n")
    return table


def pretrain_teacher(task: Task, train: Path, work: Path) -> Path:
    """The task's own teacher, pretrained on its training sequences."""
    folder = work / f"{task.name}-teacher"
    if not (folder / "config.json").is_file():
        fasta = work / "train.fa"
        with gzip.open(train, "rt", newline="") as table, fasta.open("w") as file:
            for number, row in enumerate(csv.DictReader(table)):
                file.write(f">{number}\n{row['sequence']}\n")
        run("pretrain", fasta, *task.teacher, "--out", folder)
    return folder


def without_places(text: str, *places: Path) -> str:
    """A text in which files are named from DIR on, not by where it happens to lie."""
    for place in places:
        text = text.replace(f"{place}/", "")
    return text


def make_head(task: Task, data: Path, work: Path) -> bool:
    """Train a task and put its head into the package; False if its data does not exist."""
    splits, notes = splits_of(task, data, work)
    if "train" not in splits:
        return False
    out = work / "run"
    if not (out / "config.json").is_file():
        words: list[str | Path] = ["finetune", *splits["train"]]
        for split in ("valid", "test"):
            words += [word for path in splits.get(split, []) for word in (f"--{split}", path)]
        if any(label != name for label, name in task.classes.items()):
            words += ["--class-names", ",".join(task.classes.values())]
        if task.teacher:
            words += ["--model", pretrain_teacher(task, splits["train"][0], work)]
        run(*words, "--preset", task.preset, *task.flags, "--out", out)
    model = load_task(out)
    training = json.loads(without_places(json.dumps(dict(model.training)), data, work.parent))
    _, _, card = without_places((out / "CARD.md").read_text(), data, work.parent).partition("\n\n")  # not its title
    is_default = model.teacher["sha256"] == load_model().sha256
    if not (is_default or task.teacher):
        raise SystemExit(f"{out} was trained from another teacher than today's: remove it, and it is trained again")
    lines = [
        f"Data: {task.source}. {task.url}. Licence: {task.licence}.",
        *(f"Trained on: {note}. Do not compare its figures with published ones." for note in notes),
        f"Not for: {task.not_for or 'diagnosis, or sequences unlike those it was trained on'}.",
        f"Trained by `{training_command(task)}`.",
    ]
    save_task(
        task.head,
        model.network,
        model.head,
        name=task.name,
        settings=model.settings,
        teacher=model.teacher,
        metrics=model.metrics,
        training=training,
        card=f"# {task.name}\n\n{task.title}.\n\n" + "\n\n".join(lines) + "\n\n" + card,
        with_encoder=not (is_default and "--frozen" in task.flags),
    )
    return True


def table() -> str:
    """The figures of every shipped head on its test split, in Markdown."""
    lines = [
        "| task | training sequences | test sequences | " + " | ".join(METRICS.values()) + " |",
        "|---|---|---|" + "---|" * 4,
    ]
    for name in task_names():
        if not read_task(name).has_weights:
            continue
        head = HEADS / name
        metrics = json.loads((head / "metrics.json").read_text())
        data = json.loads((head / "config.json").read_text())["training"]["data"]
        test = metrics["test"]
        figures = " | ".join("–" if test[key] is None else f"{test[key]:.3f}" for key in METRICS)
        lines.append(f"| `{name}` | {data['train']['n']:,} | {test['n']:,} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    """Train, copy, tabulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=task_names(), choices=task_names())
    parser.add_argument("--work", type=Path, default=Path("runs/heads"), help="runs; a finished one is not repeated")
    args = parser.parse_args()
    for name in args.tasks:
        is_made = make_head(read_task(name), args.data, args.work / name)
        print(f"{name}: {'made' if is_made else 'no data'}", flush=True)
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    write_atomic(PAGE, f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")


if __name__ == "__main__":
    main()
