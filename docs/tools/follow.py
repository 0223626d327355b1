"""Run the commands of a page, as somebody would who follows it, and write down what they print.

    python docs/tools/follow.py docs/tutorial.md runs/tutorial

The folder, which must be new, gets `docs`, a link, the files that the commands make, and `transcript.txt`.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]


def commands(page: str) -> list[str]:
    """The indented lines of a page outside its fences, continued ones joined."""
    text = re.sub(r"```.+?```", "", page, flags=re.DOTALL).replace("\\\n", " ")
    return [
        " ".join(line.split()) if "awk" not in line else line.strip()
        for line in text.splitlines()
        if line[:4] == "    "
    ]


def follow(page: Path, folder: Path) -> None:
    """Run them in a folder, or stop at the first that fails."""
    folder.mkdir(parents=True)
    (folder / "docs").symlink_to(DOCS)
    python = shlex.quote(sys.executable)
    functions = f'findna() {{ {python} -m findna_cli "$@"; }}; python() {{ {python} "$@"; }}; '
    with (folder / "transcript.txt").open("w") as transcript:
        for command in commands(page.read_text()):
            print(command, flush=True)
            transcript.write(f"    {command}\n\n")
            transcript.flush()
            subprocess.run(
                ["bash", "-c", functions + command], cwd=folder, stdout=transcript, stderr=transcript, check=True
            )
            transcript.write("\n")


if __name__ == "__main__":
    follow(Path(sys.argv[1]), Path(sys.argv[2]))
