"""What a feature hands back, for the terminal and for the page."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from experiments import quickstart
from experiments.report.drawing import Draw


@dataclass(frozen=True)
class Stage:
    """Where a feature runs. `folder`: of what it makes; `say`: what it is at; `overrides`: of Darcy's config."""

    folder: Path
    say: Callable[[str], None]
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A number as it is read, and what it rests on."""

    name: str
    value: str
    more: str = ""


@dataclass(frozen=True)
class Drawing:
    """A drawing of so many inches; `alt` says what it shows to those who do not see it."""

    draw: Draw
    alt: str
    width: float = 5.1
    height: float = 2.5


@dataclass(frozen=True)
class Shown:
    """A feature as it was seen: a sentence with the result, figures, drawings with what they show, and what was run."""

    verdict: str
    figures: tuple[Figure, ...]
    drawings: tuple[Drawing, ...]
    caption: str
    how: str
    seconds: float = field(default=0.0)


def milliseconds(seconds: float) -> str:
    """Seconds as they are read: 0.42 ms, 38 ms, 1.2 s."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


@contextlib.contextmanager
def served(stage: Stage, models: Path) -> Iterator[str]:
    """The service with a folder of servables; its address. Its log is `service.log`."""
    stage.say("starting the service")
    with (
        (stage.folder / "service.log").open("w") as log,
        quickstart.serving(models, "--batch-sizes", "[1]", log=log) as address,
    ):
        yield address
