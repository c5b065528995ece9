"""Whatever happens to a folder and in whatever order loads end, a model that can answer does, and the policy is met."""

from typing import Any

import numpy as np
import pytest

from serving.repository.catalogue import Catalogue
from serving.repository.entry import Entry, Fingerprint, Key, loaded, observed
from serving.repository.labels import Keep
from serving.repository.settling import settle

STEPS = 60


class Programs:
    """Stands for a ladder."""


class World:
    """A folder that changes at random, and loads that end at random, well or not."""

    def __init__(self, seed: int, keep: int) -> None:
        self.generator, self.keep = np.random.default_rng(seed), Keep(keep)
        self.catalogue = Catalogue()
        self.found: dict[Key, Fingerprint] = {}
        self.pending: list[tuple[Key, Fingerprint]] = []
        self.left: list[Any] = []

    def ready(self) -> list[str]:
        return [entry.version for entry in self.catalogue.entries if entry.ladder is not None]

    def settle(self, table: Any) -> None:
        settled = settle(self.catalogue, table, {}, self.keep)
        self.catalogue = settled.catalogue
        self.pending += [(key, settled.catalogue.table[key].fingerprint) for key in settled.load]
        self.left += [entry.ladder for entry in settled.left]

    def look(self) -> None:
        self.settle(observed(self.catalogue.table, self.found))

    def end(self, succeeds: bool) -> None:
        key, fingerprint = self.pending.pop(self.generator.integers(len(self.pending)))
        entry = self.catalogue.table.get(key)
        if entry is not None and not entry.gone and entry.tried == fingerprint:
            outcome: Any = Programs() if succeeds else "broken"
            self.settle({**self.catalogue.table, key: loaded(entry, outcome)})

    def step(self) -> None:
        match self.generator.integers(4):
            case 0 | 1:  # a new version, or other files of an old one
                key = "heat", str(self.generator.integers(1, 12))
                self.found[key] = (("manifest.json", int(self.generator.integers(100)), 0, 0),)
                self.look()
            case 2 if self.found:
                del self.found[list(self.found)[self.generator.integers(len(self.found))]]
                self.look()
            case _ if self.pending:
                self.end(self.generator.random() < 0.6)


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_a_model_that_can_answer_does(keep: int) -> None:
    for seed in range(60):
        world = World(seed, keep)
        for _ in range(STEPS):
            before = world.ready()
            world.step()
            if any(("heat", version) in world.found for version in before):
                world.catalogue.find("heat", None)  # raises if nothing answers
        while world.pending:
            world.end(succeeds=True)
        order = sorted((Entry(*key) for key in world.found), key=lambda entry: entry.order)
        able = [e.version for e in order if world.catalogue.table[e.key].state != "failed"]
        assert world.ready() == able[-keep:]


def test_programs_that_cannot_be_found_any_more_have_been_reported_once() -> None:
    for seed in range(60):
        world, seen = World(seed, keep=2), dict[int, Any]()
        for _ in range(STEPS):
            world.step()
            seen |= {id(entry.ladder): entry.ladder for entry in world.catalogue.entries if entry.ladder}
        here = {id(entry.ladder) for entry in world.catalogue.entries if entry.ladder}
        assert sorted(map(id, world.left)) == sorted(set(seen) - here)
