"""The Typer app, and `main`: the one place where errors become exit codes."""

import contextlib
import difflib
import errno
import io
import logging
import os
import re
import signal
import sys
import warnings
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from findna import __version__
from findna.errors import ConfigError, FindnaError, FindnaWarning
from findna_cli import (
    benchmark,
    classify,
    data,
    doctor,
    embed,
    finetune,
    merge,
    model,
    mutagenesis,
    plot,
    predict_bases,
    pretrain,
    score,
    split,
    task,
    verify,
    view,
)
from findna_cli.console import end_loading, say, show, visible
from findna_cli.help import add_help, help_page
from findna_cli.progress import Loading
from findna_cli.translate import command_of, said, with_contig

app = typer.Typer(
    name="findna",
    help="DNA to vectors: embed, classify and score regions, sequences, reads and variants.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="embed")(embed.embed)
app.command(name="classify")(classify.classify)
app.command(name="score")(score.score)
app.command(name="predict-bases")(predict_bases.predict_bases)
app.command(name="mutagenesis")(mutagenesis.mutagenesis)
app.command(name="pretrain")(pretrain.pretrain)
app.command(name="finetune")(finetune.finetune)
app.add_typer(benchmark.app, name="benchmark")
app.add_typer(data.app, name="data")
app.add_typer(model.app, name="model")
app.add_typer(task.app, name="task")
app.command(name="split")(split.split)
app.command(name="merge")(merge.merge)
app.command(name="view")(view.view)
app.command(name="verify")(verify.verify)
app.command(name="plot")(plot.plot)
app.command(name="doctor")(doctor.doctor)
app.command(name="help")(help_page)
add_help(app)

_LONGEST_REASON = 300
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # of a GPU, of the CPU's allocator
SIGTERM_CODE = 128 + signal.SIGTERM
_CHOICE = r"Value error, (.*) is not one of (.*)\."
"""Typer's text on a value that is not one of the choices."""

UsageError: Any = typer.BadParameter.__base__  # of the click package that typer uses


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        show(f"findna {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Flags of every command."""
    if debug:
        os.environ["FINDNA_DEBUG"] = "1"
    if context.invoked_subcommand is None:
        with contextlib.redirect_stdout(sys.stderr):
            context.get_help()  # Typer prints it
        raise typer.Exit(2)


def main() -> None:
    """Run the command; exit with 0 done, 1 the input, 2 the command line, 130 or 143 a signal, 141 a closed pipe."""
    _open_streams()
    signal.signal(signal.SIGTERM, _on_sigterm)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a parent that ignores it passes this on
    warnings.showwarning = _show_warning
    if sys.stderr.isatty() and not {"-q", "--quiet"} & set(sys.argv) and "FINDNA_LAUNCHED" not in os.environ:
        sys.meta_path.insert(0, Loading())
    if "OMP_WAIT_POLICY" not in os.environ:  # read while torch loads
        # A waiting thread may spin only briefly: on a busy machine, spinning costs ten times as much as the work.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        _check_words(sys.argv[1:])
        code = app(standalone_mode=False)
        if code == 128 + signal.SIGINT:  # Typer's answer to Ctrl-C
            raise KeyboardInterrupt
        _flush_stdout()
    except (BrokenPipeError, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code == SIGTERM_CODE and "FINDNA_LAUNCHED" not in os.environ:
            say("findna: stopped by SIGTERM")
        # Typer turns a closed pipe into an exit with 1.
        if not isinstance(end.__context__ if isinstance(end, SystemExit) else end, BrokenPipeError):
            raise
        _silence_stdout()
        code = 128 + signal.SIGPIPE
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted", 128 + signal.SIGINT)
    except UsageError as error:
        code = _fail(_usage(error), 2)
    except FindnaError as error:
        if os.environ.get("FINDNA_DEBUG"):
            raise
        is_config = isinstance(error, ConfigError)
        text = with_contig(said(str(error), is_config=is_config), sys.argv[1:])
        code = _fail(text, 2 if is_config else 1)
    except Exception as error:  # any other error is one line, too
        if os.environ.get("FINDNA_DEBUG"):
            raise
        code = _fail(_said(error), 1)
    end_loading()
    _forget_stdout()
    sys.exit(code if isinstance(code, int) else 0)


def _open_streams() -> None:
    """Open closed standard streams; otherwise the next opened file would take their numbers.

    What is written to a closed stdout is an error, because it would be lost; what is written to stderr is not.

    A letter that the encoding of stdout lacks is written as its escape, as Python does on stderr.
    """
    for name, mode, access in (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, access), mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # not its notes on a home folder that it cannot write


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **others: Any) -> None:
    """Write our own warning as one line, and that of a library as Python does."""
    if issubclass(category, FindnaWarning):
        say(f"findna: warning: {_own_lines(said(str(message)))}")
    else:
        say(warnings.formatwarning(message, category, *where[:2]).rstrip())


def _usage(error: Any) -> str:
    """The message of a mistake on the command line, in the words of our own checks."""
    hint = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
    if type(error).__name__ == "NoSuchOption":
        return f"{error.message}{_similar_flag(error.option_name, error.ctx)}{hint}"
    words = re.sub(_CHOICE, r"must be one of \2, not \1", error.message)
    if getattr(error, "param", None) and words.startswith("must be "):
        return f"{error.param.opts[0]} {words}{hint}"
    return f"{error.format_message().removesuffix('.') or 'Missing command'}{hint}"


def _similar_flag(name: str, ctx: Any) -> str:
    """A hint at the flag that was probably meant; "" if none is similar enough."""

    def is_longer(one: str) -> bool:
        return name.startswith(f"{one}-") or one.startswith(f"{name}-")

    known = [one for option in ctx.command.params for one in (*option.opts, *option.secondary_opts)]
    known = [one for one in known if one[:3] == name[:3]]  # the dashes and the first letter
    near = difflib.get_close_matches(name, known, cutoff=0.7)
    longer = [*filter(is_longer, known)]
    found = near if not longer else longer if len(longer) == 1 else []
    return f"; did you mean {found[0]}?" if found and name.startswith("--") else ""


def _check_words(words: list[str]) -> None:
    """Refuse, before any work, empty values (for instance of an unset variable), and names that no output can store."""
    n_before = words.index("--") if "--" in words else len(words)
    for n, (before, word) in enumerate(zip(["", *words], words, strict=False)):
        is_flag = n < n_before and word.startswith("-")
        if is_flag and (re.match(r"-[\w@]=", word) or os.path.isfile(word)):  # noqa: PTH113  # False for a long name
            _check_flag(before, word, words)
        name, sign, value = word.partition("=") if is_flag and word.startswith("--") else (before, "=", word)
        if sign and not value:
            raise ConfigError(f"{f'{name!r}: ' if name.startswith('-') else 'an argument '}is empty; leave it out")
        if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise ConfigError(f"{visible(word)}: this name is not UTF-8, so no output can store it: rename it")
    try:
        Path.cwd()
    except FileNotFoundError as error:  # torch would crash
        raise ConfigError("the working directory was removed: change to another one") from error


def _check_flag(before: str, word: str, words: list[str]) -> None:
    """Refuse a word that begins with a dash and is a file or has "=" after one letter, unless it is a value."""
    command = command_of(typer.main.get_command(app), words)
    options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts)}
    option = options.get(before if before.startswith("--") else f"-{before[-1:]}") if before.startswith("-") else None
    name = word.partition("=")[0]
    if word == "-" or (option and not option.is_flag):
        return
    if name not in options and Path(word).is_file():
        raise ConfigError(f"{word}: a file name that begins with '-' needs its folder: ./{word}")
    if not name.startswith("--") and name != word:  # else the value would begin with "="
        raise ConfigError(f"{word}: a flag of one letter takes its value after a blank: {name} {word[3:]}")


