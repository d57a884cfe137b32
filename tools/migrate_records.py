"""Migrate records to schema 3, once: `python tools/migrate_records.py FOLDER...`.

`asked` becomes `requested`; `measurement` and `revision` are 1; the key is computed anew.
"""

import json
import sys
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pydantic import model_validator

from implementations.harness.results.files import format_json
from implementations.harness.results.record import SCHEMA_VERSION, Record
from implementations.harness.results.store import load_record, record_files


class Draft(Record):
    """A record whose key is not checked."""

    @model_validator(mode="after")
    def _key_matches_content(self) -> Self:
        return self


for path in (path for folder in sys.argv[1:] for path in record_files(Path(folder))):
    content = json.loads(path.read_text("utf-8"))
    if content["schema_version"] == SCHEMA_VERSION:
        continue
    content["requested"] = content.pop("asked")
    content |= {"schema_version": SCHEMA_VERSION, "measurement": 1, "revision": 1}
    draft = Draft.model_validate_json(json.dumps(content))
    made = draft.model_dump(mode="json") | {"key": draft.key_with(draft.seed)}
    path.write_text(format_json(made) + "\n", "utf-8")
    load_record(path)
