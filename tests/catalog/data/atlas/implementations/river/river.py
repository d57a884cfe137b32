"""A method folder of the invented catalog; it holds no method."""
