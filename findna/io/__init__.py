"""Files in and out: regions, sequences, genomes, and the embedding file."""
