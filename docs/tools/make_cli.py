"""Write docs/cli.md from the command itself: `python docs/tools/make_cli.py > docs/cli.md`; a test compares the two."""

import sys

import typer

from findna_cli.app import app
from findna_cli.help import EXAMPLES, commands

INTRODUCTION = """\
# Command line

Look up each command with its arguments, options, defaults and examples: the text of `findna COMMAND --help`.

Data goes to the output file or to stdout. Messages go to stderr. Progress counts written records. On a terminal it is a
bar. In the log of a job it is a line after 30 s, then one for each tenth of the work or 10 minutes, at most one per minute. Exit codes:

| code | meaning |
|---|---|
| 0 | done: every record of the input has a row or is listed as skipped |
| 1 | an error in the input, data, model or output; stderr names the file and the problem |
| 2 | an error in the command line |
| 130, 143 | interrupted (Ctrl-C, SIGTERM); of a command with `--resume`, the message says what is kept, and how to continue |
| 141 | the reader of stdout closed the pipe (such as head); no message |

A traceback is shown only with `--debug` (before the command) or `FINDNA_DEBUG=1`.

BED is 0-based and half-open; a region string such as `chr1:1,001-2,000` is 1-based and inclusive.

| variable | meaning |
|---|---|
| `FINDNA_GENOME` | genome of `findna pretrain` if no input is given |
| `FINDNA_CACHE` | directory for downloaded genomes, pulled models, indexes of read-only genomes and the speed that `--dry-run` measured (default `$XDG_CACHE_HOME/findna`, else `~/.cache/findna`) |
| `FINDNA_KERNELS` | code that runs the network's blocks: `auto` (default); on a GPU `triton`, `compile` or `plain`; see [the speed page](speed.md#on-a-gpu) |
| `FINDNA_DEBUG` | show tracebacks |
| `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` | for `findna model pull`: another hub, access to private repositories, no network |
"""


def reference() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    parts = [INTRODUCTION]
    for path, command in [("findna", root), *commands(root, "findna")]:
        context = command.make_context(path, [], resilient_parsing=True)
        usage = " ".join(command.collect_usage_pieces(context))
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n"))
        parts.append(f"## {path}\n\n    {path} {usage}\n\n{text}\n")
        rows = []
        for parameter in command.params:
            if parameter.param_type_name == "option":
                names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
                shown = parameter.default if parameter.show_default is True else parameter.show_default or ""
                shown = "" if shown is None or isinstance(shown, bool) else shown
                default = f" Default: `{shown}`." if shown != "" else ""
            else:
                names, default = f"`{parameter.name}`", ""
            rows.append(f"| {names} | {getattr(parameter, 'help', '') or ''}{default} |")
        if rows:
            parts.append("\n".join(["| argument or option | meaning |", "|---|---|", *rows]) + "\n")
        if examples := EXAMPLES.get(path.removeprefix("findna ")):
            parts.append("\n".join(f"    {line}" for line in examples) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference())
