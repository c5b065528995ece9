"""The experiment schema: one tree of structs with every default.

The optimiser's are in `optimizer_config.py`, the posterior's in `posterior_config.py`, the calibration's in
`calibration_config.py`; `pnol_jax.toml` reads it from a file.
"""

from typing import Literal

from pnol_jax.calibration_config import CalibrationConfig
from pnol_jax.grids import Kind, Placement
from pnol_jax.optimizer_config import AdamWConfig, Optimizer
from pnol_jax.posterior_config import DeterministicConfig, PosteriorConfig
from pnol_jax.schema import Count, Decay, Natural, NonNegative, OpenShare, Positive, Section

AutoBasis = Literal["auto", "fourier", "cosine", "padded"]
Skip = Literal["linear", "soft_gating", "identity", "none"]


class AxisConfig(Section, frozen=True):
    """One space axis of the data, for files that do not hold coordinates."""

    kind: Kind = "periodic"
    length: float = 1.0
    placement: Placement = "left"
    name: str = ""
    unit: str = ""


class DataConfig(Section, frozen=True):
    """Which solved cases to learn from. Paths are relative to the current folder."""

    train: list[str]
    inputs: list[str]
    outputs: list[str]
    axes: list[AxisConfig]
    test: list[str] = []
    input_units: list[str] = []
    output_units: list[str] = []
    select: list[str] = []  # points kept on each axis, as a slice such as "1:"; all if empty
    calibration: int = 0  # training cases held out for calibration
    symmetries: list[str] = []  # of the problem, used as augmentation
    thinning: float = 0.0  # largest share of an axis' points left out of a batch, at random
    buckets: list[list[int]] = []  # padded sizes; each grid's own size if empty
    time_step: float | None = None  # of trajectories: learn the map from one step to the next


class SpectralConfig(Section, frozen=True):
    """What every operator on basis coefficients is told."""

    modes: list[int]
    basis: list[AutoBasis] = []  # auto: fourier if periodic, else padded
    padding: float = 1.25  # period of a padded basis, in lengths of the axis


class FNOConfig(SpectralConfig, frozen=True, tag_field="name", tag="fno"):
    """Fourier neural operator."""

    width: Count = 32
    depth: Count = 4
    expansion: Positive = 0.5
    lifting_ratio: Positive = 2.0
    projection_ratio: Positive = 2.0
    skip: Skip = "linear"
    mlp_skip: Skip = "soft_gating"
    norm: Literal["none", "instance", "group", "layer"] = "none"
    coordinates: bool = True


class FFNOConfig(SpectralConfig, frozen=True, tag_field="name", tag="ffno"):
    """Factorised Fourier neural operator."""

    width: Count = 64
    depth: Count = 4
    expansion: Positive = 2.0
    coordinates: bool = True


class DeepONetConfig(SpectralConfig, frozen=True, tag_field="name", tag="deeponet"):
    """DeepONet on basis coefficients."""

    width: Count = 128
    depth: Count = 4
    features: Count = 128


class UNOConfig(SpectralConfig, frozen=True, tag_field="name", tag="uno"):
    """U-shaped neural operator: each level has half the modes and twice the channels of the one above."""

    width: Count = 32
    levels: Count = 3
    expansion: Positive = 0.5
    coordinates: bool = True


class TransolverConfig(SpectralConfig, frozen=True, tag_field="name", tag="transolver"):
    """Attention over points by way of slices; its modes are those of losses and features alone."""

    width: Count = 64
    depth: Count = 4
    heads: Count = 4
    slices: Count = 32
    expansion: Positive = 1.0
    coordinates: bool = True


class OodConfig(Section, frozen=True):
    """A detector of inputs unlike those of training, which travels with the model."""

    false_alarm: OpenShare = 0.05  # the rate at which it may be wrong about inputs that are like them


