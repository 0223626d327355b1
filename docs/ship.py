"""Make a run directory the shipped default teacher: weights, CARD.md, the probe table and the README's figure.

    python docs/ship.py runs/findna-small --data DIR_OF_LABELLED_SETS --command "findna pretrain ..."

DIR is the folder `gue` of `findna benchmark run gue`. Everything that depends on the default teacher is remade; what is
measured already, of the same weights, is not measured again.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from findna.benchmark.run import read_result
from findna.models.store import DEFAULT, SHIPPED

DOCS = Path(__file__).parent
RESULTS = DOCS / "results" / DEFAULT
SETS = (
    "mouse/0",
    "mouse/2",
    "mouse/4",
    "prom/prom_300_tata",
    "prom/prom_core_all",
    "tf/0",
    "tf/1",
    "tf/3",
)
PROBE = ["--mode", "probe,random", "--seeds", "2", "--limit", "3000", "--limit-test", "1000"]
MARKS = ("<!-- teacher -->", "<!-- /teacher -->")


def run(*words: str | Path) -> None:
    """Run a Python command of this environment, or stop."""
    subprocess.run([sys.executable, *map(str, words)], check=True)


def probe(data: Path) -> list[dict[str, Any]]:
    """Set, AUROC of the teacher, AUROC of each network with random weights."""
    sets = [word for name in SETS for word in ("--task", name)]
    run("-m", "findna_cli", "benchmark", "run", "gue", "--data", data, *sets, *PROBE, "--out", RESULTS)
    rows = []
    for name in SETS:
        stem = f"gue.{name.replace('/', '-')}"
        of_mode = {mode: read_result(RESULTS / f"{stem}.{mode}.{DEFAULT}.json") for mode in ("probe", "random")}
        scores = {mode: [one["test"]["auroc"] for one in result["runs"]] for mode, result in of_mode.items()}
        rows.append({"task": name, "model": scores["probe"][0], "random": scores["random"]})
    return rows


def table(results: list[dict[str, Any]]) -> str:
    """The probe's AUROC in Markdown."""
    lines = ["| set | this teacher | random weights | difference |", "|---|---|---|---|"]
    for r in results:
        random = float(np.mean(r["random"]))
        lines.append(f"| {r['task']} | {r['model']:.3f} | {random:.3f} | {r['model'] - random:+.3f} |")
    return "\n".join(lines)


def describe(config: dict[str, Any], results: list[dict[str, Any]], *, command: str, note: str) -> str:
    """What CARD.md and docs/model.md say of the teacher: data, command, cost, figures, limits."""
    training = config["training"]
    summary, sources, recipe = training["summary"], training["sources"], training["config"]
    n_better = sum(r["model"] > max(r["random"]) for r in results)
    size = config["model"]
    return f"""\
`{config["name"]}`: {size["channels"]} channels, {size["hidden"]} hidden, {size["n_layers"]} layers; window {config["window"]}; weights in bf16,
sha256 `{config["sha256"]}`.

**Data.** {sources["n_windows"]:,} windows of up to {config["window"]:,} bases sampled from {", ".join(Path(name).name for name in sources["files"])} (runs of GRCh38 of at least 1 kb, sha256
`{next(iter(sources["files"].values()))}`); {", ".join(sources["holdout"])} held out; {sources["n_held_out"]} held-out windows measured. No labelled set was trained on; the
reference sequence around items of labelled human sets was not excluded, so some of it was seen, without labels.

**Command.** `{command}` (seed {recipe["seed"]}). {note}

**Cost.** {summary["steps"]:,} steps, {summary["n_bases"] / 1e6:.1f} Mbp seen, {summary["seconds"] / 60:.0f} minutes, products in {training["products"]}.

**At the end, held out.** Loss {summary["valid_loss"]:.4f} (masked nucleotides {summary["valid_mnm_loss"]:.4f} nats, contrast {summary["valid_contrastive_loss"]:.4f});
masked bases right {summary["valid_accuracy"]:.4f}, a 7-mer table {summary["kmer_accuracy"]:.4f}; effective rank of the class tokens {summary["effective_rank"]:.1f};
agreement of student and teacher {summary["agreement"]:.3f}; teacher entropy {summary["teacher_entropy"]:.3f} of 2.303.

**Frozen vectors.** AUROC on the test split of logistic regression on mean vectors of both strands, C chosen on dev, at most 3,000 training and 1,000 dev and test rows a set
(mean over two random networks of the same size and initialisation). Above both random networks on {n_better} of {len(results)} sets.
`findna benchmark run gue --data DIR {" ".join(PROBE)}`

{table(results)}

**Limits.** Trained on {summary["n_bases"] / 1e6:.0f} Mbp; the paper's teacher saw {5e9 / summary["n_bases"]:,.0f} times as much. It has learned local composition and short words of human
sequence, little beyond. Where the difference above is negative, random weights do as well or better. Not for clinical use. The two strands of a sequence
get different vectors (`--strand both` averages them).
"""


def main() -> None:
    """Copy, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--command", required=True, help="how it was pretrained")
    parser.add_argument("--note", default="", help="what else the card says of that: machine, version")
    args = parser.parse_args()
    if not json.loads((args.run / "config.json").read_text())["training"]["summary"]["finished"]:
        parser.error(f"{args.run}: the run has not finished")
    shipped = SHIPPED / DEFAULT
    shipped.mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "golden.json", "config.json"):
        if args.run.resolve() != shipped.resolve():
            shutil.copyfile(args.run / name, shipped / name)
    config = json.loads((shipped / "config.json").read_text())
    text = describe(config, probe(args.data), command=args.command, note=args.note)
    (shipped / "CARD.md").write_text(
        f"# {config['name']}\n\n{text}\nLicence: MIT. Sequence: reference bases of GRCh38.\n"
    )
    page = DOCS / "model.md"
    before, _, rest = page.read_text().partition(MARKS[0])
    page.write_text(f"{before}{MARKS[0]}\n{text}{MARKS[1]}{rest.partition(MARKS[1])[2]}")
    with tempfile.TemporaryDirectory() as folder:
        vectors = Path(folder) / "promoters.h5"
        run("-m", "findna_cli", "embed", DOCS / "demo/promoters.fa.gz", "--strand", "both", "-o", vectors, "-q")
        run(DOCS / "demo/figure.py", vectors, DOCS / "demo/promoters.png")
    print(re.sub(r"\n\n+", "\n", text))


if __name__ == "__main__":
    main()
