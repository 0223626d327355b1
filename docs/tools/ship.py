"""Make a run directory the shipped default teacher, and remake everything that depends on it.

    python docs/tools/ship.py runs/findna-small --data DIR --sources hg38_contig_ge1kb.fa.gz --command "findna pretrain ..."

DIR holds the labelled sets as `docs/tools/make_heads.py` wants them: `gue/`, `genomic_benchmarks/`, `covid/`. What is measured
already, of the same weights, is not measured again. The parts, in their order, each by itself with --only:

    weights    weights, settings and golden vectors into the package; the run's log, and the manifest of its windows,
               into docs/models/NAME
    figure     the README's figure
    validation AUROC of frozen probes on validation splits, beside three networks with random weights
    teacher    findna benchmark teacher: masked bases, vectors, neighbours, curves
    gue        the complete GUE sets beside baselines and quoted models, docs/results/gue
    pages      CARD.md, docs/model.md, docs/models/NAME.md and its figures, docs/benchmark.md: from the JSON files and the
               log alone
    heads      the built-in tasks that use this teacher, and docs/tasks.md
    tutorial   the tutorial's commands and figures; compare WORK/tutorial-SHA/transcript.txt with what its text says

README.md and docs/tutorial.md have figures in their text: a person corrects those, and tests show where.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pages

from findna.benchmark.teacher_page import read_teacher, write_teacher
from findna.data.recipe import output_paths
from findna.io.files import write_atomic
from findna.models.folders import DEFAULT, SHIPPED
from findna.models.manifest import config_text
from findna.sizes import ModelConfig
from findna.tasks.catalog import HEADS, read_task, task_names
from findna.train.log import read_log

TOOLS = Path(__file__).resolve().parent
DOCS = TOOLS.parent
FOLDER = DOCS / "models" / DEFAULT
VALIDATION = ["--preset", "small", "--steps", "1", "--seeds", "3", "--strand", "auto", "--limit", "2000"]
READ_OUT = ["--pool", "mean,sd", "--blocks", "5,10,15,20"]
GUE = [*READ_OUT, "--strand", "auto", "--seeds", "1"]
MOST_ROWS = 1000
"""Rows of the log that are kept, evenly, beside those with held-out figures."""


def run(*words: str | Path, cwd: Path | None = None) -> None:
    """Run a Python command of this environment, or stop."""
    print("python", shlex.join(map(str, words)), flush=True)
    subprocess.run([sys.executable, *map(str, words)], check=True, cwd=cwd)


def findna(*words: str | Path, args: argparse.Namespace) -> None:
    """Run findna in the work folder, in which nothing is named by where it lies on this machine."""
    run("-m", "findna_cli", *words, *(["--threads", str(args.threads)] if args.threads else []), cwd=args.work)


def shipped_config() -> dict[str, Any]:
    """The config.json of the default teacher as it is now."""
    config: dict[str, Any] = json.loads((SHIPPED / DEFAULT / "config.json").read_text())
    return config


def link(args: argparse.Namespace) -> None:
    """A folder with links to the data, to the sources and to docs/."""
    args.work.mkdir(parents=True, exist_ok=True)
    for path in (DOCS, *sorted(args.data.iterdir()), *args.sources):
        target = args.work / path.name
        target.unlink(missing_ok=True)
        target.symlink_to(path.resolve())


def weights(args: argparse.Namespace) -> None:
    """Copy the model under the name of the default, and what of its log a figure needs."""
    config = json.loads((args.run / "config.json").read_text())
    if not config["training"]["summary"]["finished"]:
        raise SystemExit(f"{args.run}: the run has not finished")
    shipped = SHIPPED / DEFAULT
    shipped.mkdir(parents=True, exist_ok=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if args.run.resolve() != shipped:
        run("-m", "findna_cli", "model", "readout", args.run, args.sources[-1], *READ_OUT, "--force")
        config = json.loads((args.run / "config.json").read_text())
        for name in ("model.safetensors", "golden.json"):
            shutil.copyfile(args.run / name, shipped / name)
    if args.command:
        how = {name: getattr(args, name) for name in ("prepare", "command", "note", "sequence", "n_bases")}
        write_atomic(FOLDER / "how.json", json.dumps(how, indent=2) + "\n")
    write_atomic(shipped / "config.json", config_text(config | {"name": DEFAULT}))
    take_log(args.run, FOLDER)
    (FOLDER / "windows.json").unlink(missing_ok=True)
    if (manifest := output_paths(args.sources[0])[2]).is_file():
        shutil.copyfile(manifest, FOLDER / "windows.json")
    run("-m", "findna_cli", "model", "verify")


def take_log(source: Path, folder: Path) -> None:
    """Put a run's log into a folder, in an earlier one's place; the model that is shipped already leaves its own there."""
    if source.resolve() == SHIPPED / DEFAULT:
        return
    (folder / "log.csv").unlink(missing_ok=True)
    if (source / "log.csv").is_file():
        thin_log(source / "log.csv", folder / "log.csv")


def thin_log(source: Path, target: Path) -> None:
    """Keep the rows with held-out figures, and so many of the others."""
    head, *lines = source.read_text().splitlines(keepends=True)
    every = max(1, len(lines) // MOST_ROWS)
    rows = zip(lines, read_log(source), strict=False)
    kept = [
        line for number, (line, row) in enumerate(rows) if number % every == 0 or row["valid_loss"] == row["valid_loss"]
    ]
    write_atomic(target, head + "".join(kept))


def figure(args: argparse.Namespace) -> None:
    """The README's figure."""
    run(TOOLS / "demo_figure.py", DOCS / "demo/promoters.png")


