"""Facts of an invented paper."""

SUMMARY = (
    "Prunes at once whatever a rule says that anybody can read, and asks neither data nor time of"
    " those who run it. Nothing of this is real."
)
"""A summary of valid length."""
