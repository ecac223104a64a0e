"""How a setting is described, and how a wrong one is complained about."""

from typing import Any

from pydantic import Field, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError


def number(default: float | None, low: float, high: float, why: str) -> Any:
    """A setting that is a number within a range, the ends included."""
    return Field(default, ge=low, le=high, description=why, json_schema_extra={"allowed": f"{low} to {high}"})


def text(default: str | None, why: str, allowed: str) -> Any:
    """A setting that is a text; a validator sees the default as well."""
    return Field(default, description=why, json_schema_extra={"allowed": allowed}, validate_default=True)


def mistake(wrong: str, allowed: str = "", *, name: str = "") -> PydanticCustomError:
    """A validator's complaint: what is wrong and, where the field's own text does not say it, what is allowed.

    ``name``: the field to complain about, where it is not the one that is checked.
    """
    return PydanticCustomError("mistake", "{wrong}", {"wrong": wrong, "allowed": allowed, "name": name})


def missing(wrong: str, allowed: str, *, name: str = "") -> PydanticCustomError:
    """As ``mistake``, for what is nowhere: the complaint will say where was looked for it."""
    return PydanticCustomError("missing", "{wrong}", {"wrong": wrong, "allowed": allowed, "name": name})


def not_below(value: float, other: str, info: ValidationInfo) -> float:
    """The value, unless it is below that of another setting that stands further up."""
    least = info.data.get(other)
    if least is not None and value < least:
        raise mistake(f"is below {other.upper()}", f"at least the {least:g} of {other.upper()}")
    return value


def allowed_values(field: FieldInfo) -> str:
    """A field's range in words, for messages and documentation."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "allowed" in extra:
        return str(extra["allowed"])
    options = getattr(field.annotation, "__args__", ())
    return ", ".join(option for option in options if isinstance(option, str))