def _said(error: Exception) -> str:
    """The error in one line: the system's message for a file or for memory, else an internal error."""
    if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        return "out of memory; use fewer --workers, a smaller --batch-bases, or a machine with more"
    if "can't start new thread" in str(error):
        return "no further thread can be started: the limit of processes (ulimit -u) or of memory is reached"
    if isinstance(error, OSError) and error.errno == errno.EBADF:
        return "stdout is closed, and the output would be lost: give a file"
    if isinstance(error, OSError) and error.strerror:
        name = error.filename if isinstance(error.filename, str) else ""
        hint = ": the limit (ulimit -n) is reached" if error.errno == errno.EMFILE else ""
        return f"{name}: {error.strerror.lower()}{hint}" if name else f"{error.strerror.lower()}{hint}"
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
    return (
        f"internal error, {reason}; please report it with the command and the version ({__version__}); "
        "`findna --debug COMMAND ...` shows the traceback"
    )


def _own_lines(text: str) -> str:
    """A message with indented further lines; line ends within a name are escaped."""
    return visible(re.sub(r"\n(?!  )", r"\\n", text))


def _fail(text: str, code: int) -> int:
    text = _own_lines(text)
    if "FINDNA_LAUNCHED" in os.environ:  # one of several processes: the launcher prints it once
        from findna.commands.training import record_failure

        if record_failure(text):
            return code
    say(f"findna: {text}")
    return code


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    raise SystemExit(SIGTERM_CODE)


def _flush_stdout() -> None:
    sys.stdout.flush()


def _forget_stdout() -> None:
    """Drop what cannot be written and was an error before; Python would say it again at its exit."""
    try:
        _flush_stdout()
    except OSError:
        _silence_stdout()


def _silence_stdout() -> None:
    """Send Python's own flush at exit to /dev/null: a closed pipe is not an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
