"""The start of the command: fast, with help and version, and with exit code 2 for unknown words."""

import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from command import call, spawn

import findna
from findna.io.spool import Spool
from findna_cli.app import UsageError, app
from findna_cli.console import _draw, _filled, show_facts, show_table
from findna_cli.help import EXAMPLES, commands
from findna_cli.progress import Lines, _Display

PAGES = [
    "",
    "embed",
    "pretrain",
    "model",
    "model list",
    "model info",
    "model verify",
    "model convert",
    "view",
    "doctor",
]

LOADED = """
import sys
from findna_cli.app import main
pages, ending, code, *heavy = sys.argv[1:]
for page in pages.split(","):
    sys.argv = ["findna", *page.split(), *ending.split()]
    try:
        main()
    except SystemExit as end:
        assert (end.code or 0) == int(code), (page, end.code)
    print("=" * 9)
print("loaded:", sorted(set(heavy) & set(sys.modules)))
"""


def start(pages: list[str], ending: str, *heavy: str, code: int = 0) -> list[str]:
    """Screens of commands that run in one process, and last the heavy libraries that were loaded."""
    words = [sys.executable, "-c", LOADED, ",".join(pages), ending, str(code), *heavy]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("=" * 9 + "\n")


def test_no_help_page_loads_a_heavy_library() -> None:
    heavy = ("torch", "numpy", "h5py", "pysam", "pyfaidx", "Bio", "safetensors", "anndata")
    *pages, last = start(PAGES, "--help", *heavy)
    assert last == "loaded: []\n"
    assert len(pages) == len(PAGES)
    for name, page in zip(PAGES, pages, strict=True):
        assert f"Usage: findna {name}".rstrip() in page
        assert "--help" in page


def test_lists_and_descriptions_do_not_load_torch() -> None:
    pages = ["model list", "model info", "task list", "task info covid", "task info tf-0", "view out.h5"]
    Path("a.fa").write_text(">a\nACGTACGT\n")
    assert call("embed", "a.fa", "-o", "out.h5").code == 0
    *_, last = start(pages, "", "torch", "pandas", "sklearn", "matplotlib")
    assert last == "loaded: []\n"


def test_a_wrong_input_is_an_error_before_torch_is_loaded() -> None:
    Path("g.fa").write_text(">chr1\nACGTACGT\n")
    Path("empty.bed").touch()
    Path("other.bed").write_text("1\t0\t8\n")
    pages = [
        "embed absent.fa",
        "embed empty.bed -g absent.fa",
        "embed other.bed -g g.fa",
        "embed empty.bed --dry-run",
        "classify empty.bed -g g.fa --task covid",
        "score empty.bed -g g.fa",
        "predict-bases empty.bed -g g.fa",
        "mutagenesis g.fa -g absent.fa",
    ]
    *screens, last = start(pages, "", "torch", code=1)
    assert (len(screens), last) == (len(pages), "loaded: []\n")


FINISHED = [
    "embed a.fa -o e.h5",
    "embed a.fa -o e.tsv",
    "embed a.fa --shard 1/2 -o part.h5",
    "classify a.fa --task covid -o c.tsv",
    "classify r.bed -g a.fa --task covid --windows -o w.tsv --track w.bedgraph --label Alpha",
    "score v.tsv -g a.fa -o s.tsv",
    "score v.tsv -g a.fa --task covid -o t.tsv",
    "score v.tsv -g a.fa -o x.tsv --embeddings x.h5",
    "predict-bases a.fa -o b.h5 --passes 2",
    "mutagenesis s.fa -o m.h5",
    "split a.fa -n 2 -o plan.json",
]
CHANGED = [
    "embed a.fa -o e.h5 --pool max",
    "embed a.fa -o e.tsv --precision bf16-stream",
    "embed a.fa --shard 1/2 -o part.h5 --batch-bases 999",
    "classify a.fa --task covid -o c.tsv --abstain 0.5",
    "classify r.bed -g a.fa --task covid --windows -o new.tsv --track w.bedgraph --label Alpha",
    "score v.tsv -g a.fa -o s.tsv --max-length 9",
    "score v.tsv -g a.fa -o x.tsv --embeddings e.h5",
    "predict-bases a.fa -o b.h5 --passes 4",
    "mutagenesis s.fa -o m.h5 --pairs",
    "split a.fa -n 3 -o plan.json",
    # files of others, and a run that was interrupted
    "embed a.fa -o other.h5",
    "classify a.fa --task covid -o other.tsv",
    "score v.tsv -g a.fa -o other.tsv",
    "predict-bases a.fa -o other.h5",
    "mutagenesis a.fa -o other.h5",
    "embed a.fa -o interrupted.h5",
    "predict-bases a.fa -o interrupted.h5",
    "mutagenesis a.fa -o interrupted.h5",
    "score v.tsv -g a.fa -o interrupted.h5 --format tsv",
]


