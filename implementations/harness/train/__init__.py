"""Training: the loop, schedules, losses, gates, low-rank factors, and recovery."""
