"""The base class of every configuration section, and the types that sections share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

# Names become folders: no part may be empty, hidden or lead out of the results folder.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*$")]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of the configuration: rejects unknown keys, and is immutable once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ExtendedSection(Section):
    """A section with keys that change nothing at their defaults; `off` names them.

    They are written only where they are set: what was trained or decoded before a key existed is still the same recipe,
    and is not made again.
    """

    off: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value
            for name, value in handler(self).items()
            if name not in self.off or getattr(self, name) != fields[name].default
        }
