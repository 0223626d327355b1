"""The findna command."""
