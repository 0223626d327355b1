"""Settings: fields of frozen dataclasses with help, range and choices, used for flags and checks."""

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from findna.errors import ConfigError
from findna.limits import MAX_WHOLE, shown, wrong_types

Config = TypeVar("Config")
Number = TypeVar("Number", int, float)
Function = TypeVar("Function", bound=Callable[..., Any])

KEY = "findna"
"""The key of the `About` in a field's metadata."""


class About(NamedTuple):
    """The facts of a setting besides its name, type and default.

    Args:
        help: What it does, its unit and what special values mean: one text for help pages and docs.
        least: Lowest value.
        most: Highest value.
        above: Exclusive lower bound.
        choices: All values; those of a Literal come from the type.
        flag: Names of its flag if they differ from its own, with dashes, separated by blanks.
        parse: Converts the text of a flag to a value; raises ValueError.
        shown: The default as shown in help, if not the value; "": none.
    """

    help: str
    least: float | None = None
    most: float | None = None
    above: float | None = None
    choices: Sequence[str] = ()
    flag: str = ""
    parse: Callable[[str], Any] | None = None
    shown: str | None = None


def setting(default: Any = MISSING, help: str = "", **about: Any) -> Any:
    """A field of a dataclass with this default; for the other arguments see `About`."""
    return field(default=default, metadata={KEY: About(help, **about)})


def settings_of(config: type) -> dict[str, tuple[Any, Any, About]]:
    """Type, default and `About` of each setting of a dataclass, by name, in order."""
    types = get_type_hints(config)
    found = {}
    for one in fields(config):
        if KEY in one.metadata:
            about: About = one.metadata[KEY]
            if get_origin(types[one.name]) is Literal:
                about = about._replace(choices=get_args(types[one.name]))
            found[one.name] = types[one.name], one.default, about
    return found


def problems_of(config: Any) -> list[str]:
    """Messages about settings of a config that have the wrong type or are out of range."""
    if problems := wrong_types(config):
        return problems
    found = ((name, getattr(config, name), about) for name, (_, _, about) in settings_of(type(config)).items())
    return [f"{name} {words}, not {value!r}" for name, value, about in found if (words := _refusal(value, about))]


def require(problems: Sequence[str]) -> None:
    """Raise if there are problems.

    Raises:
        ConfigError: All of them.
    """
    if problems:
        raise ConfigError("; ".join(problems))


@dataclass(frozen=True)
class Checked:
    """Settings that are checked when they are made.

    Raises:
        ConfigError: One is out of range.
    """

    def __post_init__(self) -> None:
        require(problems_of(self))


def _refusal(value: Any, about: About) -> str:
    """The rule that a value breaks; "" if it is valid. NaN is refused: comparisons with it are false."""
    if about.choices:
        *others, last = filter(None, about.choices)
        return "" if value in about.choices else f"must be {', '.join(map(str, others))} or {last}"
    if value is None:
        return ""
    if isinstance(value, int) and about.most is None and value > MAX_WHOLE:
        return f"must be at most {MAX_WHOLE:,}"
    if about.above is not None and not value > about.above:
        return "must be positive" if about.above == 0 else f"must be above {about.above:,}"
    is_low = about.least is not None and not value >= about.least
    is_high = about.most is not None and not value <= about.most
    if not is_low and not is_high:
        return ""
    if about.least is not None and about.most is not None:
        return f"must lie in {about.least:,} to {about.most:,}"
    if is_high:
        return f"must be at most {about.most:,}"
    return "must be 0 or more" if about.least == 0 else f"must be at least {about.least:,}"


def make(config: type[Config], settings: Mapping[str, object]) -> Config:
    """A config from those of the settings that belong to it; the others keep their defaults."""
    own = {one.name for one in fields(config)}  # type: ignore[arg-type]
    return config(**{name: value for name, value in settings.items() if name in own})


def settings_of_all(
    *configs: type, only: Sequence[str] = (), without: Sequence[str] = ()
) -> dict[str, tuple[Any, Any, About]]:
    """`settings_of` several dataclasses, all or some; if a name occurs twice, the first is used."""
    found = {name: known for config in reversed(configs) for name, known in settings_of(config).items()}
    order = dict.fromkeys(name for config in configs for name in settings_of(config))
    return {name: found[name] for name in order if name in (only or found) and name not in without}


def with_settings(*configs: type, without: Sequence[str] = ()) -> Callable[[Function], Function]:
    """Add the settings of a function with `**settings` to its signature and docstring.

    Args:
        configs: Dataclasses with the settings.
        without: Settings that it does not take.
    """
    known = settings_of_all(*configs, without=without)

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        found = {name: one for name, one in known.items() if name not in signature.parameters}
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default, _) in found.items()
        ]
        allowed = {one.name for one in (*own, *more)}

        @functools.wraps(function)
        def call(*args: Any, **settings: Any) -> Any:
            if unknown := settings.keys() - allowed:
                raise TypeError(f"{function.__name__}() got an unexpected keyword argument {min(unknown)!r}")
            return function(*args, **settings)

        call.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        if function.__doc__:
            lines = "".join(f"        {name}: {found[name][2].help}\n" for name in found)
            call.__doc__ = re.sub(r" {8}settings: .+\n", lambda match: lines, function.__doc__)
        return call  # type: ignore[return-value]

    return decorate


def parse_number(text: str, kind: type[Number], *, least: float | None = None) -> Number:
    """A number in ASCII digits. Python also takes 1_0, and digits of other scripts.

    Raises:
        ValueError: It is none, or lower than `least`.

    >>> parse_number("1e3", float)
    1000.0
    """
    try:
        value = kind(text if text.isascii() and "_" not in text else "")
    except ValueError:
        raise ValueError(f"must be a {'whole ' * (kind is int)}number, not {shown(text)}") from None
    if least is not None and (words := _refusal(value, About("", least))):
        raise ValueError(f"{words}, not {shown(value)}")
    return value


def duration(text: str) -> float:
    """Seconds from a text such as 90s, 24m, 1.5h; a number alone is in seconds.

    Raises:
        ValueError: It is none.

    >>> duration("24m")
    1440.0
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text)
    if not match or not 0 < float(match[1]) < math.inf:
        raise ValueError(f"{shown(text)} is not a duration such as 90s, 24m or 3h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def names_in(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list.

    >>> names_in("chr8,chr20")
    ('chr8', 'chr20')
    """
    return tuple(name for name in text.split(",") if name)