class RiskConfig(Section, frozen=True):
    """A number that a predicted field has in a part of the domain, with its distribution, for every case."""

    name: str
    output: str = ""  # a channel's name; the first if empty
    box: list[tuple[float, float]] = []  # on each axis, in its unit; the whole domain if empty
    statistic: Literal["mean", "largest", "smallest", "share"] = "mean"  # share: of the box above the threshold
    threshold: float | None = None  # whose exceedance is asked for
    level: OpenShare = 0.9  # of the tail whose mean is given: 0.9, the mean of the largest tenth


class TrainingConfig(Section, frozen=True):
    """How the operator is trained."""

    steps: Count = 2000
    batch_size: Count = 32
    loss: Literal["relative_l2", "h1", "nll"] = "relative_l2"
    seed: int = 0
    ema: Decay = 0.0  # decay of the parameters' moving average; 0 for none
    unroll: Count = 1  # steps of a step model in one loss
    pushforward: bool = False  # no gradient through the unrolled steps but the last
    input_noise: NonNegative = 0.0  # on the inputs of a step model, in standard deviations of the state
    increment: bool = False  # the operator of a step model gives the change of the state
    band_limited: bool = False  # the mean is projected onto the operator's basis, against blow-up
    precision: Literal["float32", "bfloat16", "float16", "float64"] = (
        "float32"  # of the operator; 16 bits: weights in float32; on GPUs float32 trains by TF32 (`precision.py`)
    )
    remat: Literal["none", "dots", "block", "full"] = "none"  # what is computed again rather than kept
    accumulate: Count = 1  # parts of a batch that are computed one after the other
    max_bad_steps: Natural = 10  # left out of any bad_window steps: not finite, or a spike; one more: roll back
    bad_window: Count = 1000
    spike_factor: NonNegative = 0.0  # a spike's gradient norm over the median of the steps before; 0: none is one
    rollbacks: Natural = 2  # to the last checkpoint before the bad steps; then stop
    rollback_rate: OpenShare = 0.5  # factor on the learning rate at each rollback
    offload: Literal["none", "optimizer"] = "none"  # what waits in the memory of the host between its uses
    log_every: Count = 50
    checkpoint_every: Count = 500
    checkpoint_wait: bool = False  # until each is on the disk: then no kill costs more than checkpoint_every steps
    keep_checkpoints: Count = 2  # the latest
    keep_best: Natural = 0  # besides, those with the least mean loss over the steps since the checkpoint before
    keep_every: Natural = 0  # besides, those of each multiple of so many steps; 0: none
    tensorboard: bool = False


class MeshConfig(Section, frozen=True):
    """How many devices along each axis of the mesh; their product is the number of devices."""

    data: Count | None = None  # the batch; what the others leave
    fsdp: Count = 1  # the batch, and what is stored of parameters and the state of the optimiser
    model: Count = 1  # hidden channels
    space: Count = 1  # the last space axis of every field
    member: Count = 1  # the members of an ensemble


class ExportConfig(Section, frozen=True):
    """The servable."""

    name: str = ""  # the experiment's if empty
    buckets: list[list[int]] = []  # grids of up to these sizes can be asked; the data's own if empty
    num_samples: Count = 16
    derivatives: bool = False  # products with the mean's Jacobian can be asked, too; they cost start-up time
    int8_entries: Count = 1024  # of the smallest weights that a variant in int8 stores so
    max_loss: NonNegative = 0.02  # of a variant: largest relative loss of error and CRPS, and of coverage


class ExperimentConfig(Section, frozen=True):
    """An experiment, from data to servable."""

    name: str
    data: DataConfig
    operator: FNOConfig | FFNOConfig | DeepONetConfig | UNOConfig | TransolverConfig
    posterior: PosteriorConfig = DeterministicConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    ood: OodConfig | None = None
    risk: list[RiskConfig] = []
    optimizer: Optimizer = AdamWConfig()
    training: TrainingConfig = TrainingConfig()
    mesh: MeshConfig = MeshConfig()
    export: ExportConfig = ExportConfig()
