"""Reference implementations of LLM pruning methods on one shared harness."""
