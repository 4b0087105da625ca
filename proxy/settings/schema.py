"""The JSON Schema of routing.yaml for editors, from the shapes themselves: ``python -m proxy.settings.schema > FILE``."""

from __future__ import annotations

import json
import sys
from typing import Any, cast

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from proxy.settings.shape import SettingsShape

_VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"}
"""Any value may come from the environment."""

_CHECKED = ("type", "pattern", "enum", "const", "minimum", "maximum", "multipleOf", "format", "minLength")


class _WithoutDefaults(GenerateJsonSchema):
    """Defaults are seconds and bytes here, not as people write them; routing.yaml shows them in its comments."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    made = SettingsShape.model_json_schema(schema_generator=_WithoutDefaults)
    schema = cast("dict[str, Any]", _for_editors(made))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Turnout's routing.yaml",
        "description": "Checked in full by `turnout check FILE`; this schema is for editors.",
        **{key: value for key, value in schema.items() if key not in ("title", "description")},
    }


def rendered() -> str:
    """The schema as the file in config/ holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _for_editors(node: object, *, is_property_map: bool = False) -> object:
    if isinstance(node, list):
        return [_for_editors(item) for item in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    mapping = cast("dict[str, object]", node)
    if is_property_map:
        return {key: _for_editors(value) for key, value in mapping.items()}
    # Titles repeat the key.
    kept = {
        key: _for_editors(value, is_property_map=key in ("properties", "$defs"))
        for key, value in mapping.items()
        if key != "title"
    }
    if _is_absent(kept):
        return kept
    alternatives = kept.get("anyOf")
    if isinstance(alternatives, list):
        # `| None` is how a shape says "may be left out"; an empty value is refused.
        present = [item for item in cast("list[object]", alternatives) if not _is_absent(item)]
        rest = {key: value for key, value in kept.items() if key != "anyOf"}
        return (
            {**rest, **cast("dict[str, object]", present[0])}
            if len(present) == 1
            else {**rest, "anyOf": present}
        )
    return _or_variable(kept) if _is_scalar(kept) else kept


def _is_absent(node: object) -> bool:
    return isinstance(node, dict) and cast("dict[str, object]", node).get("type") == "null"


def _is_scalar(node: dict[str, object]) -> bool:
    kind = node.get("type")
    if kind == "string":
        return any(key in node for key in _CHECKED if key != "type")
    return kind in ("boolean", "integer", "number") or "enum" in node or "const" in node


def _or_variable(node: dict[str, object]) -> dict[str, object]:
    checked = {key: node[key] for key in _CHECKED if key in node}
    rest = {key: value for key, value in node.items() if key not in checked}
    return {**rest, "anyOf": [checked, dict(_VARIABLE)]}


if __name__ == "__main__":
    sys.stdout.write(rendered())
