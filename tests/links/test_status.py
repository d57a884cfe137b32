"""What is known of addresses is kept from run to run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tools.links.status import Result, State, Store


def test_results_are_kept_from_run_to_run_and_a_half_line_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "links.jsonl"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    store = Store(file, timedelta(hours=1))
    store.add(Result("http://a.org", State.OK, "", now))
    store.add(Result("http://b.org", State.UNREACHABLE, "HTTP 500", now))
    store.add(Result("http://c.org", State.DEAD, "HTTP 404", "2020-01-01T00:00:00+00:00"))
    with file.open("a") as half:
        half.write('{"url": "http://d.org", "sta')
    assert list(Store(file, timedelta(hours=1)).results) == ["http://a.org"]
    assert len(file.read_text().splitlines()) == 1
    assert Store(file, timedelta(0)).results == {}
