"""findna: regions, sequences and reads to vectors of a self-distilled DNA model."""

__version__ = "0.1.0"
