"""The one way out to the network: polite, patient up to a point, trusting nothing it gets."""
