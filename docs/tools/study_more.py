"""More figures of the models of a study: masked bases on other windows, and fine-tuning on some sets.

    python docs/tools/study_more.py docs/results/layouts --windows norep.held-out.fa.gz --data gue more.json

The models are those that `findna benchmark study` keeps in `runs/`. The masked bases are those of `findna benchmark teacher`.
Each model is fine-tuned with the default recipe and seed 0, and measured on the validation split, which also chose the
checkpoint. Test splits are not read. The file is written after every model; the same command resumes.
"""

import argparse
import json
import tempfile
from pathlib import Path

import findna
from findna.benchmark.counting import iter_masked
from findna.benchmark.teacher import network_guesses
from findna.commands.training import finetune
from findna.config import ComputeConfig
from findna.data.datasets import corpus_of
from findna.errors import InputError
from findna.io.fasta import read_fasta
from findna.io.files import write_atomic
from findna.nn.device import Compute

N_ROUNDS, MASK_FRACTION, MASK_SEED = 3, 0.3, 1


def masked_accuracy(folder: Path, windows: Path) -> float:
    """The fraction of masked bases of the windows that the model of a folder predicts."""
    corpus = corpus_of(item.codes for item in read_fasta(windows) if not isinstance(item, InputError))
    items = list(iter_masked(corpus, fraction=MASK_FRACTION, seed=MASK_SEED, n_rounds=N_ROUNDS))
    compute = Compute.begin(ComputeConfig())
    network = findna.load_model(folder).network.for_inference(compute)
    return float(network_guesses(network, items, compute=compute).is_right.mean())


def fine_tuned(folder: Path, splits: Path, epochs: int, threads: int) -> float:
    """Validation AUROC of a fine-tuning on the labelled set in a folder."""
    with tempfile.TemporaryDirectory() as out:
        train, valid = splits / "train.csv.gz", splits / "dev.csv.gz"
        found = finetune([train], Path(out) / "run", valid=[valid], model=folder, epochs=epochs, threads=threads)
    return float(found["metrics"]["valid"]["auroc"])


def main() -> None:
    """Measure every model of the study that the file lacks."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("study", type=Path, help="folder of the study")
    asked.add_argument("out", type=Path, help="JSON file")
    asked.add_argument("--windows", type=Path, required=True, help="FASTA file of windows")
    asked.add_argument("--data", type=Path, required=True, help="folder of the labelled sets")
    asked.add_argument("--task", action="append", help="labelled sets; default: mouse/0 and tf/3")
    asked.add_argument("--epochs", type=int, default=5)
    asked.add_argument("--threads", type=int, default=0)
    args = asked.parse_args()
    known = json.loads(args.out.read_text()) if args.out.exists() else {}
    for folder in sorted((args.study / "runs").iterdir()):
        if folder.name in known or not (folder / "config.json").is_file():
            continue
        known[folder.name] = {
            "masked_accuracy": masked_accuracy(folder, args.windows),
            "fine_tuned": {
                task: fine_tuned(folder, args.data / task, args.epochs, args.threads)
                for task in args.task or ["mouse/0", "tf/3"]
            },
            "epochs": args.epochs,
        }
        write_atomic(args.out, json.dumps(known, indent=1) + "\n")
        print(folder.name, json.dumps(known[folder.name]), flush=True)


if __name__ == "__main__":
    main()
