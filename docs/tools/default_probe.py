"""scikit-learn's default logistic regression on the vectors that findna writes, beside findna's own probe.

    python docs/tools/default_probe.py gue docs/results/read-outs/default_probe.json

For each complete GUE set, both are fitted on the same 2,000 training rows (`findna.embed`, default read-out, the strand
as given) and scored on every second row of the validation split. The other rows choose the penalty of findna's probe;
scikit-learn's is left at its default. The test splits are not read.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from pages import SETS
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import findna
from findna.benchmark.baselines import Data, fit_strands
from findna.benchmark.suites import find_tasks
from findna.io.files import write_atomic

ROWS = 2000


def main(folder: str, target: str) -> None:
    """Write the AUROC of both on each set, and the largest difference."""
    model = findna.load_model()
    tasks, _ = find_tasks("gue", Path(folder), only=SETS)
    found = {}
    for task in tasks:
        splits = task.load().limited(ROWS, ROWS)
        x, y = {}, {}
        for name, split in zip(("train", "valid"), splits.chosen(0), strict=True):
            x[name] = findna.embed([split.corpus[i] for i in range(len(split))], model=model)
            y[name] = split.labels
        with warnings.catch_warnings():  # the default number of iterations may not suffice: it is the default
            warnings.simplefilter("ignore")
            plain = LogisticRegression().fit(x["train"], y["train"])
        scored, chooses = (Data(x["valid"][first::2], y["valid"][first::2]) for first in (0, 1))
        probe = fit_strands({"bed": (Data(x["train"], y["train"]), chooses, scored)}, n_classes=2)
        found[task.name] = {
            "scikit_learn": round(roc_auc_score(scored.y, plain.decision_function(scored.x)), 4),
            "probe": round(roc_auc_score(scored.y, probe.test[:, 1]), 4),
            "n_scored": len(scored.y),
        }
        print(task.name, found[task.name], flush=True)
    shortfall = max(one["probe"] - one["scikit_learn"] for one in found.values())
    facts = {
        "command": f"python docs/tools/default_probe.py {folder} {target}",
        "model": {"name": model.name, "sha256": model.sha256},
        "rows": ROWS,
        "sets": found,
        "mean_difference": round(float(np.mean([one["scikit_learn"] - one["probe"] for one in found.values()])), 4),
        "largest_shortfall": round(shortfall, 4),
    }
    write_atomic(Path(target), json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
