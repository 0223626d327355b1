"""The pages of the shipped teacher, made from JSON files: its card, its section in model.md, its report."""

import json
import re
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from findna.benchmark.report import as_markdown, make_report
from findna.benchmark.results import read_result
from findna.benchmark.study import read_log
from findna.benchmark.study_table import compare
from findna.benchmark.teacher_page import TITLES, read_teacher, teacher_markdown
from findna.io.files import write_atomic

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
SEQUENCE = "runs of GRCh38 of at least 1 kb. No label was trained on"
FETCH = "findna data fetch hg38"
WIDTH = 100
"""Characters of a line of a command."""
PAPER_BASES = 5e9
LICENCE = "Weights, code and documentation: MIT. Sequence: public reference genomes (Genome Reference Consortium and its forerunners), free to use."

Json = dict[str, Any]


def put(page: Path, name: str, text: str) -> None:
    """Replace the text between the marks `<!-- NAME -->` and `<!-- /NAME -->` of a page."""
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.read_text().partition(first)
    write_atomic(page, f"{before}{first}\n{text.strip()}\n{last}{rest.partition(last)[2]}")


def card(config: Json, folder: Path) -> str:
    """CARD.md of the model folder."""
    return f"# {config['name']}\n\n{describe(config, folder)}\n{LICENCE}\n"


def describe(config: Json, folder: Path) -> str:
    """Data, command, cost, figures and limits of the teacher."""
    summary, size = config["training"]["summary"], config["model"]
    how = json.loads((folder / "how.json").read_text())
    return f"""\
`{config["name"]}`: {size["channels"]} channels, {size["hidden"]} hidden units, {size["n_layers"]} layers, shift layout `{size.get("shift_layout", "published")}`; window {config["window"]:,} bases;
weights in bf16, sha256 `{config["sha256"]}`.

{made_of(config, folder)}

**Held-out windows at the end of the run.** Masked-base loss {summary["valid_mnm_loss"]:.4f} nats; masked-base accuracy {summary["valid_accuracy"]:.4f} (7-mer table: {summary["kmer_accuracy"]:.4f});
effective rank of the class tokens {summary["effective_rank"]:.1f}.

**Masked-base accuracy on other held-out windows.** {masked(folder)}

**Frozen vectors, validation splits.** {validation(folder)}

{limits(how, summary)}
"""


def made_of(config: Json, folder: Path) -> str:
    """Data, command and cost."""
    training = config["training"]
    sources, summary, how = training["sources"], training["summary"], json.loads((folder / "how.json").read_text())
    files = "".join(f"\n- {Path(name).name}: sha256 `{sha}`" for name, sha in sources["files"].items())
    held_out = ", ".join(Path(name).name for name in sources["holdout"]) or "the last hundredth"
    return f"""\
**Data.** {sources["n_windows"]:,} windows of up to {config["window"]:,} bases:

{sequence(folder, how)}
- No label was trained on.
- Held-out file: {held_out}; {sources["n_held_out"]} of these windows were measured during the run.{files}

**Command** (seed {training["config"]["seed"]}):

{block(how["command"])}

{how["note"]}

**Cost.** {summary["steps"]:,} steps, {summary["n_bases"] / 1e6:.1f} Mbp seen, {summary["seconds"] / 60:.0f} minutes, products in {training["products"]}."""


def block(command: str) -> str:
    """A command as an indented block, continued before a flag where it is long."""
    lines: list[str] = [""]
    for part in re.split(r" (?=--?[a-z])", command):
        if lines[-1] and len(lines[-1]) + len(part) > WIDTH:
            lines.append("    ")
        lines[-1] += f"{' ' if lines[-1].strip() else ''}{part}"
    return "    " + " \\\n    ".join(lines)


