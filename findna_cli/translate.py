"""Translates messages of the library to the command line: settings to flags, a contig to a command."""

import re
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import typer

_OF_PARTS = r"(?<![\w.])([a-z_]+)(?= is [^;]+, there )|"
_NAMED = r"\b(\w+)=('[^']*'|[\w.,/:+-]*\w)|(?<![\w/.'-])([a-z]+(?:_[a-z]+)+)(?![\w/'-]|\.\w)"
_CHANGED = r"|(?<![\w.])([a-z]+)(?=: [^;]+ now, )"
_BEFORE_MUST = r"|\b([a-z]+)(?= must )"
_MISSING_CONTIG = re.compile(r"region [^\n]*: contig '([^']+)' is not in [^\n]* \(did you mean '([^']+)'\?.*")


def with_flags(text: str, command: Any, words: list[str], *, is_config: bool) -> str:
    """A message with flags instead of settings: `on_error=skip` becomes `--on-error skip`.

    A setting is a name with a value or with an underscore, and the word before ": 2 now, 1 before" or "is 1, there 2".
    In a message about the configuration, it is also the word before "must". With a value, it may be a setting of
    another command, as in "the same command with resume=True"; so it may before "there", which is said of the parts of
    a run.

    Args:
        text: The message.
        command: The root of the command line.
        words: The arguments of the program.
        is_config: Whether the message is about the configuration.
    """
    root, command = command, command_of(command, words)
    others = {name: option for other in getattr(root, "commands", {}).values() for name, option in _options(other)}
    flags = dict(_options(command))

    def flag(match: re.Match[str]) -> str:
        of_any, value = match[1] or match[2], match[3]
        option = flags.get(next(filter(None, (of_any, *match.groups()[3:])))) or others.get(of_any)
        if option is None:
            return match[0]
        names = option.secondary_opts if value == "False" else option.opts
        name = max(names, key=len, default=match[0])
        return name if value in (None, "True", "False") else f"{name} {value.strip(chr(39))}"

    return re.sub(_OF_PARTS + _NAMED + _CHANGED + _BEFORE_MUST * is_config, flag, text)


def with_contig(text: str, words: list[str]) -> str:
    """A message on a missing contig of a region string, with the command that has the similar name instead.

    >>> with_contig("region 2:1-9: contig '2' is not in g.fa (did you mean 'chr2'?)", ["embed", "2:1-9"])[-29:]
    '; run `findna embed chr2:1-9`'
    """
    if not (found := _MISSING_CONTIG.match(text)):
        return text
    own, other = found.groups()
    others = [re.sub(rf"(^|=){re.escape(own)}(?=:)", lambda match: f"{match[1]}{other}", word) for word in words]
    if others == words:
        return text
    return f"{found[0]}; run `{shlex.join(['findna', *others])}`{text[found.end() :]}"


def command_of(root: Any, words: list[str]) -> Any:
    """The command that the arguments of the program name."""
    for word in words:
        root = getattr(root, "commands", {}).get(word, root)
    return root


def _options(command: Any) -> Iterator[tuple[str, Any]]:
    return ((option.name, option) for option in command.params if option.param_type_name == "option")


def said(text: str, *, is_config: bool = False) -> str:
    """A message of the library in the words of the command that was called; see `with_flags`."""
    from findna_cli.app import app

    return with_flags(text, typer.main.get_command(app), sys.argv[1:], is_config=is_config)
