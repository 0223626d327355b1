"""The plan of a dry run, and the contents of an embedding file in words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from findna.counts import counted
from findna_cli.console import duration, say, show_facts, size

_DEFAULTS = {
    "blocks": "",
    "strand": "bed",
    "dtype": "float32",
    "raw": False,
    "with_cls": False,
    "with_tokens": False,
    "size": None,
    "center": "middle",
    "max_n": 1.0,
    "split": False,
}


def say_uneven(report: Mapping[str, Any], *, quiet: bool = False) -> None:
    """Say that the shards of a run are uneven."""
    if text := report.get("uneven_shards"):
        say(text, quiet=quiet)


def show_plan(report: Mapping[str, Any], out: Path) -> None:
    """Show the plan of `--dry-run` on stdout, and the problems on stderr."""
    n_records, n_problems = report["n_records"], report["n_problems"]
    counts = dict(sorted(report["problems"].items(), key=lambda one: -one[1]))
    own, where = "", ""
    if "shard" in report:
        own = (
            f"{report['shard']}: {counted(report['shard_records'], 'record')}, {counted(report['shard_bases'], 'base')}"
        )
        where = " in the complete input"
    show_facts(
        {
            "shard": own,
            "records": f"{n_records:,}{where}",
            "bases": f"{report['n_bases']:,}{where}",
            "windows": f"{report['n_windows']:,}{where}",
            "not counted": ", ".join(report["not_counted"]),
            "model": f"{report['model']}, {report['precision']} on {report['device']}",
            "time": f"about {duration(report['estimated_seconds'])} at {report['bases_per_second']:,} bases/s"
            f"{' for the shard' * bool(own)}",
            "output": f"{out}, about {size(report['output_bytes'])}",
            "problems": "; ".join(
                f"{count:,} of {counted(n_records, 'record')}{where}: {name}" for name, count in counts.items()
            )
            or ("none" if not n_problems else f"{n_problems:,} of {counted(n_records, 'record')}{where}"),
        }
    )
    say_uneven(report)
    if report["first_problems"]:
        say(report["first_problems"])


def show_file(summary: Mapping[str, Any]) -> None:
    """Show the result of `findna.io.view.describe` on stdout."""
    made = summary.get("provenance", {})
    model, params, genome = (summary.get(name) or {} for name in ("model", "params", "genome"))
    versions = made.get("versions", {})
    classes = summary["class_tokens"]
    skipped = [f"{one['id'] or '(no id)'} ({one['source']}): {one['reason']}" for one in summary["skipped"]]
    if summary["n_skipped"] > len(skipped):
        skipped.append(f"and {summary['n_skipped'] - len(skipped):,} more")
    show_facts(
        {
            "file": f"{summary['path']}, {size(summary['n_bytes'])}, {summary['schema']}",
            "rows": f"{summary['n_rows']:,} of {counted(summary['n_expected'], 'record')}, "
            f"{summary['n_skipped']:,} skipped",
            "vectors": f"{summary['n_features']:,} x {summary['dtype']}: {', '.join(summary['features'])}",
            "class tokens": f"{classes[0]} x {classes[1]:,}" if classes else "",
            "columns": ", ".join(summary["columns"]),
            "model": ", ".join(filter(None, (model.get("name"), f"sha256 {str(model.get('sha256'))[:12]}"))),
            "read-out": ", ".join(_settings(params)),
            "genome": f"{genome['path']}, contigs: {genome.get('n_contigs', 0):,}" if genome.get("path") else "",
            "inputs": ", ".join(one["path"] for one in summary.get("inputs", [])),
            "shard": json.dumps(summary["shard"]) if "shard" in summary else "",
            "command": made.get("command", ""),
            "made": ", ".join(
                part
                for part in (
                    made.get("ended", ""),
                    f"findna {versions['findna']}" if "findna" in versions else "",
                    f"torch {versions['torch']}" if "torch" in versions else "",
                    f"{params.get('precision', '')} on {made['device']}" if "device" in made else "",
                )
                if part
            ),
            "skipped": "\n".join(skipped),
        }
    )


def _settings(params: Mapping[str, Any]) -> list[str]:
    """The settings of a run that decide its values, without those that have their defaults."""
    values = {name: value for name, value in params.items() if value != _DEFAULTS.get(name, ...)}
    if values.get("blocks"):
        values.pop("layer", None)
    shown = [
        name
        for name in ("pool", "blocks", "layer", "window", "stride", *list(_DEFAULTS)[1:])
        if values.get(name) is not None
    ]
    return [name if values[name] is True else f"{name} {_number(values[name])}" for name in shown]


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
