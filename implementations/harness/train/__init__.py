"""Training: one short loop, and what methods and recovery train with it."""
