"""Every error that a user can cause and correct; `findna_cli.app.main` turns them into exit codes."""

import difflib
import errno
from collections.abc import Sequence
from pathlib import Path

MOST_SHOWN = 10
"""Maximum number of errors that a message shows."""


class FindnaWarning(UserWarning):
    """A run differs from the request in a way that the user should know."""


class FindnaError(Exception):
    """The base class. Its text is the one or two lines that the user reads."""


class ConfigError(FindnaError):
    """A setting is out of range or contradicts another."""


class MissingExtraError(ConfigError):
    """An optional package is not installed.

    Examples:
        >>> str(MissingExtraError("pyarrow", extra="parquet", purpose="a Parquet file"))
        "a Parquet file needs pyarrow: pip install 'findna[parquet]'"
    """

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'findna[{extra}]'")


class InputError(FindnaError):
    """Something in an input file is wrong.

    A reader *raises* errors of the whole file and *yields* errors of one record, so the
    caller decides whether to stop or to skip the record.

    Args:
        reason: What was found and what to do, without the place.
        path: The file, or None for something that is not in a file (a region on the command line).
        line: 1-based line of a text file.
        record: Name or id of the record.
        row: 0-based index of the record in its input, if known.
        kind: Name for this kind of input; "": that of the class.

    Examples:
        >>> print(BedError("start 900 and end 850 must satisfy 0 <= start < end", path="peaks.bed", line=7))
        BED file peaks.bed, line 7: start 900 and end 850 must satisfy 0 <= start < end
    """

    kind = "input"
    takes = "the files in it"
    """What to give instead of a folder."""
    is_fatal = True
    """Whether this ends a run in which a record's fault does; False where leaving the record out was asked for."""

    def __init__(
        self,
        reason: str,
        *,
        path: Path | str | None = None,
        line: int | None = None,
        record: str = "",
        row: int = -1,
        kind: str = "",
    ) -> None:
        self.kind = kind or self.kind
        self.reason, self.path, self.line, self.record, self.row = reason, path, line, record, row
        place = [f"{self.kind} {path}"] if path is not None else []
        place += [f"line {line}"] if line is not None else []
        place += [f"record {record}"] if record else []
        super().__init__(f"{', '.join(place)}: {reason}" if place else reason)


class FastaError(InputError):
    """A FASTA or FASTQ file is damaged or holds no DNA."""

    kind = "FASTA file"


class BedError(InputError):
    """A row of a BED file is not a region."""

    kind = "BED file"


class RegionError(InputError):
    """A region string cannot be read, or a region does not fit its genome."""

    kind = "region"


class BamError(InputError):
    """A BAM or CRAM file is damaged, or a record of it cannot be used."""

    kind = "BAM file"


class VariantError(InputError):
    """A file of variants is damaged, or a record of it does not fit the genome."""

    kind = "variant file"
    takes = "a VCF, BCF or TSV file"


class GenomeError(InputError):
    """A genome cannot be opened, indexed or read."""

    kind = "genome"
    takes = "a FASTA or .2bit file"


class TableError(InputError):
    """A table or an embedding file is damaged or not ours."""

    kind = "file"
    takes = "a file"


class ModelError(FindnaError):
    """A model folder is not ours, has the wrong shape or the wrong sha256."""


class UnknownModelError(ModelError, ConfigError):
    """A name is neither a model nor a folder."""


class WorkerError(FindnaError):
    """One of the processes of a run died."""


class TrainingError(FindnaError):
    """Training diverged, collapsed, or has nothing to resume."""


class OutputError(FindnaError):
    """An output exists, is in use, cannot be written, or the disk is full."""


def as_one(faults: Sequence[InputError], n: int, note: str) -> InputError:
    """The errors of several records as one: the first in full, and up to nine more in short.

    Args:
        faults: The first errors.
        n: Number of all errors.
        note: The number of records that they affect, in words.
    """
    first, *others = faults = faults[:MOST_SHOWN]
    if first.reason.endswith(")"):
        lines = [f"{first.reason[:-1]}{'' if first.reason.endswith('?)') else ';'} {note})"]
    else:
        lines = [f"{first.reason} ({note})"]
    near = [fault for fault in others if fault.line is not None and fault.path == first.path]
    alike = [f"{fault.line}" for fault in near if fault.reason == first.reason]
    if alike:
        lines.append(f"  the same in line{'s' * (len(alike) > 1)} {', '.join(alike)}")
    for fault in others:
        if fault not in near:
            lines.append(f"  {fault}")
        elif fault.reason != first.reason:
            lines.append(f"  line {fault.line}: {fault.reason}")
    if n > len(faults):
        lines.append(f"  and {n - len(faults):,} more")
    record = first.record if first.line is None else ""
    text = "\n".join(lines)
    return type(first)(text, path=first.path, line=first.line, record=record, row=first.row, kind=first.kind)


def system_reason(error: Exception, *, takes: str = TableError.takes) -> str:
    """Why a file cannot be read: an `OSError` in the words of the system, for a folder with what to give instead."""
    if not isinstance(error, OSError):
        return str(error)
    if error.errno == errno.EISDIR:
        return f"is a folder; give {takes}"
    return (error.strerror or str(error)).lower()


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A hint at the most similar of the known names; "" if none is similar.

    >>> did_you_mean("TF0", ["tf-0", "splice"]), did_you_mean("peaks", ["tf-0", "splice"])
    ('; did you mean tf-0?', '')
    """
    nearest = difflib.get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
