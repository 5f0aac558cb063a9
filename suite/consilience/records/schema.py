"""What all published models share: strictness, undefined values, rounding, and how newer files are refused."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _no_nan(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


#: A number that may be undefined; NaN is written as null, since JSON has no NaN.
Value = Annotated[float | None, BeforeValidator(_no_nan)]


class SchemaModel(BaseModel):
    """What is published or handed on as JSON: unknown fields are refused, docstrings of fields are descriptions."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], content: Any) -> Model:
    """Model of what a file holds, each field of the very type that its schema states.

    Raises
    ------
    ValueError
        A field is missing, unknown, or of another type: ``true`` and ``"0.5"`` are no numbers.
    """
    try:
        text = json.dumps(content, allow_nan=False)
    except (TypeError, RecursionError) as error:  # a date of TOML, say
        raise ValueError(str(error)) from error
    return model.model_validate_json(text, strict=True)


def is_empty(value: Any) -> bool:
    """Whether a field that an older schema does not have holds nothing: it is left out of the file then."""
    return value is None or value in ([], {})


def refuse_newer(version: Any, newest: int) -> None:
    """Raise `ValueError` where a schema version is one that only a later suite can read."""
    if version is not None and type(version) is not int:
        raise ValueError(f"schema_version is {str(version)[:40]!r}, expected a whole number")
    if version is not None and version > newest:
        raise ValueError(
            f"written by a newer consilience: its schema version is {version}, this one reads up to {newest}; update it"
        )


def to_json(model: BaseModel) -> str:
    """Text of a record or board as it is published: indented, keys in schema order, numbers to 6 digits."""
    return json.dumps(_rounded(model.model_dump(mode="json")), indent=1, ensure_ascii=False) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
