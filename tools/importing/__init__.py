"""From a list of gathered records to drafts of entries; the parts of `import_records.py`."""
