"""Checkpoints by Orbax: the training state, where in data and faults the run is, and the config they belong to."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from pnol_jax.errors import InputError
from pnol_jax.sharding.processes import told
from pnol_jax.training.integrity import ASIDE, clear, damage, seal, set_aside
from pnol_jax.training.offload import beside, on_device
from pnol_jax.training.step import TrainState
from pnol_jax.training.storage import SaveFailed, reason

Position = dict[str, Any]
ERRORS = 5  # that one failed save may raise one after the other: by its finalisation, its writes, its metadata
CHECK_SECONDS = 3600  # for the first process to read and compare checkpoints


class Checkpoints:
    """Asynchronous checkpoints in a folder; an unfinished one is never seen, a damaged one never used.

    Args:
        keep: how many of the latest are kept.
        best: how many of those with the least loss are kept besides.
        every: those of each multiple of so many steps are kept besides; 0: none.
    """

    def __init__(self, folder: Path, keep: int, config_digest: str, *, best: int = 0, every: int = 0) -> None:
        kept: list[Any] = [policies.LatestN(keep)]
        kept += [policies.BestN(get_metric_fn=_loss, reverse=True, n=best, keep_checkpoints_without_metrics=False)]
        kept += [policies.EveryNSteps(every)] if every else []
        self._options = ocp.CheckpointManagerOptions(
            create=True,
            cleanup_tmp_directories=True,
            preservation_policy=policies.AnyPreservationPolicy(kept),
            best_fn=_loss if best else None,  # with it Orbax stores the metrics
            best_mode="min",
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._seal),
        )
        self._config_digest = config_digest
        self._folder = folder
        self._manager = self._open()
        self._saving = 0
        self._restores = 0
        self.found: list[str] = []  # what `restore` found wrong, in sentences

    def _open(self) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(self._folder.absolute(), options=self._options)

    def latest(self, before: int | None = None) -> int | None:
        """The last step that was saved; of those before a given one, if there are any."""
        steps: list[int] = list(self._manager.all_steps())
        earlier = [step for step in steps if before is None or step < before]
        return max(earlier or steps, default=None)

    def save(self, state: TrainState, position: Position, loss: float | None = None) -> None:
        """Begin to save.

        Args:
            state: the training state; it may be given up as soon as this returns.
            position: plain data that is needed to go on; the data iterator's taken before the next batch is drawn.
            loss: by which the best are known.

        Raises:
            SaveFailed: this save or the one begun before failed.
        """
        step = int(state.step)
        failed = [self._failure(self._manager.wait_until_finished)]
        if failed[0] and self.latest() is None:
            raise failed[0]  # there is nothing to go on with
        if step != self.latest():
            failed.append(self._failure(lambda: self._begin(step, state, position, loss)))
        if any(failed):
            raise SaveFailed("; ".join(str(failure) for failure in failed if failure))

    def _begin(self, step: int, state: TrainState, position: Position, loss: float | None) -> None:
        # The state is donated to the next step, so Orbax must have copied it before this returns; it does, but for
        # what lies in the host's memory, of which it keeps a view.
        plain = on_device(replace(state, key=jax.random.key_data(state.key)))
        about = {"position": position, "config": self._config_digest}
        self._saving = step
        items = ocp.args.Composite(state=ocp.args.StandardSave(plain), about=ocp.args.JsonSave(about))
        self._manager.save(step, args=items, metrics=None if loss is None else {"loss": loss})

    def _seal(self) -> None:
        """Called by Orbax when all files of a checkpoint are written, of several processes in the first."""
        seal(self._folder, self._saving)

    def restore(self, like: TrainState, before: int | None = None) -> tuple[TrainState, Position]:
        """The latest whole checkpoint (`before` as in `latest`); later ones are deleted, damaged ones set aside.

        Its arrays are put where those of `like` are, on whatever mesh it was saved.

        Raises:
            InputError: there is none, it belongs to another config, or its arrays do not fit.
        """
        failed = self._failure(self._manager.wait_until_finished)
        self.found += [str(failed)] if failed else []
        step = self._whole(before)
        about = self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
        if about["config"] != self._config_digest:
            raise InputError(
                f"resume: checkpoint {step} in {self._folder} is of another config (digest {about['config'][:12]}, "
                f"this one {self._config_digest[:12]}); expected the config and cases that it began with"
            )
        bare = replace(like, key=jax.random.key_data(like.key))
        plain = ocp.args.StandardRestore(jax.tree.map(_shape, bare))
        restored = self._manager.restore(step, args=ocp.args.Composite(state=plain))
        for later in [later for later in self._manager.all_steps() if later > step]:
            self._manager.delete(later)
        # Not restored to the host's memory at once: what Orbax makes there, JAX 0.10 takes to be on the device.
        state: TrainState = jax.device_put(restored["state"], jax.tree.map(lambda leaf: leaf.sharding, bare))
        return replace(state, key=jax.random.wrap_key_data(state.key)), about["position"]

    def _whole(self, before: int | None) -> int:
        """The checkpoint to restore, chosen by the first process."""
        self._restores += 1
        said = told(f"checkpoint-{self._restores}", lambda: self._choose(before), CHECK_SECONDS)
        if said == "none":
            why = "; ".join([f"no whole checkpoint in {self._folder}", *self.found])
            raise InputError(f"resume: {why}; expected one, or start anew with --overwrite")
        self._manager.reload()
        return int(said)

    def _choose(self, before: int | None) -> str:
        while (step := self.latest(before)) is not None:
            found = damage(self._folder / str(step))
            if found is None:
                return str(step)
            aside = set_aside(self._folder / str(step))
            self._manager.reload()
            self.found.append(f"checkpoint {step} is damaged and set aside as {aside.name} ({found})")
        return "none"

    def begun(self) -> bool:
        """Whether anything was ever saved here, whole or not."""
        return self.latest() is not None or any(self._folder.glob(f"{ASIDE}*"))

    def finish(self) -> None:
        """Wait until what was begun is on the disk.

        Raises:
            SaveFailed: it could not be written.
        """
        failed = self._failure(self._manager.wait_until_finished)
        if failed:
            raise failed

    def close(self) -> None:
        """Finish, and let go.

        Raises:
            SaveFailed: the last save could not be written.
        """
        failed = self._failure(self._manager.wait_until_finished)
        self._failure(self._manager.close)  # what failed before may be said once more
        if failed:
            raise failed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close; what ended the work is not hidden by a save that failed."""
        try:
            self.close()
        except SaveFailed as failed:
            if error is None:
                raise
            error.add_note(str(failed))

    def _failure(self, act: Callable[[], None]) -> SaveFailed | None:
        try:
            act()
        except (OSError, ValueError) as error:
            why = reason(error)
            if why is None:
                raise
            self._begin_anew()
            last = self.latest()
            good = "there is none before it" if last is None else f"the last one is of step {last}"
            return SaveFailed(f"the checkpoint of step {self._saving} could not be saved: {why}; {good}")
        return None

    def _begin_anew(self) -> None:
        """Without what a failed save has left, and its threads, whose later errors would be those of the next save."""
        if jax.process_count() > 1:  # opening takes all of them, and they end by this failure
            if jax.process_index() == 0:
                clear(self._folder)
            self._manager.reload()
            return
        clear(self._folder)  # whatever still writes there fails at once
        for _ in range(ERRORS):
            with contextlib.suppress(OSError, ValueError):
                self._manager.close()
                break
        clear(self._folder)
        shutil.rmtree(
            self._folder / str(self._saving), ignore_errors=True
        )  # put into its place all the same: not whole
        self._manager = self._open()


def _loss(metrics: Any) -> float:
    return float(metrics["loss"])


def _shape(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=beside(leaf.sharding))  # type: ignore[no-untyped-call]
