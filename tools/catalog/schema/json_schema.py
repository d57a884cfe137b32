"""The JSON Schema of an entry, with which editors complete and check fields."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from tools.catalog.schema.paper import Paper
from tools.repository import REPOSITORY

PATH = REPOSITORY / "catalog" / "schema.json"


class _Generator(GenerateJsonSchema):
    """Generator that omits titles, defaults and `null`, which an entry does not contain."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def schema() -> str:
    """Return the text of `catalog/schema.json`."""
    made = Paper.model_json_schema(schema_generator=_Generator)
    named = {"$schema": _Generator.schema_dialect, "$id": "urn:pruning-atlas:entry", **made}
    return json.dumps(named, indent=1, ensure_ascii=False) + "\n"
