"""Commands that correct an input, for messages: each runs as it is printed."""

import re
import shlex
from collections.abc import Collection
from pathlib import Path

_HEADER = "/^(#|track|browser)/"
_TABS = " -F'\\t'"
_WITH_ALLELES = 5
"""Columns of a VCF up to ALT."""


def by_awk(program: str, name: str, *, out: str, separator: str = "") -> str:
    """A command that sends a file, which may be compressed, through awk; "" for stdin.

    >>> print(by_awk("{print $1}", "a b.bed.gz", out="fixed.bed"))
    `gunzip -c 'a b.bed.gz' | awk -v OFS='\\t' '{print $1}' > fixed.bed`
    """
    return _filter(f"awk{separator} -v OFS='\\t' {shlex.quote(program)}", name, out)


def swapped(name: str, *, is_tabbed: bool) -> str:
    """A command that swaps start and end of a BED file, which may be separated by tabs, where the start is larger."""
    program = f"!{_HEADER} && $2 > $3 {{t = $2; $2 = $3; $3 = t}} {{print}}"
    return by_awk(program, name, out="fixed.bed", separator=_TABS * is_tabbed)


def reordered(columns: list[str], name: str, *, is_tabbed: bool) -> str:
    """Where contig, start and end are in a row of a BED file, and a command that puts them first; "" if not known.

    >>> print(reordered(["100", "300", "chr1"], "a.bed", is_tabbed=False).partition(": ")[0])
    contig, start and end seem to be columns 3, 1 and 2
    """
    whole = [column.strip().isdecimal() for column in columns]
    first = next((n for n in range(len(whole) - 1) if whole[n] and whole[n + 1]), None)
    if first is None or first == 1:
        return ""
    contig = first - 1 if first else 2
    if contig >= len(columns) or not re.fullmatch(r"[A-Za-z][\w.]*", columns[contig].strip()):
        return ""
    start, end, contig = first + 1, first + 2, contig + 1
    program = f"!{_HEADER} {{print ${contig}, ${start}, ${end}}}"
    command = by_awk(program, name, out="fixed.bed", separator=_TABS * is_tabbed)
    return f"contig, start and end seem to be columns {contig}, {start} and {end}: {command}" if command else ""


def renamed(chrom: str, contigs: Collection[str], name: str) -> str:
    """A command that adds or removes "chr" in the first column of a file, if its contigs are then known; else "".

    >>> print(renamed("20", ["chr20"], "a.vcf"))
    `sed -E '/^(#|track|browser)/! s/^(chr)?/chr/' a.vcf > renamed.vcf` adds chr
    """
    suffixes = "".join(Path(name.removesuffix(".gz")).suffixes[-1:]) or ".txt"
    for other, edit, what in ((f"chr{chrom}", "s/^(chr)?/chr/", "adds chr"), (chrom[3:], "s/^chr//", "removes chr")):
        if other in contigs and (other.startswith("chr") or chrom.startswith("chr")):
            command = _filter(f"sed -E '{_HEADER}! {edit}'", name, f"renamed{suffixes}")
            return f"{command} {what}" if command else ""
    return ""


def vcf_header(line: str, columns: list[str], name: str) -> str:
    """Why a line is not the #CHROM line of a VCF with these columns, and how to correct the file."""
    words = line.split()
    if words[:1] != columns[:1]:
        return "the #CHROM line must follow the ## lines, tab-separated"
    if words[: len(columns)] == columns:
        command = by_awk("/^##/ {print; next} {$1 = $1; print}", name, out="tabs.vcf")
        return f"columns are separated by spaces, but a VCF needs tabs{': ' if command else ''}{command}"
    text = f"the columns must be {' '.join(columns)}, tab-separated"
    if words != columns[: len(words)] or len(words) < _WITH_ALLELES:
        return text
    program = 'BEGIN {print "chrom", "pos", "ref", "alt"} !/^#/ {print $1, $2, $4, $5}'
    command = by_awk(program, name, out="variants.tsv")
    return f"{text}; the alleles alone are enough as a table{': ' if command else ''}{command}"


def _filter(command: str, name: str, out: str) -> str:
    if name in ("", "-", "stdin"):
        return ""
    file = shlex.quote(name)
    is_compressed = name.endswith((".gz", ".bgz"))
    return f"`gunzip -c {file} | {command} > {out}`" if is_compressed else f"`{command} {file} > {out}`"
