"""From sequences to packed batches and augmented views."""
