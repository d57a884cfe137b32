"""Parts of `import_records.py`: from a list of collected records to drafts of entries."""
