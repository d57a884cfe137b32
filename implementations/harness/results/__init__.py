"""Records, protocols and leaderboards. This package must not import torch."""
