"""What every method must keep, checked on tiny models of every family."""
