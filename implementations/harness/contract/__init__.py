"""The contract: tests that every method must pass on tiny models of every family."""
