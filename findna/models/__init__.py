"""Model folders: the shipped teacher, loading, saving, verifying, converting."""
