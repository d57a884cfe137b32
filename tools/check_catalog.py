"""Check the whole catalog: `python tools/check_catalog.py`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools.catalog.entries import read_catalog

problems = read_catalog().problems
sys.stdout.writelines(f"{problem}\n" for problem in problems)
sys.exit(bool(problems))
