"""From a config to what every command works on: cases, bases, posterior, the constants of the model."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import msgspec
from flax import nnx
from msgspec.structs import replace

from pnol_jax.bases import Basis, BasisKind
from pnol_jax.config import AutoBasis, AxisConfig, DataConfig, ExperimentConfig, MeshConfig, SpectralConfig
from pnol_jax.data import AxisSpec, CaseSet, Pipeline, SourceSpec, evaluation_batches, fit_normaliser, read_cases
from pnol_jax.data.spec import DType
from pnol_jax.errors import InputError
from pnol_jax.operators import Functional, build_operator, functional
from pnol_jax.operators.rematerialise import Remat
from pnol_jax.posteriors import Batch, FitBatch, Params, Posterior, build_posterior
from pnol_jax.posteriors.protocol import NORMALISER
from pnol_jax.precision import exact_from_here
from pnol_jax.sharding.placement import WHOLE, BatchPlacement, placed, space_parts


@dataclass(frozen=True)
class Experiment:
    """A config made real. `test` has one set per file, so that errors can be told apart by grid."""

    config: ExperimentConfig
    train: CaseSet
    calibration: CaseSet | None
    test: tuple[CaseSet, ...]
    bases: tuple[Basis, ...]
    posterior: Posterior

    @property
    def digest(self) -> str:
        """What a checkpoint belongs to: the training cases and the config, but not the mesh, which may change."""
        about = msgspec.json.encode(replace(self.config, mesh=MeshConfig())) + self.train.digest.encode()
        return hashlib.sha256(about).hexdigest()

    @property
    def buckets(self) -> list[tuple[int, ...]] | None:
        """The padded sizes of training, if any are given."""
        return [tuple(bucket) for bucket in self.config.data.buckets] or None

    def constants(self) -> Params:
        """The normaliser, fitted on the training cases only."""
        fitted = {NORMALISER + name: value for name, value in fit_normaliser(self.train).items()}
        return placed({name: jnp.asarray(value) for name, value in fitted.items()}, dict.fromkeys(fitted, WHOLE))

    def batches(self) -> Pipeline:
        """Endless training batches."""
        training = self.config.training
        return Pipeline(
            self.train,
            training.batch_size,
            self.bases,
            buckets=self.buckets,
            seed=training.seed,
            symmetries=self.config.data.symmetries,
            thinning=self.config.data.thinning,
            unroll=training.unroll,
            rows=BatchPlacement(training.batch_size).rows,
            parts=space_parts(),
        )

    def one_pass(self, cases: CaseSet, size: int | None = None, unroll: int = 1) -> Iterator[FitBatch]:
        """The cases once, in order, in batches of `size` (the training's)."""
        place = BatchPlacement(size or self.config.training.batch_size)
        for batch in evaluation_batches(
            cases, place.size, self.bases, self.buckets, unroll, rows=place.rows, parts=space_parts()
        ):
            fields = Batch(jnp.asarray(place.field(batch.inputs)), jnp.asarray(place.field(batch.outputs)))
            yield FitBatch(fields, place.grid(batch.grid), jnp.asarray(place.cases(batch.mask)))


def open_experiment(config: ExperimentConfig) -> Experiment:
    """Read the cases and build the posterior.

    JAX computes in float64 from here on if the config says so, and else in float32, all of the process included; what
    is not training multiplies float32 exactly (`pnol_jax/precision.py`).

    Raises:
        InputError: a file is missing or wrong, or the operator does not fit the data.
    """
    data, dtype = config.data, working_type(config)
    jax.config.update("jax_enable_x64", dtype == "float64")  # type: ignore[no-untyped-call]
    exact_from_here()
    everything = _read(data, data.train, dtype)
    train, calibration = everything, None
    if data.calibration:
        train, calibration = everything.split(data.calibration, config.training.seed)
    return make_experiment(config, train, calibration, tuple(_read(data, [path], dtype) for path in data.test))


def make_experiment(
    config: ExperimentConfig, train: CaseSet, calibration: CaseSet | None = None, test: tuple[CaseSet, ...] = ()
) -> Experiment:
    """The experiment of a config on cases that are read already.

    Raises:
        InputError: the operator does not fit the data, or the cases were read in another precision.
    """
    if train.dtype != working_type(config):
        raise InputError(
            f"training.precision: got {config.training.precision!r} with cases that were read as {train.dtype}; "
            f"expected one that works in {train.dtype} too"
        )
    bases = make_bases(config.operator, config.data.axes)
    _check_step(config, bases)
    return Experiment(
        config=config,
        train=train,
        calibration=calibration,
        test=test,
        bases=bases,
        posterior=_posterior(config, train, bases),
    )


def _check_step(config: ExperimentConfig, bases: Sequence[Basis]) -> None:
    training = config.training
    if training.increment and config.data.time_step is None:
        raise InputError("training.increment: got true for a steady problem, expected trajectories (data.time_step)")
    if training.band_limited and any(basis.kind == "padded" for basis in bases):
        raise InputError(
            "training.band_limited: got true with a padded basis, whose functions are nearly dependent; "
            "expected operator.basis = 'fourier' on every periodic axis, 'cosine' on every bounded one"
        )


def working_type(config: ExperimentConfig) -> DType:
    """The type of weights, data and operands; an operator of 16 bits acts between them."""
    return "float64" if config.training.precision == "float64" else "float32"


def with_training(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """The experiment with some settings of its training section changed."""
    config = replace(experiment.config, training=replace(experiment.config.training, **changes))
    posterior = _posterior(config, experiment.train, experiment.bases)
    return dataclasses.replace(experiment, config=config, posterior=posterior)


def _posterior(config: ExperimentConfig, train: CaseSet, bases: Sequence[Basis]) -> Posterior:
    build = functools.partial(_build, config.operator, config.training.remat, train.input_channels, bases)
    pairs = sum(len(group) * (1 if group.times is None else group.times - 1) for group in train.groups)
    return build_posterior(config.posterior, config.training, build, train.output_channels, bases, pairs)


def channel_names(names: Sequence[str], count: int) -> list[str]:
    """What the channels of the named arrays are called; an array with several gets a number on each."""
    return list(names) if len(names) == count else [f"{'+'.join(names)}.{i}" for i in range(count)]


def _read(data: DataConfig, paths: Iterable[str], dtype: DType) -> CaseSet:
    return read_cases([Path(path) for path in paths], source(data, dtype, data.outputs))


def source(data: DataConfig, dtype: DType, outputs: Sequence[str]) -> SourceSpec:
    """How the files of a data section are read, with the named arrays as outputs."""
    return SourceSpec(
        inputs=tuple(data.inputs),
        outputs=tuple(outputs),
        axes=tuple(AxisSpec(axis.kind, axis.length, axis.placement) for axis in data.axes),
        time_step=data.time_step,
        select=tuple(data.select),
        dtype=dtype,
    )


def make_bases(operator: SpectralConfig, axes: Sequence[AxisConfig]) -> tuple[Basis, ...]:
    """One basis per axis, as the config says; "auto" is Fourier on a periodic axis, padded Fourier on a bounded one."""
    if len(operator.modes) != len(axes):
        raise InputError(f"operator.modes: got {len(operator.modes)} numbers, the data has {len(axes)} axes")
    auto: list[AutoBasis] = ["auto"] * len(axes)
    kinds = operator.basis or auto
    if len(kinds) != len(axes):
        raise InputError(f"operator.basis: got {len(kinds)} names, the data has {len(axes)} axes")
    bases = []
    for modes, kind, axis in zip(operator.modes, kinds, axes, strict=True):
        natural: BasisKind = "fourier" if axis.kind == "periodic" else "padded"
        bases.append(Basis(natural if kind == "auto" else kind, modes, operator.padding))
    return tuple(bases)


def _build(
    operator: SpectralConfig,
    remat: Remat,
    inputs: int,
    bases: Sequence[Basis],
    outputs: int,
    seed: int | None,
    more_inputs: int = 0,
) -> Functional:
    config = msgspec.structs.asdict(operator)
    options = {name: value for name, value in config.items() if name not in SpectralConfig.__struct_fields__}
    name = str(type(operator).__struct_config__.tag)

    def build() -> nnx.Module:
        channels, told = inputs + more_inputs, options | {"remat": remat}
        return build_operator(name, channels, outputs, bases, told, nnx.Rngs(seed or 0))

    return functional(build() if seed is not None else nnx.eval_shape(build), remat)
