"""A calibrator that is written down as its fields are: arrays by dotted name, and what is promised as plain data."""

from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, ClassVar, Self, cast

from pnol_jax.calibration.conformity import Kind, number_of_quantiles
from pnol_jax.calibration.modulation import read_modulation
from pnol_jax.calibration.record import Arrays, Metadata, read_array, read_cases, read_share

Reader = Callable[[Mapping[str, Any]], Any]


def read_kind(metadata: Mapping[str, Any]) -> Kind:
    """Of what conformity scores are: pointwise or simultaneous."""
    number_of_quantiles(metadata.get("kind"))
    return cast(Kind, metadata["kind"])


def _share(name: str) -> Reader:
    return lambda metadata: read_share(metadata, name)


READERS: Mapping[str, Reader] = {
    "level": _share("level"),
    "rate": _share("rate"),
    "confidence": _share("confidence"),
    "outside": lambda metadata: None if metadata.get("outside") is None else read_share(metadata, "outside"),
    "cases": read_cases,
    "kind": read_kind,
    "modulation": read_modulation,
}


class Recorded:
    """For a dataclass whose fields are arrays, or static and of a name that `readers` has.

    `method` is its name in the table of calibrators, and `statement` what it promises, in words.
    """

    method: ClassVar[str]
    readers: ClassVar[Mapping[str, Reader]] = READERS

    @property
    def statement(self) -> str:
        """What is promised, in words."""
        raise NotImplementedError

    @property
    def guarantee(self) -> Metadata:
        """What is promised, as plain data."""
        told = {name: getattr(self, name, None) for name in ("method", "level", "kind")}
        static = {one.name: getattr(self, one.name) for one in self._fields() if one.metadata.get("static")}
        return told | static | {"statement": self.statement}

    def to_dict(self) -> tuple[Arrays, Metadata]:
        """Arrays by dotted name, and the guarantee."""
        own = [one.name for one in self._fields() if not one.metadata.get("static")]
        return {f"{self.method}.{name}": getattr(self, name) for name in own}, self.guarantee

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; other arrays may stand beside."""

        def read(one: Field[Any]) -> Any:
            if one.metadata.get("static"):
                return cls.readers[one.name](metadata)
            return read_array(arrays, f"{cls.method}.{one.name}")

        return cls(**{one.name: read(one) for one in cls._fields()})

    @classmethod
    def _fields(cls) -> tuple[Field[Any], ...]:
        return fields(cast(Any, cls))
