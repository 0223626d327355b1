"""Output formats, and their file names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from findna.errors import ConfigError

Format = Literal["h5", "tsv", "parquet", "npy"]

FORMATS: Mapping[str, Format] = {
    ".h5": "h5",
    ".h5ad": "h5",
    ".hdf5": "h5",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".npy": "npy",
}
"""Output formats by the ending of a file name."""


def wrong_ending(out: str | Path, endings: Sequence[str]) -> ConfigError:
    """The error of an output whose name has the ending of no format, or none.

    >>> print(wrong_ending("a/r.csv", ("h5", "tsv")))
    output a/r.csv: this command does not write .csv files: name it r.h5 or r.tsv
    >>> print(wrong_ending("r", ("h5", "tsv")))
    output r: the name has no ending: name it r.h5 or r.tsv
    """
    path = Path(out).with_name(Path(out).name.removesuffix(".gz"))
    suffix = path.suffix + ".gz" * (path.name != Path(out).name)
    *names, last = (f"{path.stem}.{ending}" for ending in endings)
    why = f"this command does not write {suffix} files" if suffix else "the name has no ending"
    return ConfigError(f"output {out}: {why}: name it {', '.join(names)} or {last}")


def infer_format(out: str | Path, asked: str = "") -> Format:
    """The requested format, or the one of the file name: HDF5 without an extension, TSV for "-".

    Raises:
        ConfigError: Format or ending are not known, or contradict each other.

    >>> infer_format("a.tsv.gz"), infer_format("a"), infer_format("-")
    ('tsv', 'h5', 'tsv')
    """
    name = str(out)
    if asked:
        if asked not in FORMATS.values():
            raise ConfigError(f"output_format must be h5, tsv, parquet or npy, not {asked!r}")
        if FORMATS.get(Path(name.removesuffix(".gz")).suffix, asked) != asked:
            raise ConfigError(f"output_format={asked} contradicts the name {name}")
        return cast(Format, asked)
    if name == "-":
        return "tsv"
    suffix = Path(name.removesuffix(".gz")).suffix
    if not suffix and not name.endswith(".gz"):
        return "h5"
    kind = FORMATS.get(suffix)
    if kind is None or (name.endswith(".gz") and kind != "tsv"):
        raise wrong_ending(out, ("h5", "tsv", "parquet", "npy"))
    return kind
