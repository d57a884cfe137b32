"""`python -m implementations.harness.cli` is `atlas`."""

from implementations.harness.cli.commands import main

main()
