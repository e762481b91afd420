"""What all sections of the configuration share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _integer(value: Any) -> int:
    """Refuse true and 1.0, which a choice among integers would take as the 1 that they equal."""
    if type(value) is not int:
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


def _positive(value: float) -> float:
    if value <= 0:
        raise PydanticCustomError(
            "not_positive", "a positive weight is accepted: set the whole term to none to drop it"
        )
    return value


Integer = BeforeValidator(_integer)
Count = Annotated[int, Field(ge=1)]
Factor = Annotated[float, Field(ge=0)]
Weight = Annotated[float, AfterValidator(_positive)]


class Section(BaseModel):
    """Immutable; no setting is converted from another type and none is ignored.

    The docstring of a setting is its meaning, which ``faqd-train configs --show`` prints.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
