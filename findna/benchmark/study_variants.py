"""The variants of a study: changes of a recipe, from a TOML file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from findna.benchmark.readout import ReadOut
from findna.errors import ConfigError, TableError
from findna.io.structured import read_toml, reading
from findna.models.store import Model, load_model
from findna.recipes import PretrainConfig
from findna.train.pretrain import STUDENT

UNTRAINED = "untrained"
"""Variants whose names begin with this are measured with the initial weights."""

_OF_THE_STUDY = ("seed", "epochs", "n_windows")

_READ_OUT = tuple(field.name for field in fields(ReadOut))

_NETWORKS = ("teacher", STUDENT)


@dataclass(frozen=True)
class Variant:
    """A recipe, given by its changes.

    Args:
        name: Its table in the file of variants.
        config: The recipe; its seed is the run's.
        changes: Settings that differ from the study's recipe.
        model: An existing teacher instead of a recipe; it is measured once.
        read_out: Settings of `ReadOut` that differ from the study's.
        read: Which network of the run is measured: "teacher" or "student".
    """

    name: str
    config: PretrainConfig
    changes: Mapping[str, Any]
    model: Model | None = None
    read_out: Mapping[str, str] = field(default_factory=dict)
    read: str = "teacher"

    @property
    def is_untrained(self) -> bool:
        """Whether it is measured with the initial weights."""
        return self.name.startswith(UNTRAINED)


def read_variants(path: Path, base: PretrainConfig) -> list[Variant]:
    """The variants of a TOML file: one table each, with the settings that differ from `base`; an empty table is `base`.

    The others are compared with the first. `[untrained]` measures the initial weights, and a table with
    `model = "..."` an existing teacher. Each may set another pool, blocks or strand. With `read = "student"` the
    student of a run is measured. If two variants have the same recipe, it is trained once.

    Raises:
        TableError: The file cannot be read, is not valid TOML, or holds no table.
        ConfigError: A setting is unknown, out of range, or belongs to the study.
        ModelError: The model does not exist, or it is damaged.
    """
    with reading(path, "valid TOML"):
        tables = read_toml(path)
    if not tables or not all(isinstance(table, dict) for table in tables.values()):
        raise TableError("must have only tables, one per variant, for instance [alpha-1] with alpha = 1.0", path=path)
    variants = []
    for name, changes in tables.items():
        if "/" in name or name in (".", ".."):
            raise ConfigError(
                f"{path}, [{name}]: a name must not contain a slash or be only dots, because it names folders"
            )
        if own := [setting for setting in _OF_THE_STUDY if setting in changes]:
            raise ConfigError(f"{path}, [{name}]: {own[0]} is the same for all variants; remove it")
        if any(isinstance(value, dict) for value in changes.values()):
            raise ConfigError(f'{path}, [{name}]: holds a table; put a name with a dot in quotes, ["alpha-0.5"]')
        read_out = {key: changes[key] for key in _READ_OUT if key in changes}
        settings = {key: value for key, value in changes.items() if key not in (*read_out, "read")}
        read = changes.get("read", "teacher")
        if read not in _NETWORKS:
            raise ConfigError(f"{path}, [{name}]: read must be {' or '.join(_NETWORKS)}, not {read!r}")
        if not all(isinstance(value, str) for value in read_out.values()):
            raise ConfigError(f"{path}, [{name}]: {', '.join(read_out)} must be texts in quotes")
        if name.startswith(UNTRAINED) and settings:
            raise ConfigError(f"{path}, [{name}]: is the study's own network before its training; it has no settings")
        if "model" in settings and (len(settings) > 1 or not isinstance(settings["model"], str)):
            raise ConfigError(f"{path}, [{name}]: model is a name or folder, and an existing model has no settings")
        try:
            ReadOut(**read_out)
            model = load_model(settings["model"]) if "model" in settings else None
            config = replace(base, model=model.config) if model else base.changed(**settings)
            if read == STUDENT and (model or name.startswith(UNTRAINED) or config.alpha == 1):
                raise ConfigError("has no student: only a run with alpha below 1 has one")
            variants.append(Variant(name, config, changes, model, read_out, read))
        except (ConfigError, TypeError) as error:
            raise ConfigError(f"{path}, [{name}]: {error}") from error
    return variants
