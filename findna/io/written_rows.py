"""A row of an output of any kind, and the interface of all outputs."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from findna.errors import TableError


class Row(NamedTuple):
    """A row of an output: its id, its columns, and its values."""

    id: str
    obs: Mapping[str, Any]
    x: NDArray[Any]


class Written(ABC):
    """An output.

    Attributes:
        path: The file.
        family: "vectors" (and predictions), "bases" (values of each base), "scores" or "tracks".
        kind: Its schema or kind.
        meta: Its facts about the run: model, genome, inputs, params, provenance.
        n_rows: Number of rows.
    """

    family = "vectors"
    path: Path
    kind: str
    meta: Mapping[str, Any]
    n_rows: int

    @abstractmethod
    def check(self) -> str:
        """Read everything once; returns what was compared, "" if the output has no checksum.

        Raises:
            TableError: The content is not what was written.
        """

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """The rows in order."""

    def more(self, index: int) -> list[NDArray[Any]]:
        """Further values of a row: its class tokens, its tokens."""
        return []

    def fail(self, reason: str) -> TableError:
        """An error of this file."""
        return TableError(reason, path=self.path)

    def compare(self, found: Mapping[str, str], stored: Mapping[str, str]) -> str:
        """Compare checksums by name; returns what was compared."""
        if bad := [name for name, value in found.items() if stored.get(name, value) != value]:
            raise self.fail(f"checksum of {', '.join(bad)} differs: the content is not what was written")
        known = [name for name in found if name in stored]
        return f"checksums of {', '.join(known)} agree" if known else ""


def read_json_text(text: str) -> Any:
    """The value of a JSON text; any other text is returned as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text
