"""Make the table of `findna benchmark variants` from the variants of Findlay et al. 2018: `python docs/brca1.py IN OUT`.

IN has the columns chrom, pos_hg38, ref, alt, class and transcript_variant; OUT has positions on a FASTA record of
chr17:42424999-43600000 and, as a baseline, how near a variant is to a splice site.
"""

import gzip
import re
import sys
from pathlib import Path

RECORD, OFFSET = "chr17:42424999-43600000", 42_424_999


def splice_distances(variants: list[str]) -> list[int]:
    """Bases from the nearest exon boundary, which the names of intronic variants tell (c.4986+3A>G)."""
    places = [re.match(r"c\.(-?\d+)([+-]\d+)?", name) for name in variants]
    edges = {int(place[1]) for place in places if place and place[2]}
    found = []
    for place in places:
        anchor, offset = (int(place[1]), place[2]) if place else (0, None)
        inside = min(abs(anchor - edge) for edge in edges) + 1
        found.append(abs(int(offset)) if offset else inside)
    return found


def main(source: str, out: str) -> None:
    """Write the table."""
    text = gzip.decompress(Path(source).read_bytes()).decode()
    header, *rows = [line.split("\t") for line in text.splitlines()]
    column = {name: [row[header.index(name)] for row in rows] for name in header}
    lines = ["chrom\tpos\tref\talt\tlabel\tconsequence\tsplice_proximity"]
    distances = splice_distances(column["transcript_variant"])
    for i, pos in enumerate(column["pos_hg38"]):
        what = (column["ref"][i], column["alt"][i], column["class"][i], column["consequence"][i], str(-distances[i]))
        lines.append("\t".join((RECORD, str(int(pos) - OFFSET), *what)))
    Path(out).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
