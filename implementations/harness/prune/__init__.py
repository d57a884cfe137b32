"""What methods are made of: their base, the walk, statistics, masks, allocation."""