def sequence(folder: Path, how: Json) -> str:
    """What the windows are of, as a list: from the manifest of `findna data windows` where there is one."""
    if not (folder / "windows.json").is_file():
        return f"- {how['sequence']}"
    manifest = json.loads((folder / "windows.json").read_text())
    windows, settings = manifest["windows"], manifest["settings"]
    names = {one["name"]: Path(one["path"]).name for one in manifest["sources"]}
    parts = ", ".join(f"{n:,} of {names[name]}" for name, n in windows["by_source"].items())
    left_out = windows["n_left_out"]
    facts = [
        f"{parts}; drawn by `findna data windows` (manifest: docs/models/{folder.name}/windows.json)",
        f"Held out: {', '.join(manifest['holdout']) or 'nothing'}",
    ]
    if manifest.get("cut"):
        n_cut = sum(one["n_bases_cut"] for one in manifest["sources"])
        facts.append(f"The sequences and regions of {len(manifest['cut'])} files were cut out ({n_cut:,} bases)")
    if manifest["exclude"]:
        n_shared, n_files = settings.get("exclude_kmers", settings.get("exclude_words")), len(manifest["exclude"])
        facts.append(
            f"Windows that share {n_shared} or more 31-mers with {n_files} files were excluded ({left_out['excluded']:,})"
        )
    facts.append(f"Of {windows['n_drawn']:,} drawn windows, {left_out['repeated']:,} duplicates were dropped")
    return "\n".join(f"- {fact}." for fact in facts)


def masked(folder: Path) -> str:
    """Masked-base accuracy of the teacher and of the counting models."""
    models = read_teacher(folder / "teacher.json")["masked_bases"]["models"]
    own, *others = [f"{title} {models[name]['accuracy']:.4f}" for name, title in TITLES.items()]
    return f"{own[0].upper()}{own[1:]}; {'; '.join(others)}."


def limits(how: Json, summary: Json) -> str:
    """What the model has not seen, and what it must not be used for."""
    seen = how.get("n_bases") or summary["n_bases"]
    share = f"; the paper's teacher saw {PAPER_BASES / seen:,.0f} times as much" if seen < PAPER_BASES / 2 else ""
    return f"""\
**Limits.** Trained on {seen / 1e6:,.0f} Mbp{share}. It has seen only the sequence and the species named under Data. The two strands of a sequence get different vectors;
`--strand both` averages them. Not for clinical use."""


def validation(folder: Path) -> str:
    """Mean validation AUROC of frozen probes, beside networks of the same size with random weights."""
    comparisons, _ = compare(list(read_log(folder / "validation/study.json").values()))
    random, own = comparisons
    sets = own.runs[0]["scores"]
    ahead = [
        own.runs[0]["scores"][name] - float(np.mean([run["scores"][name] for run in random.runs])) for name in sets
    ]
    table = "\n".join(
        f"| {name} | {own.runs[0]['scores'][name]:.3f} | {own.runs[0]['scores'][name] - difference:.3f} | {difference:+.3f} |"
        for name, difference in zip(sets, ahead, strict=True)
    )
    return f"""\
The mean AUROC over {len(sets)} sets is {own.score:.3f}. {len(random.runs)} networks with random weights and the same read-out have {random.score:.3f} ({own.difference:+.3f}).
The probe is logistic regression on at most {max(n for n, _ in own.runs[0]["n"].values()):,} training sequences per set. Its penalty is chosen on the validation split.

| set | this model | random weights | difference |
|---|---|---|---|
{table}

Command: `{own.runs[0]["command"]}`."""


AGAINST_RANDOM = (
    ("probe", "random", "frozen probe: above random weights"),
    ("finetune", "random-finetune", "fine-tuned: above random weights that are fine-tuned in the same way"),
)


def counts(results: Path) -> str:
    """On how many sets the teacher is above quoted figures, 6-mers and random weights."""
    found = [read_result(path) for path in sorted(results.glob("*.json"))]
    notes = [note for section in make_report(found) for note in section.notes if ": above the best quoted" in note]
    means = {(one["task"], one["mode"]): one["mean"]["test"]["auroc"] for one in found}
    for mode, other, words in AGAINST_RANDOM:
        both = [
            (mean, means[task, other]) for (task, one), mean in means.items() if one == mode and (task, other) in means
        ]
        if both:
            above = sum(a > b for a, b in both)
            notes.append(f"{words} on {above} of {len(both)} sets, on average by {fmean(a - b for a, b in both):.3f}.")
    return "\n".join(f"- {note}" for note in notes)


