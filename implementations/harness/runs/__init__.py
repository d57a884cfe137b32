"""One run or many: check, prune, measure, record, verify."""
