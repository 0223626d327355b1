"""findna: regions, sequences and reads to vectors and predictions of a self-distilled DNA model.

>>> import findna
>>> x = findna.embed(["ACGTACGTTT", "TTGACC"])  # (2, D) float32

Functions are loaded when they are first used: `import findna` alone loads neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from findna.errors import (
    BamError,
    BedError,
    ConfigError,
    FastaError,
    FindnaError,
    GenomeError,
    InputError,
    MissingExtraError,
    ModelError,
    OutputError,
    RegionError,
    TableError,
    TrainingError,
    VariantError,
    WorkerError,
)
from findna.region import Region

__version__ = "0.1.0"

if TYPE_CHECKING:
    from findna.api import Predictions, classify, embed, embed_regions, hidden_states, predict_bases
    from findna.api_files import Report, classify_file, embed_file
    from findna.effects import Scores, mutagenesis, score_variants
    from findna.io.genome import Genome
    from findna.io.reader import EmbeddingReader, Embeddings, read_embeddings
    from findna.models.store import Model, load_model
    from findna.models.task import TaskModel, load_task

_LAZY = {
    "findna.api": ("Predictions", "classify", "embed", "embed_regions", "hidden_states", "predict_bases"),
    "findna.api_files": ("Report", "classify_file", "embed_file"),
    "findna.effects": ("Scores", "mutagenesis", "score_variants"),
    "findna.io.genome": ("Genome",),
    "findna.io.reader": ("EmbeddingReader", "Embeddings", "read_embeddings"),
    "findna.models.store": ("Model", "load_model"),
    "findna.models.task": ("TaskModel", "load_task"),
}
"""Public names by module. Add a new name here, in the imports above and in `__all__`."""

_HOMES = {name: home for home, names in _LAZY.items() for name in names}

__all__ = [
    "BamError",
    "BedError",
    "ConfigError",
    "EmbeddingReader",
    "Embeddings",
    "FastaError",
    "FindnaError",
    "Genome",
    "GenomeError",
    "InputError",
    "MissingExtraError",
    "Model",
    "ModelError",
    "OutputError",
    "Predictions",
    "Region",
    "RegionError",
    "Report",
    "Scores",
    "TableError",
    "TaskModel",
    "TrainingError",
    "VariantError",
    "WorkerError",
    "__version__",
    "classify",
    "classify_file",
    "embed",
    "embed_file",
    "embed_regions",
    "hidden_states",
    "load_model",
    "load_task",
    "mutagenesis",
    "predict_bases",
    "read_embeddings",
    "score_variants",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
