"""Perplexity, zero-shot tasks, footprint, speed, memory, generation."""
