"""Files as they are read: text, the line of every field, and what is wrong with it."""
