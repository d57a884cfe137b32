"""A causal language model seen uniformly: families, units, surgery, loading and saving."""
