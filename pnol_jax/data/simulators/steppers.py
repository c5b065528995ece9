"""Time-dependent problems on a periodic domain, stepped by exponax (exponential time differencing, pseudo-spectral)."""

import functools
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import jax
import msgspec
import numpy as np

from pnol_jax.data.simulators.random_fields import random_function
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Float64

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Order = Annotated[int, msgspec.Meta(ge=1, le=4)]


class Stepped(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all of them have: domain, times, and what the first state is drawn from.

    "smooth": a Gaussian random function of covariance sigma^2 (-Laplace + tau^2)^-alpha; "rough": a number uniform in
    +- sigma at each point. Trajectories are computed on `resolution` points an axis, of which every grid takes its own.
    """

    dimensions: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1
    length: Positive = 1.0
    time_step: Positive = 0.05  # between two states
    steps: Count = 20  # states after the first
    substeps: Count = 20  # of the solver in a time step
    warm_up: Annotated[int, msgspec.Meta(ge=0)] = 0  # time steps before the first state
    resolution: Count = 256
    start: Literal["smooth", "rough"] = "smooth"
    modes: Count = 24
    sigma: Positive = 1.0
    tau: Positive = 5.0
    alpha: Positive = 2.0
    forcing: float = 0.0  # times cos(2 pi forcing_wave x / length), on the right side
    forcing_wave: Count = 1

    inputs: ClassVar[tuple[str, ...]] = ()
    outputs: ClassVar[tuple[str, ...]] = ("u",)

    @property
    def ndim(self) -> int:
        """The number of space axes."""
        return self.dimensions

    def axes(self, points: int) -> tuple[Axis, ...]:
        """Uniform, the first point at 0."""
        return (Axis.uniform(points, "periodic", self.length),) * self.dimensions

    def stepper(self, exponax: Any, dt: float) -> Callable[[jax.Array], jax.Array]:
        """One step of the solver, (channels, *space) -> the same."""
        raise NotImplementedError

    def first_state(self, generator: np.random.Generator) -> Float64:
        """A random first state, (*space), on `resolution` points."""
        axes = self.axes(self.resolution)
        if self.start == "rough":
            return generator.uniform(-self.sigma, self.sigma, (self.resolution,) * self.dimensions)
        return random_function(generator, axes, self.modes, self.sigma, self.tau, self.alpha)

    def force(self) -> Float64:
        """The right side, (1, *space), on `resolution` points; a wave along the first axis."""
        x, *others = self.axes(self.resolution)
        wave = self.forcing * np.cos(2 * np.pi * self.forcing_wave * x.points / self.length)
        return np.asarray(wave.reshape(1, -1, *(1 for _ in others)))

    def case(self, generator: np.random.Generator, points: int) -> dict[str, Float64]:
        """One trajectory, u (steps + 1, *space)."""
        if self.resolution % points or points > self.resolution:
            raise InputError(f"points: got {points}, expected a divisor of resolution = {self.resolution}")
        trajectory = self.trajectory(self.first_state(generator))
        return {"u": trajectory[(slice(None), *(slice(None, None, self.resolution // points),) * self.dimensions)]}

    def trajectory(self, first: Float64) -> Float64:
        """The states from a first one on, after the warm-up: (*space) -> (steps + 1, *space), all at `resolution`.

        Raises:
            InputError: a state is not finite; a smaller solver step (more substeps) may help.
        """
        states = np.asarray(_run(self)(first[None]), np.float64)[self.warm_up :, 0]
        if not np.all(np.isfinite(states)):
            step = int(np.argmin(np.isfinite(states).reshape(len(states), -1).all(axis=1)))
            raise InputError(f"state {step} is not finite; more substeps (got {self.substeps}) may help")
        return states


@functools.lru_cache(maxsize=8)
def _run(problem: Stepped) -> Callable[[Any], jax.Array]:
    """The compiled solver in float64: a first state to all states."""
    try:
        import exponax
    except ImportError:
        raise InputError("this simulator needs exponax: pip install 'pnol-jax[simulate]'") from None

    @jax.jit
    def all_states(first: jax.Array) -> jax.Array:
        dt = problem.time_step / problem.substeps
        step = exponax.repeat(_forced(problem.stepper(exponax, dt), dt * problem.force()), problem.substeps)
        states: jax.Array = exponax.rollout(step, problem.warm_up + problem.steps, include_init=True)(first)
        return states

    def run(first: Any) -> jax.Array:
        with jax.enable_x64(True):
            states: jax.Array = all_states(jax.numpy.asarray(first, jax.numpy.float64))
            return states

    return run


def _forced(step: Callable[[jax.Array], jax.Array], push: Float64) -> Callable[[jax.Array], jax.Array]:
    """A solver step with a push half before and half after it (Strang 1968): second order in time."""
    return (lambda state: step(state + push / 2) + push / 2) if push.any() else step


class Burgers(Stepped, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """u_t + (u^2 / 2)_x = viscosity u_xx; in two dimensions the same field is carried along both axes.

    With time_step = 1, steps = 1, substeps = 500, order = 4 and modes = 63 it is the map from u(0) to u(1) of Li et al.
    2021, Section 5.1, for initial states from N(0, 625 (-d^2/dx^2 + 25 I)^-2), which are the default.
    """

    viscosity: Positive = 0.01
    sigma: Positive = 25.0
    order: Order = 2  # of the solver in time

    def stepper(self, exponax: Any, dt: float) -> Callable[[jax.Array], jax.Array]:
        """Conservative form, one channel."""
        stepper: Callable[[jax.Array], jax.Array] = exponax.stepper.Burgers(
            self.dimensions,
            self.length,
            self.resolution,
            dt,
            diffusivity=self.viscosity,
            single_channel=True,
            conservative=True,
            order=self.order,
        )
        return stepper


class KuramotoSivashinsky(Stepped, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """u_t + convection (u^2 / 2)_x + Laplace u + viscosity Laplace^2 u = forcing(x), conserving the mean."""

    convection: Positive = 1.0
    viscosity: Positive = 1.0
    length: Positive = 64.0
    time_step: Positive = 0.5
    steps: Count = 40
    substeps: Count = 10
    warm_up: Annotated[int, msgspec.Meta(ge=0)] = 100
    sigma: Positive = 0.05
    tau: Positive = 0.5

    def stepper(self, exponax: Any, dt: float) -> Callable[[jax.Array], jax.Array]:
        """Conservative form, one channel."""
        stepper: Callable[[jax.Array], jax.Array] = exponax.stepper.KuramotoSivashinskyConservative(
            self.dimensions,
            self.length,
            self.resolution,
            dt,
            convection_scale=self.convection,
            fourth_order_scale=self.viscosity,
            single_channel=True,
            order=4,
        )
        return stepper


class AdvectionDiffusion(Stepped, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """u_t + velocity u_x = diffusivity u_xx, with the same velocity along every axis."""

    velocity: float = 1.0
    diffusivity: Positive = 0.005
    sigma: Positive = 25.0
    substeps: Count = 1

    def stepper(self, exponax: Any, dt: float) -> Callable[[jax.Array], jax.Array]:
        """Exact in time."""
        stepper: Callable[[jax.Array], jax.Array] = exponax.stepper.AdvectionDiffusion(
            self.dimensions, self.length, self.resolution, dt, velocity=self.velocity, diffusivity=self.diffusivity
        )
        return stepper