def sets(args: argparse.Namespace) -> list[str]:
    """The complete GUE sets, as --task flags, of those in DIR."""
    return [word for name in pages.SETS for word in ("--task", name) if (args.data / "gue" / name).is_dir()]


def validation(args: argparse.Namespace) -> None:
    """Frozen probes of the teacher and of random weights on validation splits."""
    out = f"docs/models/{DEFAULT}/validation"
    shutil.rmtree(DOCS.parent / out, ignore_errors=True)
    variants = args.work / "validation.toml"
    variants.write_text(f'["untrained"]\n\n["{DEFAULT}"]\nmodel = "{DEFAULT}"\n')
    windows = [path.name for path in args.sources]
    held = ["--holdout", windows[-1]] if len(windows) > 1 else []
    words = [variants.name, *windows, *held, "--data", "gue", *sets(args), *VALIDATION, *READ_OUT, "--out", out]
    findna("benchmark", "study", *words, args=args)


def teacher(args: argparse.Namespace) -> None:
    """The report of what it has learned."""
    sources = shipped_config()["training"]["sources"]
    words: list[str | Path] = [path.name for path in args.sources]
    words += ["--holdout", ",".join(Path(name).name for name in sources["holdout"])]
    words += ["--n-windows", str(sources["n_windows"]), "--neighbours", "docs/demo/elements.csv.gz"]
    words += ["--pool", "sd", "--blocks", "8,15"]  # chosen for neighbours on other sequences, see docs/choose.md
    words += ["--log", f"docs/models/{DEFAULT}/log.csv"] if (FOLDER / "log.csv").is_file() else []
    report = FOLDER / "teacher.json"
    is_older = report.is_file() and read_teacher(report)["model"]["sha256"] != shipped_config()["sha256"]
    words += ["--force"] if is_older else []
    findna("benchmark", "teacher", *words, "--out", f"docs/models/{DEFAULT}", args=args)


def gue(args: argparse.Namespace) -> None:
    """The complete sets beside random weights, 6-mers and quoted figures; what an earlier teacher left is removed."""
    config = shipped_config()
    for path in sorted((DOCS / "results/gue").glob("*.json")):
        facts = json.loads(path.read_text())["fingerprint"]
        is_of_teacher = facts.get("model_sha256", config["sha256"]) == config["sha256"]
        size = ModelConfig.from_dict(facts.get("model", config["model"]))
        if not is_of_teacher or size != ModelConfig.from_dict(config["model"]):
            path.unlink()
    out = ["--out", "docs/results/gue"]
    findna("benchmark", "run", "gue", "--data", "gue", *sets(args), "--mode", args.modes, *GUE, *out, args=args)
    results = sorted(f"docs/results/gue/{path.name}" for path in (DOCS / "results/gue").glob("*.json"))
    run("-m", "findna_cli", "benchmark", "report", *results, "--force", "-o", "docs/results/gue.md", cwd=args.work)


