"""Versions come and go beside requests: none is lost, a broken one harms nobody, labels and policy are kept."""

import asyncio
import gc
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.monitoring
import msgspec
import numpy as np
import pytest

from pnol_jax.errors import InputError
from serving.cache import Cache
from serving.engine import Engine
from serving.query import Options, Query
from serving.refusals import NotFound, Refusal
from serving.repository import Entry, Repository
from serving.repository.demand import load_model, unload_model
from serving.service import Service
from serving.settings import Settings
from tests import heat

FIELD, SOLUTION = heat.wave(heat.grid(12), 1)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`line/1` to `line/4`, moments only."""
    folder = tmp_path_factory.mktemp("versions")
    for version in "1234":
        heat.write(folder, "line", version, axes=1, signature=heat.signature(1, ["moments"]))
    return folder / "line"


class Folder:
    """A folder of models that a test changes, and its repository."""

    def __init__(self, models: Path, versions: Path, **changes: Any) -> None:
        self.models, self.line, self._versions = models, models / "line", versions
        settings = Settings(str(models), batch_sizes=(1,), samples_batch_sizes=(1,), poll_seconds=0)
        self.repository = Repository(msgspec.structs.replace(settings, **changes))

    def add(self, *names: str, broken: bool = False) -> None:
        for name in names:
            aside = shutil.copytree(self._versions / name, self.line / f".{name}")
            if broken:
                weights = aside / "weights.safetensors"
                weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
            os.rename(aside, self.line / name)

    def label(self, text: str) -> None:
        (self.line / ".labels").write_text(text)
        os.replace(self.line / ".labels", self.line / "labels.toml")

    def look(self) -> dict[str, str]:
        """What the repository makes of the folder, once all is loaded: states by version."""
        self.repository.refresh()
        self.repository.wait()
        return self.states()

    def states(self) -> dict[str, str]:
        return {entry.version: entry.state for entry in self.repository.entries()}

    def entry(self, version: str) -> Entry:
        return self.repository.catalogue.table["line", version]

    def answering(self, version: str | None = None) -> str:
        return self.repository.find("line", version).servable.manifest.version


@pytest.fixture
def folder(tmp_path: Path, versions: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path, versions)
    yield folder
    folder.repository.stop()


def test_versions_that_appear_and_vanish_are_noticed(folder: Folder) -> None:
    left: list[str] = []
    folder.repository.on_leave.append(lambda entry: left.append(entry.version))
    folder.add("1")
    assert folder.look() == {"1": "ready"}
    folder.add("2")
    assert folder.answering() == "1"  # nothing happens until it is looked at
    assert folder.look() == {"1": "ready", "2": "ready"}
    assert folder.answering() == "2"
    shutil.rmtree(folder.line / "2")
    assert folder.look() == {"1": "ready"}
    assert folder.answering() == "1"
    assert left == ["2"]
    shutil.rmtree(folder.line)
    assert folder.look() == {}
    with pytest.raises(NotFound, match=r"expected one of \[\]"):
        folder.answering()


def test_a_broken_new_version_leaves_the_old_one_and_says_why(folder: Folder) -> None:
    folder.add("1")
    folder.look()
    folder.add("2", broken=True)
    assert folder.look() == {"1": "ready", "2": "failed"}
    assert folder.answering() == "1"
    assert "weights.safetensors: got SHA-256" in str(folder.entry("2").error)
    with pytest.raises(NotFound, match=r"version '2', expected one that is ready of \['1 \(ready\)', '2 \(failed\)'\]"):
        folder.answering("2")
    shutil.rmtree(folder.line / "2")
    folder.add("2")
    assert folder.look() == {"1": "ready", "2": "ready"}


def test_a_version_that_is_changed_where_it_stands_is_taken_over_only_if_it_is_whole(folder: Folder) -> None:
    folder.add("1")
    folder.look()
    before = folder.repository.find("line", "1")
    weights = folder.line / "1" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"\xff")
    assert folder.look() == {"1": "ready"}
    assert folder.repository.find("line", "1") is before
    assert "got SHA-256" in str(folder.entry("1").error)
    weights.write_bytes(whole)
    folder.look()
    assert folder.entry("1").error is None
    assert folder.repository.find("line", "1") is not before


def test_no_request_is_lost_while_versions_come_and_go(folder: Folder) -> None:
    folder.add("1")
    folder.look()
    engine = Engine(queue_cases=100, operands_bytes=2**20, utilisation_window=60.0)
    service = Service(folder.repository, engine, Cache(0), max_cases=4, deadline_seconds=60.0)
    folder.repository.on_leave.append(lambda entry: engine.forget(entry.ladder))
    over = threading.Event()

    async def client(number: int) -> list[str]:
        answered = []
        while not over.is_set():
            scale = np.float32(1 + number + 10 * len(answered) % 1000)
            answer = await service.answer(Query(Options(model="line", outputs=("mean",)), scale * FIELD))
            np.testing.assert_allclose(answer.arrays["mean"] / scale, SOLUTION, atol=1e-5)
            answered.append(answer.manifest.version)
        return answered

    def changes() -> None:
        try:
            for version in "234":
                folder.add(version)
                folder.look()
                shutil.rmtree(folder.line / str(int(version) - 1))
                folder.look()
        finally:
            over.set()

    async def scenario() -> list[str]:
        clients = [asyncio.create_task(client(number)) for number in range(4)]
        await asyncio.to_thread(changes)
        return [version for answered in await asyncio.gather(*clients) for version in answered]

    answered = asyncio.run(scenario())
    engine.close()
    assert {"1", "2", "3"} <= set(answered)
    assert folder.states() == {"4": "ready"}


def test_nothing_is_compiled_in_the_path_of_a_request(folder: Folder) -> None:
    compiled: list[str] = []

    def listen(event: str, _: float, **__: Any) -> None:
        if "compile" in event:
            compiled.append(event)

    folder.add("1")
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        folder.look()
        assert compiled  # the listener hears what loading compiles
        compiled.clear()
        engine = Engine(queue_cases=100, operands_bytes=2**20, utilisation_window=60.0)
        service = Service(folder.repository, engine, Cache(0), max_cases=4, deadline_seconds=60.0)

        async def scenario() -> None:
            for points in (9, 12, 16):
                field = np.stack([heat.wave(heat.grid(points), 1)[0]] * 3)
                await service.answer(Query(Options(outputs=("mean", "std", "lower", "ood")), field))

        asyncio.run(scenario())
        engine.close()
        assert not compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_programs_stay_while_a_request_uses_them_and_are_freed_after_it(folder: Folder) -> None:
    folder.add("1", "2")
    folder.look()
    held: Any = folder.repository.find("line", "1")
    unload_model(folder.repository, "line", "1")
    assert folder.states() == {"1": "unloading", "2": "ready"}
    shutil.rmtree(folder.line / "1")
    assert folder.look() == {"1": "unloading", "2": "ready"}
    assert held.costs
    del held
    gc.collect()
    assert folder.states() == {"2": "ready"}


def test_what_a_request_unloads_stays_so_until_a_request_loads_it(folder: Folder) -> None:
    folder.add("1", "2")
    folder.look()
    unload_model(folder.repository, "line", "2")
    gc.collect()
    assert folder.look() == {"1": "ready", "2": "unloaded"}
    assert folder.answering() == "1"
    load_model(folder.repository, "line", "2")
    assert folder.answering() == "2"
    unload_model(folder.repository, "line", None)
    gc.collect()
    assert set(folder.states().values()) == {"unloaded"}
    load_model(folder.repository, "line", None)
    assert set(folder.states().values()) == {"ready"}


def test_a_load_that_fails_is_refused_with_its_reason(folder: Folder) -> None:
    folder.add("1")
    folder.add("2", broken=True)
    folder.look()
    for version in ("2", None):
        with pytest.raises(Refusal, match=r"could not be loaded: 2 \(failed\): .* got SHA-256"):
            load_model(folder.repository, "line", version)
    load_model(folder.repository, "line", "1")
    with pytest.raises(NotFound, match="got version '7', expected one of"):
        load_model(folder.repository, "line", "7")


@pytest.mark.parametrize("name", ["..", "../line", "a/b", "a\0b", ".hidden", "", "a" * 65, "line\n"])
def test_names_that_could_leave_the_folder_are_refused(folder: Folder, name: str) -> None:
    folder.add("1")
    folder.look()
    for act in (load_model, unload_model):
        with pytest.raises(InputError, match="model: got"):
            act(folder.repository, name, None)
        with pytest.raises(InputError, match="version: got"):
            act(folder.repository, "line", name)
    with pytest.raises(NotFound):
        folder.answering(name)


def test_the_policy_lets_old_versions_go_once_newer_ones_answer(tmp_path: Path, versions: Path) -> None:
    folder = Folder(tmp_path, versions, keep_versions=1)
    folder.add("1")
    folder.look()
    folder.add("2", broken=True)
    assert folder.look() == {"1": "ready", "2": "failed"}
    folder.add("3")
    gc.collect()
    assert folder.look() == {"1": "unloaded", "2": "failed", "3": "ready"}
    folder.label('stable = "1"\n')
    assert folder.look() == {"1": "ready", "2": "failed", "3": "ready"}
    folder.label('[keep]\nversions = ["1"]\n')
    gc.collect()
    assert folder.look() == {"1": "ready", "2": "failed", "3": "unloaded"}
    folder.repository.stop()


def test_labels_stand_for_versions_and_move_once_those_are_ready(folder: Folder) -> None:
    folder.add("1", "2", "3")
    folder.label('stable = "2"\ncanary = "3"\n')
    folder.look()
    assert [folder.answering(name) for name in (None, "stable", "canary", "1")] == ["2", "2", "3", "1"]
    folder.label('stable = "4"\ncanary = "4"\n')
    folder.look()
    assert [folder.answering(name) for name in (None, "canary")] == ["2", "3"]  # until there is a 4
    folder.add("4")
    folder.look()
    assert [folder.answering(name) for name in (None, "canary")] == ["4", "4"]
    folder.label('stable = "4"\ncanary = 4\n')  # no text: the file before it holds
    folder.look()
    assert folder.answering("canary") == "4"
    with pytest.raises(NotFound, match=r"'4 \(ready\)', 'stable \(label of 4\)', 'canary \(label of 4\)'\]"):
        folder.answering("experimental")


def test_a_stable_version_that_is_not_there_falls_back_to_an_older_one_only(folder: Folder) -> None:
    folder.add("1", "2", "4")
    folder.add("3", broken=True)
    folder.label('stable = "3"\ncanary = "3"\n')
    folder.look()
    assert folder.answering() == "2"
    with pytest.raises(NotFound, match="got version 'canary'"):
        folder.answering("canary")
    unload_model(folder.repository, "line", "1")
    unload_model(folder.repository, "line", "2")
    with pytest.raises(NotFound, match="got version 'stable', expected one that is ready"):
        folder.answering()


def test_what_the_stable_label_falls_back_to_is_loaded_whatever_the_policy_keeps(
    tmp_path: Path, versions: Path
) -> None:
    folder = Folder(tmp_path, versions, keep_versions=1)
    folder.add("1", "2", "4")
    folder.add("3", broken=True)
    folder.label('stable = "3"\n')
    assert folder.look() == {"1": "unloaded", "2": "ready", "3": "failed", "4": "ready"}
    assert folder.answering() == "2"
    shutil.rmtree(folder.line / "3")
    folder.add("3")
    gc.collect()
    assert folder.look() == {"1": "unloaded", "2": "unloaded", "3": "ready", "4": "ready"}
    assert folder.answering() == "3"
    folder.repository.stop()


def test_a_look_at_a_folder_that_has_not_changed_leaves_the_catalogue_what_it_was(
    tmp_path: Path, versions: Path
) -> None:
    folder = Folder(tmp_path, versions)
    folder.add("1")
    folder.repository.load()
    before = folder.repository.catalogue
    folder.repository.refresh()
    assert folder.repository.catalogue is before
    folder.add("2")
    folder.repository.load()
    assert folder.repository.catalogue is not before
