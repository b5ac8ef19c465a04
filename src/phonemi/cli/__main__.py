"""`python -m phonemi.cli` is `phonemi`."""

from phonemi.cli import main

main()
