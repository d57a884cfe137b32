"""What a model is measured by: quality, size, speed, memory and a sample of its text."""
