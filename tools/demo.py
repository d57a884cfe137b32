"""The demo: prune a real model with five methods, compare the results, build the site.

`make demo` runs it. It prints each command before running it, so that you can repeat it.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from implementations.harness.results.store import load_records
from tools.repository import REPOSITORY

RUNS = Path("runs", "demo")
PROGRAMS = Path(sys.executable).parent

console = Console()


def main() -> None:
    """Run the demo; exit with the code of the first command that fails."""
    call("atlas", "sweep", "--file", "tools/demo.yaml", "--runs", str(RUNS))
    show_samples()
    call("python", "-m", "tools.site", "--runs", str(RUNS))
    call("python", "-m", "mkdocs", "build", "--strict", "--quiet", NO_MKDOCS_2_WARNING="1")
    console.print("\nThe site is built. Open it in a browser:")
    console.print(str(REPOSITORY / "site" / "index.html"), soft_wrap=True, highlight=False)
    console.print(f"To use the search, filters and charts, run: ATLAS_RUNS={RUNS} make serve")


def call(program: str, *arguments: str, **environment: str) -> None:
    """Print a command and run it in the checkout; exit with its code if it fails."""
    console.print(f"\n$ {shlex.join([program, *arguments])}", style="bold", highlight=False)
    done = subprocess.run(
        [str(PROGRAMS / program), *arguments],
        cwd=REPOSITORY,
        env=os.environ | environment,
        check=False,  # the program has printed its own message
    )
    if done.returncode:
        sys.exit(done.returncode)


def show_samples() -> None:
    """Print the continuations of the same sentence by the dense and the pruned models."""
    records = load_records([REPOSITORY / RUNS])
    console.print("\nThe same sentence, continued by each model:", style="bold")
    for record in sorted(records, key=lambda record: (record.method != "dense", record.date)):
        console.print(f"\n{record.method} {record.settings}".rstrip(), style="bold")
        console.print(record.sample, markup=False, highlight=False)


if __name__ == "__main__":
    main()
