"""Coverage-guided runs over the parsers; needs `pip install atheris`.

    python tests/faults/fuzz/fuzz.py NAME -max_total_time=60   # one parser, with flags of libFuzzer
    python tests/faults/fuzz/fuzz.py all 3600 FOLDER           # all parsers, for this number of CPU seconds together

A run adds inputs that reach new code to a copy of `corpus/NAME`. With `all`, the copies are in FOLDER. A second run
continues with them. Inputs that fail are in the same folder, as NAME.crash-*. `minimise FOLDER` writes the smallest set
of files with the same coverage to `corpus/`, each of at most 2,000 bytes and 12 for each parser.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROUND = 60  # seconds of a parser at a time
MOST_FILES, MOST_BYTES = 12, 2000
sys.path.insert(0, str(HERE))


def fuzz(name: str, flags: list[str], corpus: Path) -> None:
    """Fuzz a parser; libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["findna", "parsers", "stored"]):
        import parsers
    os.fsync = os.fdatasync = lambda _: None  # nothing here outlives the process
    limits = ["-timeout=300", "-rss_limit_mb=2048", f"-artifact_prefix={corpus.parent}/{name}."]
    atheris.Setup([sys.argv[0], *limits, *flags, str(corpus)], lambda data: parsers.run(name, data))
    atheris.Fuzz()


def fuzz_all(seconds: float, folder: Path) -> None:
    """Fuzz each parser in turn until all together have had so much CPU; a failing input ends the parser's turns."""
    names = sorted(path.name for path in (HERE / "corpus").iterdir())
    used, failed = dict.fromkeys(names, 0.0), set[str]()
    while sum(used.values()) < seconds and failed != set(names):
        name = min(set(names) - failed, key=lambda n: used[n])
        shutil.copytree(HERE / "corpus" / name, folder / name, dirs_exist_ok=True)
        begin = _cpu()
        command = [sys.executable, __file__, name, f"-max_total_time={ROUND}", "-print_final_stats=1", f"@{folder}"]
        done = subprocess.run(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True, errors="replace")
        used[name] += _cpu() - begin
        if done.returncode:
            failed.add(name)
            (folder / f"{name}.log").write_text(done.stdout)
        n_runs = done.stdout.partition("number_of_executed_units: ")[2].partition("\n")[0]
        whole = sum(used.values())
        print(f"{name}: {n_runs} inputs, {used[name]:.0f} s, exit {done.returncode}; all {whole:.0f} s", flush=True)


def minimise(folder: Path) -> None:
    """Write the smallest corpora with the same coverage."""
    for corpus in sorted((HERE / "corpus").iterdir()):
        with tempfile.TemporaryDirectory() as place:
            found = Path(place, corpus.name)
            found.mkdir()
            command = [sys.executable, __file__, corpus.name, "-merge=1", f"@{place}", str(folder / corpus.name)]
            subprocess.run(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
            kept = sorted((path for path in found.iterdir() if path.stat().st_size <= MOST_BYTES), key=_size)
            for path in kept[-MOST_FILES:]:
                shutil.copy(path, corpus / path.name[:12])


def _size(path: Path) -> int:
    return path.stat().st_size


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """See above."""
    name, *flags = sys.argv[1:]
    if name == "all":
        fuzz_all(float(flags[0]), Path(flags[1]))
    elif name == "minimise":
        minimise(Path(flags[0]))
    else:
        places = [flag[1:] for flag in flags if flag.startswith("@")]
        corpus = Path(places[0] if places else tempfile.mkdtemp(prefix="findna-corpus-"), name)
        if not places:
            shutil.copytree(HERE / "corpus" / name, corpus)
        os.chdir(corpus.parent)
        fuzz(name, [flag for flag in flags if not flag.startswith("@")], corpus)


if __name__ == "__main__":
    main()
