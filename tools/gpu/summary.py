"""The results of all steps as plain data, and the summary in Markdown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from implementations.harness.results.metric import metric
from implementations.harness.results.record import DENSE, LARGEST_SPREAD, Rate, Record, Speed
from implementations.harness.results.store import load_records
from tools.gpu import resumable_tests
from tools.gpu.steps import PARTS

TITLES = {
    "tests": "Tests",
    "benchmarks": "Solver, walk and evaluation",
    "speed": "Speed in bfloat16",
    "records": "Records",
}


def collect(out: Path, benchmarks: Iterable[str]) -> dict[str, Any]:
    """Read what the steps have written so far."""
    outcomes = resumable_tests.read(out / "tests.jsonl").values()
    files = {name: out / "benchmarks" / f"{name}.json" for name in benchmarks}
    return {
        "tests": {
            "count": dict(Counter(one["outcome"] for one in outcomes)),
            "others": [one for one in outcomes if one["outcome"] != "passed"],
        },
        "benchmarks": {
            name: json.loads(path.read_text("utf-8"))
            for name, path in files.items()
            if path.exists()
        },
    }


def markdown(content: dict[str, Any], out: Path) -> str:
    """Return the summary of the results, and of the records under `out`."""
    machine, versions = content["machine"], content["machine"]["versions"]
    code = f"commit {machine['commit']}{' with changes' if machine['dirty'] else ''}"
    lines = [
        f"# {machine['accelerator']}",
        "",
        f"{machine['cpu']}, {machine['cores']} cores; "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
        "",
        code
        if machine["commit"]
        else "The code has no commit, so its records cannot be published.",
        "",
        *times(content["steps"]),
        *tests(content["tests"]),
        *(
            line
            for name in ("solver", "walk", "evaluation", "shapes")
            for line in rows(name, content)
        ),
        *records(load_records([out / "records"])),
    ]
    return "\n".join(lines).rstrip() + "\n"


def table(*columns: str) -> list[str]:
    """Return the first two lines of a table."""
    return [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]


def times(steps: dict[str, Any]) -> Iterator[str]:
    """Yield the time of each part and step."""
    yield from table("Part", "Step", "Status", "Seconds", "Reason")
    for part in PARTS:
        chosen = {name: step for name, step in steps.items() if step["part"] == part}
        for name, step in chosen.items():
            reason = step["reason"].replace("|", "\\|")
            yield f"| {TITLES[part]} | {name} | {step['status']} | {step['seconds']} | {reason} |"
        if len(chosen) > 1:
            total = sum(step["seconds"] for step in chosen.values())
            yield f"| {TITLES[part]} | **all** |  | **{total:.1f}** |  |"
    yield ""


def tests(outcomes: dict[str, Any]) -> Iterator[str]:
    """Yield the number of tests by outcome, and those that did not pass."""
    yield "## Tests\n"
    count = outcomes["count"]
    yield f"{', '.join(f'{n} {outcome}' for outcome, n in count.items()) or 'none was run'}\n"
    for one in outcomes["others"]:
        yield f"- {one['outcome']}: `{one['test']}`: {one['reason']}"
    yield ""


def rows(name: str, content: dict[str, Any]) -> Iterator[str]:
    """Yield the table of a benchmark."""
    found = content["benchmarks"].get(name)
    if not found:
        return
    yield f"## Benchmark: {name}\n"
    yield from table("Case", "Ratio", "Median", "Range", "Medians", "Peak memory", "Note")
    for row in found:
        case = row["case"]
        if row["unavailable"]:
            reason = row["unavailable"].replace("|", "\\|")
            yield f"| {case} | not available |  |  |  |  | {reason} |"
            continue
        unsteady = row["high"] > LARGEST_SPREAD * row["low"]
        median = "not steady" if unsteady else f"{row['median']:.3f}"
        peaks = " / ".join(f"{peak / 1e6:,.0f}" for peak in row["peaks"] or ())
        yield (
            f"| {case} | {row['ratio']} | {median} | {row['low']:.3f} to {row['high']:.3f} | "
            f"{row['first']:.4g} / {row['second']:.4g} {row['unit']} | "
            f"{f'{peaks} MB' if peaks else ''} | {row['note']} |"
        )
    yield ""


def records(measured: list[Record]) -> Iterator[str]:
    """Yield the table of all records."""
    yield f"## Records: {len(measured)}\n"
    if not measured:
        return
    yield from table(
        "Protocol", "Method", "Setting", "Metric", "Value", "Dense", "Prefill", "Decode"
    )
    for record in measured:
        name = next(name for name in record.values if metric(name).relative)
        dense = record.dense.values.get(name)
        yield (
            f"| {record.protocol.name}, {record.model.dtype} | {record.method} | "
            f"{'' if record.method == DENSE else record.settings} | {name} | "
            f"{record.values[name]:.3f} | {'' if dense is None else f'{dense:.3f}'} | "
            f"{times_dense(record.speed, 'prefill')} | {times_dense(record.speed, 'decode')} |"
        )
    yield ""


def times_dense(speed: Speed, kind: str) -> str:
    """Return the speed of a kind, `prefill` or `decode`, relative to the dense model."""
    rate: Rate | None = getattr(speed, kind)
    if rate is None:
        return ""
    if not speed.steady:
        return "not steady"
    return f"{rate.ratio:.2f}x, {rate.pruned:,.0f} tokens/s"
