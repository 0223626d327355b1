"""`python -m findna_cli`."""

from findna_cli.app import main

main()
