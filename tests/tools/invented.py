"""What the tests of the commands say of an invented paper."""

SUMMARY = (
    "Prunes at once whatever a rule says that anybody can read, and asks neither data nor time of"
    " those who run it. Nothing of this is real."
)
"""Long enough to stand in an entry."""
