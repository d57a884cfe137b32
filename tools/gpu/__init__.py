"""`make gpu`: tests, benchmarks and records of this machine's accelerator, within a time limit."""