def report(config: Json, folder: Path, results: Path) -> str:
    """docs/models/NAME.md."""
    training, name, how = config["training"], config["name"], json.loads((folder / "how.json").read_text())
    recipe = [f"| `{key}` | {value} |" for key, value in training["config"].items() if key != "model"]
    recipe += [f"| `{key}` (size) | {value} |" for key, value in config["model"].items()]
    found = teacher_markdown(read_teacher(folder / "teacher.json"))
    return f"""\
# {name}: how it was made, and what it has learned

This page describes the teacher in the package: its training, its figures and its limits. `python docs/tools/ship.py` makes the page from the JSON files in
[{name}/]({name}/) and [../results/gue](../results/gue). Each figure below is in one of these files, with its command.

## Data, command, cost

{made_of(config, folder)}

## Recipe

`findna pretrain --help` explains each setting. [Reproducing](../reproducing.md) lists the differences from the paper and the reasons.
[The study](../results/study) compares variants.

| setting | value |
|---|---|
{chr(10).join(recipe)}

## What it has learned

{found.replace("](", f"]({name}/")}
The sequences are those of [elements.csv.gz](../demo/README.md), 200 bases each. None shares a 31-mer with the training windows.

| class | sequences |
|---|---|
| promoter | the middle of GUE prom_300_all |
| enhancer | the middle of GenomicBenchmarks human_enhancers_ensembl |
| repeat, unique | pieces of chr20 that RepeatMasker and Tandem Repeats Finder mark completely, or not at all |

There is no class of coding sequence, because we had none with coordinates. The neighbours of a repeat are mostly copies from its own family.

## Frozen probes

{validation(folder)}

{gue_table(results)}

[The report](../results/gue.md) has all figures and all sets, also those that are not comparable with published ones.

## The paper's tables 1 and 4

**Table 1** (frozen vectors on eight sets of GenomicBenchmarks) needs complete sets: intervals on all of GRCh38, a mouse genome, a worm genome and transcripts. We
had sequence for parts of five sets only. These parts are not random samples, so we do not compare them with that table. If you have the genomes, run

    findna benchmark run genomic-benchmarks --data datasets --genome hg38.2bit --genome mus_musculus=mm10.2bit --mode probe,random

**Table 4** (which augmentations make the two views; the same sets) cannot be repeated on those sets for the same reason. Its four pairs are available as settings:
`--student-augment M --teacher-augment ""` (M+NoAug), `M` and `DIT`, `MDT` and `DIT`, `MDIT` and `NR` (the default). `findna benchmark study` compares these pairs, student
and teacher, CM-MNM (`--alpha 1`) and FinDNA-T (`--mixer transformer`). It uses the validation AUROC of frozen probes on complete GUE sets. See
[the table](../results/ablations/study.md) and [the page](../reproducing.md#the-papers-ablations).

## Limits and misuse

{limits(how, training["summary"])}

- A vector describes a sequence as a network sees it that has learned to predict masked bases. It is not an annotation, a variant effect or a phenotype, and says nothing about a person.
- The test splits of labelled human sets come from the human genome. The model may have seen their neighbourhood, without labels. This holds for every model that was pretrained on the genome.
- A probe relies largely on base composition. Compare each figure with random weights and 6-mers.
- Other species, long repeats and windows that are mostly N were not measured.

## Licence

{LICENCE}
The labelled sets (GUE and GenomicBenchmarks, Apache-2.0) were used for measurements and are not in the package.

## Repeat it in three commands

On a CPU:

{block(how["prepare"])}
{block(how["command"])}
    python docs/tools/ship.py runs/{name} --data DIR --sources {" ".join(Path(file).name for file in training["sources"]["files"])} --command "..."

{again(how)}The length of a run with a time budget depends on the clock. You get a similar teacher, not the same bits.

`base`, the paper's size, at the paper's scale on one H200 (not run yet):

    findna data windows hg38=$(findna data fetch hg38) --n 100000 --min-length 1000 --holdout chr8,chr20 --out windows.fa.gz
    findna pretrain windows.fa.gz windows.held-out.fa.gz --holdout windows.held-out.fa.gz --preset base --device cuda --out runs/base
    python docs/tools/ship.py runs/base --data DIR --sources windows.fa.gz windows.held-out.fa.gz --command "findna pretrain windows.fa.gz ..."

`DEFAULT` in `findna/models/folders.py` is the name of the shipped model.
"""


def gue_table(results: Path) -> str:
    """The sections of the report that have our figures beside quoted ones."""
    sections = make_report(map(read_result, sorted(results.glob("*.json"))))
    text = as_markdown([one for one in sections if "quoted figures" in one.title])
    return text.removeprefix("# Benchmark").replace("\n## ", "\n### ").strip()


def again(how: Json) -> str:
    """Files to give in place of those that are not available."""
    if how["prepare"] != FETCH:
        return ""
    return "The first command prints the path of the complete GRCh38. Give it with `--genome`. We trained on a part of it, the files under Data.\n"
