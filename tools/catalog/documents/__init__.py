"""YAML files with the line of every field and their problems."""
