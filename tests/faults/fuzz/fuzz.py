"""A coverage-guided run over one parser of `parsers.py`; needs `pip install atheris`.

    python tests/faults/fuzz/fuzz.py NAME -max_total_time=60

The corpus is `corpus/NAME`. libFuzzer adds what reaches new code to a copy of it, and writes an input that fails to
the working directory.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["findna", "parsers"]):
    import parsers


def main() -> None:
    """Fuzz the parser that the first argument names."""
    name, *flags = sys.argv[1:]
    corpus = Path(tempfile.mkdtemp(prefix="findna-corpus-"), name)
    shutil.copytree(Path(__file__).parent / "corpus" / name, corpus)
    atheris.Setup(
        [sys.argv[0], "-timeout=20", "-rss_limit_mb=2048", *flags, str(corpus)], lambda data: parsers.run(name, data)
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
