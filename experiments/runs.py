"""The folder of a run: its config, where everything came from, and the trained model.

`config.toml` the resolved config; `provenance.json` data digest, commit, versions; `lock` who works in it;
`checkpoints/`; `log.jsonl` figures by step; `faults.jsonl` what went wrong and what was done; `goodput.json` where the
time went; `profile/` traces; `model.safetensors` the parameters after training; `calibration.json` the band's
guarantee, `ood.json` the detector's; `metrics.json`, `report.html` and `picture.svg` from evaluate.
"""

import importlib.metadata
import json
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import msgspec
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from experiments import lock
from experiments.experiment import Experiment
from pnol_jax.config import ExperimentConfig, MeshConfig
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically
from pnol_jax.posteriors import Params
from pnol_jax.sharding.agreement import values_of
from pnol_jax.sharding.placement import on_host
from pnol_jax.toml import load

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
SHOWN = 3  # differences that a message names
CONFIG, MODEL, PROVENANCE = "config.toml", "model.safetensors", "provenance.json"


def leads() -> bool:
    """Whether this process is the one that writes what a run writes once."""
    return jax.process_index() == 0


def open_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Make the folder of a run, or find it again; of several processes the first does.

    Raises:
        InputError: it holds a run already and neither `resume` nor `overwrite` was asked for.
    """
    if not leads():
        return
    if overwrite and is_begun(folder):
        lock.clear(folder)
    if is_begun(folder) and not resume:
        raise InputError(f"{folder} holds a run already; expected --resume, --overwrite, or another --run FOLDER")
    folder.mkdir(parents=True, exist_ok=True)


def is_begun(folder: Path) -> bool:
    """Whether the folder holds a run. One that was stopped before it read its data left nothing."""
    return (folder / CONFIG).exists()


def check_same(folder: Path, config: ExperimentConfig) -> None:
    """Refuse to resume a run with another config than it began with; the mesh may change.

    Raises:
        InputError: naming the keys that differ.
    """
    configs = (msgspec.structs.replace(each, mesh=MeshConfig()) for each in (read_config(folder), config))
    old, new = (values_of(_without_none(msgspec.to_builtins(each)), "config") for each in configs)
    differ = [key for key in old | new if old.get(key) != new.get(key)]
    if differ:
        shown = [f"{key.removeprefix('config.')}: got {new.get(key)}, began with {old.get(key)}" for key in differ]
        more = f", and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
        raise InputError(f"resume: {folder} is a run of another config: {'; '.join(shown[:SHOWN])}{more}")


def write_about(folder: Path, experiment: Experiment) -> None:
    """Write the resolved config and the provenance."""
    if not leads():
        return
    write_atomically(folder / CONFIG, as_toml(experiment.config))
    write_atomically(folder / PROVENANCE, json.dumps(provenance(experiment), indent=2) + "\n")


def write_recalibrated(folder: Path, experiment: Experiment) -> None:
    """Write a trained run's new config; where its parameters come from stays, and this is added."""
    if not leads():
        return
    about = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    now = provenance(experiment)
    about |= {"config": now["config"], "recalibrated": {name: now[name] for name in ("commit", "versions", "written")}}
    write_atomically(folder / CONFIG, as_toml(experiment.config))
    write_atomically(folder / PROVENANCE, json.dumps(about, indent=2) + "\n")


def check_data(folder: Path, experiment: Experiment) -> None:
    """Refuse cases that are not those that a run was trained on and held out.

    Raises:
        InputError: they differ, by their digests.
    """
    data = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))["data"]
    for name, got in _digests(experiment).items():
        if got != data.get(name):
            raise InputError(
                f"{folder}: got training data of the {name} {got}, expected {data.get(name)}: the files are not those "
                "that it was trained on"
            )


def _digests(experiment: Experiment) -> dict[str, str | None]:
    held = experiment.calibration
    return {"digest": experiment.train.digest, "calibration_digest": held.digest if held else None}


def as_toml(config: ExperimentConfig) -> bytes:
    """A config with every default, as TOML."""
    return msgspec.toml.encode(_without_none(msgspec.to_builtins(config)))


def _without_none(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_none(value) for key, value in tree.items() if value is not None}
    if isinstance(tree, list):
        return [_without_none(value) for value in tree]
    return tree


def provenance(experiment: Experiment) -> dict[str, Any]:
    """Where a model comes from."""
    return {
        "config": msgspec.to_builtins(experiment.config),
        "data": {**_digests(experiment), "cases": len(experiment.train), **experiment.train.provenance},
        "commit": commit(),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "devices": [device.device_kind for device in jax.devices()],
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def commit() -> str | None:
    """The git commit of the code, with "-changed" where files of it differ; None outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("-changed" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def read_config(folder: Path) -> ExperimentConfig:
    """The config of a run."""
    if not (folder / CONFIG).is_file():
        others = sorted(str(found.parent) for found in folder.parent.glob(f"*/{CONFIG}"))
        there = f"; runs there: {', '.join(others)}" if others else ""
        raise InputError(f"{folder} holds no run: got no {CONFIG} in it, expected a folder that training wrote{there}")
    return load(folder / CONFIG, ExperimentConfig)


def save_model(folder: Path, params: Params) -> None:
    """Write the parameters after training, put together on the first process."""
    whole = {name: on_host(value) for name, value in params.items()}
    if leads():
        write_atomically(folder / MODEL, save_arrays(whole))


def check_finished(folder: Path) -> None:
    """Refuse a run without parameters.

    Raises:
        InputError: training has not finished.
    """
    if not (folder / MODEL).is_file():
        raise InputError(f"{folder}: no {MODEL}: training has not finished; python -m experiments.train ... --resume")


def load_model(folder: Path) -> Params:
    """The parameters after training.

    Raises:
        InputError: training has not finished, or the file is damaged.
    """
    check_finished(folder)
    path = folder / MODEL
    try:
        arrays = load_arrays(path.read_bytes())
    except SafetensorError as error:
        raise InputError(f"{path}: damaged: {error}") from None
    return {name: jnp.asarray(value) for name, value in arrays.items()}
