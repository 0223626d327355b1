"""One run of a command over its inputs, whole or in parts."""
