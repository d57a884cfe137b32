"""Measurements: perplexity, zero-shot tasks, footprint, speed, memory and generation."""
