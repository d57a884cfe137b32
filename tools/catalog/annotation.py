"""What the annotations of text fields share: how Pydantic calls a check and describes a form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class Checked(ABC):
    """Annotation of a text field: `check` accepts a value or raises, `described` is for editors."""

    @abstractmethod
    def check(self, value: str) -> str:
        """Return an accepted value; raises `PydanticCustomError` for any other."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """Return what the JSON Schema says of the field beside its type."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), **self.described()}