def test_a_finished_output_is_answered_before_torch_is_loaded() -> None:
    bases = "".join(np.random.default_rng(1).choice([*"ACGT"], 300))
    Path("a.fa").write_text(f">chr1\n{bases}\n")
    Path("s.fa").write_text(f">short\n{bases[:12]}\n")
    Path("r.bed").write_text("chr1\t0\t300\n")
    Path("v.tsv").write_text(f"chrom\tpos\tref\talt\nchr1\t150\t{bases[149]}\t{'A' if bases[149] != 'A' else 'C'}\n")
    for line in FINISHED:
        result = call(*line.split())
        assert result.code == 0, result.err
    for name in ("other.h5", "other.tsv"):
        Path(name).write_text("mine\n")
    with Spool(Path("interrupted.h5.partial"), ["x"], {}) as spool:
        spool.append("x", b"rows")
        spool.commit({"rows": 1})
    *screens, last = start(FINISHED, "", "torch")
    assert (len(screens), last) == (len(FINISHED), "loaded: []\n")
    *screens, last = start(CHANGED, "", "torch", code=1)
    assert (len(screens), last) == (len(CHANGED), "loaded: []\n")
    assert (Path("other.h5").read_text(), Path("new.tsv").exists()) == ("mine\n", False)


def test_help_is_shown_without_docstrings() -> None:
    command = [sys.executable, "-OO", "-m", "findna_cli", "pretrain", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--learning-rate" in done.stdout


def test_the_version_is_that_of_the_package() -> None:
    result = spawn("--version")
    assert result == (0, f"findna {findna.__version__}\n", "")


def test_nothing_at_all_shows_the_help_and_is_a_mistake() -> None:
    result = call()
    assert result.code == 2
    assert "pretrain" in result.out + result.err


def test_what_is_not_known_is_exit_2() -> None:
    for args, message in {
        ("embd",): "No such command 'embd'",
        ("embed",): "Missing argument",
        ("model", "lst"): "No such command 'lst'",
        ("view", "a.h5", "--rows", "-1"): "--rows must be 0 or more",
        ("--nope",): "No such option: --nope (see",
        ("embed", "a.fa", "--batch-size", "9"): "--batch-size; did you mean --batch-bases? (see",
        ("embed", "a.fa", "--window-size", "9"): "--window-size; did you mean --window? (see",
        ("embed", "a.fa", "--batch", "9"): "--batch; did you mean --batch-bases? (see",
        ("embed", "a.fa", "--gpu", "1"): "--gpu; did you mean --gpus? (see",
        ("pretrain", "a.fa", "--mask", "1"): "No such option: --mask (see",  # --mask-fraction, --mask-span
        ("embed", "a.fa", "--cpus", "1"): "No such option: --cpus (see",
        ("finetune", "a.csv", "--lr", "1"): "No such option: --lr (see",
    }.items():
        result = call(*args)
        assert result.code == 2, args
        assert message in result.err
        assert "--help`" in result.err


def test_a_flag_with_a_missing_or_needless_value_is_exit_2() -> None:
    for name in ("-x.fa", "-g.fa", "-quick.fa", "-x=1.fa", "-q", "-", "--x.fa"):
        Path(name).write_text(">a\nACGT\n")
    for args, message in {
        ("embed", "a.fa", "--window"): "'--window' requires an argument",
        ("embed", "a.fa", "--out"): "'--out' requires an argument",
        ("embed", "a.fa", "--quiet=3"): "'--quiet' does not take a value",
        ("embed", "a.fa", "-o=x.h5"): "-o=x.h5: a flag of one letter takes its value after a blank: -o x.h5",
        ("embed", "-o", "-o=x.h5"): "Missing argument",
        ("embed", "-qo", "-g.fa"): "Missing argument",
        ("embed", "-q", "-"): "an output of stdin needs a name",
        **{
            ("embed", name): f"{name}: a file name that begins with '-' needs its folder: ./{name}"
            for name in ("-x.fa", "-g.fa", "-quick.fa", "-x=1.fa", "--x.fa")
        },
    }.items():
        result = call(*args)
        assert (result.code, message in result.err) == (2, True), result.err


def test_after_two_dashes_a_name_may_begin_with_one(model: Path) -> None:
    for name in ("-g.fa", "-x=1.fa", "--out="):
        Path(name).write_text(">a\nACGTACGTACGT\n")
        result = call("embed", "-m", model, "-o", f"{len(name)}.h5", "--", name)
        assert result.code == 0, result.err
    assert "is empty" in call("embed", "--", "").err


def test_every_command_has_two_examples_whose_flags_exist_and_that_fit_on_80_columns() -> None:
    root = typer.main.get_command(app)
    names = {path.strip() for path, _ in commands(root, "")}
    assert names == set(EXAMPLES)
    for name, lines in EXAMPLES.items():
        assert len(lines) >= 2 - (name == "model list"), name
        for line in lines:
            assert len(line) <= 75, line  # four columns for the bullet, one for the edge
            _, *words = shlex.split(line.partition(" | ")[0])
            found = root
            while hasattr(found, "commands"):
                found = found.commands[words.pop(0)]
            found.make_context("findna", words)  # raises where a flag or a value is unknown


def test_no_flag_takes_a_number_with_an_underscore_or_in_other_digits() -> None:
    n_flags = 0
    for _, command in commands(typer.main.get_command(app), ""):
        context = typer.Context(command)
        for flag in (one for one in command.params if one.param_type_name == "option"):
            with suppress(UsageError):
                if type(flag.process_value(context, "3")) not in (int, float):
                    continue
                n_flags += 1
                for text in ("1_0", "\u0661"):
                    with pytest.raises(UsageError, match=r"number|must be one|not a duration"):
                        flag.process_value(context, text)
    assert n_flags > 100


def test_a_default_can_be_given_as_the_help_shows_it() -> None:
    n_shown = 0
    for name, command in commands(typer.main.get_command(app), ""):
        context = typer.Context(command)
        for flag in (one for one in command.params if one.param_type_name == "option" and one.metavar):
            shown = flag.show_default if isinstance(flag.show_default, str) else flag.default
            if shown not in (None, "", True, False):
                n_shown += 1
                assert flag.process_value(context, str(shown)) is not None, (name, flag.name)
    assert n_shown > 100


def test_help_names_a_command_and_close_matches_are_suggested() -> None:
    assert "Usage: findna data fetch" in call("help", "data", "fetch").out
    assert "Did you mean 'embed'?" in call("help", "embd").err
    assert call("embd").err.startswith("findna: No such command 'embd'. Did you mean 'embed'?")
    assert "--genome" in call("embed", "a.bed", "--genme", "x").err


def test_a_help_page_has_panels_and_units() -> None:
    page = call("embed", "--help").out
    panels = [line.split("─ ")[1].split(" ─")[0] for line in page.splitlines() if line.startswith("╭─ ")]
    assert panels == ["Arguments", "Input", "Output", "Model", "Compute"]
    assert "BASES" in page
    assert "fail|skip" in page


def test_a_narrow_help_page_has_the_defaults_of_a_wide_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("60", "100"):
        monkeypatch.setenv("COLUMNS", columns)
        assert "[default: training]" in call("benchmark", "speed", "--help").out
        page = call("finetune", "--help").out  # its defaults are those of a recipe
        assert ("[default: 128]" in page, "[default: class-tokens]" in " ".join(page.split()), "FOLDER" in page) == (
            (True, columns == "100", True)
        )


def test_numbers_are_aligned_and_a_path_stays_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show_table(["id", "start", "f000"], [["a", "900", "0.5"], ["b", "1000", "-0.25"]])
    assert capsys.readouterr().out == "id  start   f000\na     900    0.5\nb    1000  -0.25\n"
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    path = "/data/" + "x" * 60
    show_facts({"folder": path, "sha256": "ab"})
    assert capsys.readouterr().out == f"folder  {path}\nsha256  ab\n"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_table_in_a_terminal_breaks_no_word(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    header = [
        "size",
        "measured",
        "precision",
        "lengths",
        "bases/s",
        "share of the products' rate",
        "time per base",
        "MB",
    ]
    row = ["small", "pretraining step", "bf16-stream", "100-1000", "132,346", "0.33", "1.20", "[10]"]
    _draw("\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * 8, row)))
    shown = capsys.readouterr().out
    assert set(" ".join([*header, *row]).split()) <= set(shown.split())
    assert max(map(len, shown.splitlines())) <= columns


def test_a_phase_without_steps_empties_the_bar_and_a_phase_that_comes_again_is_timed_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("findna_cli.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    shown: dict[str, Any] = {}
    display = _Display(lambda **what: shown.update(what), "training", None, "steps")
    for _ in range(2):
        display.enter("trying penalties", 0, 6)
        now[0] += 20
        display.enter("trying penalties", 2, 6)
        assert (shown["completed"], shown["state"]) == (2, "2 of 6  6.0/min  0:40 left")
        display.enter("finding axes", 0, None)
        assert (shown["description"], shown["completed"], shown["state"]) == ("finding axes", 0, "")
        now[0] += 100


def test_a_log_has_a_line_after_half_a_minute_and_then_at_each_tenth_or_ten_minutes() -> None:
    log = Lines(0)
    assert log.line(60) == ""  # nothing has begun
    display = _Display(log, "embedding", 1000, "records")
    display.enter("loading findna-small", 0, None)
    assert (log.line(29.9), log.line(30)) == ("", "loading findna-small")
    display(40)
    assert (log.line(89), log.line(90).startswith("embedding: 40 of 1,000 records")) == ("", True)  # another phase
    display(130)
    assert log.line(500) == ""
    display(140)
    assert log.line(501).startswith("embedding: 140 of 1,000 records")
    assert (log.line(1100), log.line(1101).startswith("embedding: 140 of 1,000")) == ("", True)


def test_a_long_command_writes_progress_to_a_log_and_nothing_if_it_is_quiet(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("findna_cli.progress._FIRST", 0.01)
    monkeypatch.setattr("findna_cli.progress._SHORTEST", 0.01)
    bases = np.random.default_rng(3).choice([*"ACGT"], 9_000)
    Path("g.fa").write_text(f">chr1\n{''.join(bases)}\n")
    alts = {base: "A" if base != "A" else "C" for base in "ACGT"}
    lines = [f"chr1\t{place + 1}\t{bases[place]}\t{alts[bases[place]]}\n" for place in range(50, 8_000, 30)]
    Path("v.tsv").write_text("chrom\tpos\tref\talt\n" + "".join(lines))
    Path("r.bed").write_text("".join(f"chr1\t{start}\t{start + 50}\n" for start in range(0, 8_000, 20)))
    rate = r"  [\d,.]+/s  \d:\d\d left"
    for args, text in {
        ("embed", "r.bed", "-g", "g.fa", "-o", "r.h5"): rf"embedding: [\d,]+ of 400 records{rate}",
        ("embed", "r.bed", "-g", "g.fa", "-o", "q.h5", "--quiet"): "",
        ("score", "v.tsv", "-g", "g.fa", "-o", "s.tsv", "--max-length", 10): rf"scoring: \d+ of ~?\d+ records{rate}",
        ("mutagenesis", "chr1:1-40", "-g", "g.fa", "-o", "m.h5"): r"(mutating|positions|strands|computing windows): ",
    }.items():
        result = call(*args, "-m", model, "--threads", 1)
        assert result.code == 0, result.err
        assert re.search(text, result.err) if text else result.err == "", result.err


def test_a_command_in_a_message_is_not_broken_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    command = "`sed -E '/^#/! s/^/chr/' a_rather_long_name.bed > renamed.bed`"
    assert _filled(f"contig '1' is not in the genome; {command} adds chr", sys.stderr).split("\n") == [
        "contig '1' is not in the genome;",
        command,
        "adds chr",
    ]