def heads(args: argparse.Namespace) -> None:
    """The tasks that use this teacher; those with a teacher of their own stay as they are."""
    sha = shipped_config()["sha256"]
    names = [name for name in task_names() if not read_task(name).teacher]
    run(TOOLS / "make_heads.py", "--data", args.data, "--work", args.work / f"heads-{sha[:8]}", "--tasks", *names)
    of_teacher = {
        name: json.loads((HEADS / name / "config.json").read_text())["teacher"]["sha256"]
        for name in names
        if read_task(name).has_weights
    }
    if stale := [name for name, found in of_teacher.items() if found != sha]:
        raise SystemExit(f"{', '.join(stale)}: heads of an earlier teacher without their data: remove them")


def tutorial(args: argparse.Namespace) -> None:
    """Follow the tutorial, and take over its figures."""
    folder = args.work / f"tutorial-{shipped_config()['sha256'][:8]}"
    shutil.rmtree(folder, ignore_errors=True)
    run(TOOLS / "follow.py", DOCS / "tutorial.md", folder)
    for name in ("plots/test.confusion.png", "plots/test.roc.png", "plots/test.calibration.png", "curve.png"):
        shutil.copyfile(folder / "runs/repeats" / name, DOCS / "figures" / Path(name).name.removeprefix("test."))


def write_pages(args: argparse.Namespace) -> None:
    """Everything that is written and drawn of the teacher, from the JSON files and the log that lie in the project."""
    config = shipped_config()
    n_held_out = config["training"]["sources"]["n_held_out"]
    result = read_teacher(FOLDER / "teacher.json")
    write_teacher(FOLDER, result, log=read_log(FOLDER / "log.csv"), n_held_out=n_held_out)
    text = pages.describe(config, FOLDER)
    write_atomic(SHIPPED / DEFAULT / "CARD.md", pages.card(config, FOLDER))
    pages.put(DOCS / "model.md", "teacher", text)
    pages.put(DOCS / "benchmark.md", "gue", pages.counts(DOCS / "results/gue"))
    write_atomic(DOCS / "models" / f"{DEFAULT}.md", pages.report(config, FOLDER, DOCS / "results/gue"))


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "weights": weights,
    "figure": figure,
    "validation": validation,
    "teacher": teacher,
    "gue": gue,
    "pages": write_pages,
    "heads": heads,
    "tutorial": tutorial,
}


def main() -> None:
    """Copy, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory of findna pretrain")
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled sets")
    parser.add_argument("--sources", type=Path, nargs="+", required=True, help="FASTA files that it was trained on")
    parser.add_argument("--command", default="", help="how it was pretrained; default: as the last time")
    parser.add_argument("--prepare", default=pages.FETCH, help="how the sources were made")
    parser.add_argument("--note", default="", help="what else the card says of that: machine, version")
    parser.add_argument("--sequence", default=pages.SEQUENCE, help="what the card says of the sources")
    parser.add_argument(
        "--n-bases", type=int, default=0, help="bases seen in all, those of earlier runs (--initial) included"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to remake")
    parser.add_argument("--modes", default="probe,kmer,random", help="what of the part gue is measured")
    parser.add_argument("--work", type=Path, default=Path("runs/ship"), help="links, and the runs of the heads")
    parser.add_argument("--threads", type=int, default=0, help="0 is all")
    args = parser.parse_args()
    args.work = args.work.resolve()
    os.environ.setdefault("PYTHONPATH", str(DOCS.parent))  # findna runs in the work folder
    link(args)
    for name, part in PARTS.items():
        if name in args.only:
            print(f"== {name}", flush=True)
            part(args)


if __name__ == "__main__":
    main()
