"""The building blocks of methods: base classes, walks, statistics, masks, allocation."""
