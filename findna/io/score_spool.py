"""The spool of an unfinished run of scores: outcomes of records in order, and vectors of alleles."""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from findna.io.outputs import write_output
from findna.io.record_spool import RecordSpool
from findna.io.rows import OBS_COLUMNS, SKIPPED_COLUMNS, Kind, Rows, checked, columns_of, obs_line
from findna.io.scores import Outcome
from findna.io.vcf import Site

ALLELES = ("ref", "alt")
COLUMNS: Mapping[str, Kind] = {**OBS_COLUMNS, "variant": "string", "allele": "categorical"}
"""Columns of the vectors of alleles: those of `findna embed`, the variant, and the allele."""


class ScoreSpool(RecordSpool):
    """Outcomes of records; see `RecordSpool`.

    Each ALT has two rows of vectors, or is skipped twice: REF, then ALT.

    Args:
        folder: The spool's folder.
        rows: Description of the vectors, None without vectors; its folder is that of the spool.
        source: Name of the input in the vectors.
        fingerprint: As for `RecordSpool`.
        resume: Continue an existing run.
        force: Delete an existing run.
    """

    def __init__(
        self, folder: Path, rows: Rows | None, source: str, fingerprint: Mapping[str, Any], *, resume: bool, force: bool
    ) -> None:
        names = ["scores", *(["x", "obs", "skipped"] if rows else [])]
        super().__init__(folder, names, fingerprint, resume=resume, force=force)
        self._rows, self._source = rows, source
        self._counts = {"rows": 0, "skipped": 0} | self._counts

    def outcomes(self) -> Iterator[list[Outcome]]:
        """Yield the outcomes of the records of the resumed run."""
        with self._spool.path("scores").open("rb") as file:
            for line in itertools.islice(file, self.n_done):
                yield [Outcome(None, one) if isinstance(one, str) else Outcome(one) for one in json.loads(line)]

    def add(self, sites: Sequence[Site], outcomes: Sequence[Sequence[Outcome]]) -> None:
        """Add records that were scored together, and commit them unless the last commit was very recent."""
        lines = [[o.reason if o.values is None else list(o.values) for o in each] for each in outcomes]
        self._spool.append("scores", "".join(json.dumps(line) + "\n" for line in lines).encode())
        for site, each in zip(sites, outcomes, strict=True) if self._rows else ():
            self._add_vectors(site, each)
        self._count(len(sites))

    def write_vectors(self, path: Path, facts: Mapping[str, Any], *, force: bool) -> list[Path]:
        """Write the vectors of all alleles as an HDF5 file of `findna embed`.

        Raises:
            OutputError: The output exists or cannot be written.
        """
        if self._rows is None:
            raise ValueError("the spool has no vectors")
        self._commit()
        n_rows, n_skipped = self._counts["rows"], self._counts["skipped"]
        rows = dataclasses.replace(self._rows, n_rows=n_rows, n_skipped=n_skipped)
        return write_output(path, rows, facts, n_expected=n_rows + n_skipped, force=force)

    def _add_vectors(self, site: Site, outcomes: Sequence[Outcome]) -> None:
        for alt, outcome in zip(site.alts or (".",), outcomes, strict=True):
            variant = f"{site.chrom}:{site.start + 1}:{site.ref}>{alt}"
            ids = [f"{site.row}:{variant}:{allele}" for allele in ALLELES]
            if outcome.vectors is None:
                line = -1 if site.line is None else site.line
                values = {"source": self._source, "row": site.row, "line": line, "reason": outcome.reason}
                self._spool.append(
                    "skipped",
                    obs_line(SKIPPED_COLUMNS, columns_of([{"id": one, **values} for one in ids], SKIPPED_COLUMNS)),
                )
                self._counts["skipped"] += 2
                continue
            (x, length, frac_n), kind = outcome.vectors, np.dtype(np.float32)
            common = {
                "name": "" if len(site.fields) < 3 else site.fields[2],
                "chrom": site.chrom,
                "start": site.start,
                "end": site.start + len(site.ref),
                "strand": ".",
                "source": self._source,
                "row": site.row,
                "length": length,
                "n_windows": 1,
                "n_iupac": 0,
                "variant": variant,
            }
            obs = [
                {**common, "id": one, "allele": allele, "frac_n": share}
                for one, allele, share in zip(ids, ALLELES, frac_n, strict=True)
            ]
            self._spool.append("x", checked(x, kind, x.shape, ids=ids).tobytes())
            self._spool.append("obs", obs_line(COLUMNS, columns_of(obs, COLUMNS)))
            self._counts["rows"] += 2
