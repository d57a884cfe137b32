"""Run the fuzz tests: `make fuzz MINUTES=60`.

Each test file runs once with one example per test (the clean run), then repeatedly with other
seeds. A file fails if a test fails, if it needs more than 1.5 times the memory of the clean run, or
if it leaves files outside its folders.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
CLEAN, ROUND = 1, 200  # examples per test
MOST = 1.5  # times the memory of the clean run


def main() -> None:
    """Run the fuzz tests, print a table, and exit with code 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(HERE.glob("test_*.py")))
    asked = parser.parse_args()
    before = visible_files()
    rows = [fuzz(file, 60 * asked.minutes / len(asked.files)) for file in asked.files]
    print(f"\n{'boundary':36} {'rounds':>6} {'tests':>6} {'memory':>7}  found")
    for row in rows:
        print("{:36} {:6} {:6} {:7.2f}  {}".format(*row))
    left = sorted(visible_files() - before)
    print("files left outside:", ", ".join(left) or "none")
    sys.exit(bool(left) or any(row[-1] for row in rows))


def fuzz(file: Path, seconds: float) -> tuple[str, int, int, float, str]:
    """Run one file until its time is over; return its row of the table."""
    clean, tests, found = run(file, CLEAN, 0)
    most, rounds, start = clean, 0, time.monotonic()
    while not found and time.monotonic() - start < seconds:
        rounds += 1
        memory, tests, found = run(file, ROUND, rounds)
        most = max(most, memory)
        print(f"{file.stem}: round {rounds}, {found or 'nothing found'}", flush=True)
    if not found and most > MOST * clean:
        found = f"memory {most / 1e6:,.0f} MB, {clean / 1e6:,.0f} MB in the clean run"
    return file.stem.removeprefix("test_"), rounds, tests, most / clean, found


def run(file: Path, examples: int, seed: int) -> tuple[int, int, str]:
    """Run a file with its own home and temporary folder; return peak memory, tests and failures."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        # Use the existing cache of the embedded model, which the tests do not change.
        own = {"HOME": folder, "TMPDIR": folder, "FUZZ_EXAMPLES": str(examples)}
        cache = os.environ.get("PRUNING_ATLAS_CACHE", Path.home() / ".cache" / "pruning-atlas")
        own |= {"PRUNING_ATLAS_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        quiet = ["-q", "--no-header", "-p", "no:cacheprovider", f"--hypothesis-seed={seed}"]
        process = subprocess.Popen(
            [sys.executable, "-B", "-m", "pytest", *quiet, str(file)],
            cwd=REPOSITORY,
            env=os.environ | own,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        log.seek(0)
        output = log.read()
    kept = REPOSITORY / "build" / "fuzz" / f"{file.stem}-{seed}.log"
    if status:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(output)
    last = output.strip().rpartition("\n")[2]
    counted = [int(word) for word in last.split() if word.isdigit()]
    return usage.ru_maxrss * 1024, sum(counted[:1]), f"see {kept}: {last}" if status else ""


def visible_files() -> set[str]:
    """Files created in the checkout and in the folder for temporary files."""
    status = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(status.stdout.splitlines()) | {
        path.name for path in Path(tempfile.gettempdir()).iterdir()
    }


if __name__ == "__main__":
    main()
