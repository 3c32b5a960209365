"""nerfstudio's trainer, but a resumed run ends at the same total, and a checkpoint is written whole or not at all."""

from typing import Any

import torch
from nerfstudio.engine.trainer import Trainer
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path
from nerfseg_plugins.scene.checkpoint import find_checkpoint, read_checkpoint


def compute_repeatably(device: str) -> None:
    """Make equal seeds give equal runs on a CPU, where threads otherwise add to gradients in any order."""
    if device == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


class ResumableTrainer(Trainer):
    """Base of the trainers here; `max_num_iterations` counts all steps, also after a resume."""

    instead_of_resuming = "train again"
    """What helps where a checkpoint's optimisers are of another method, for messages."""

    def write_side_files(self) -> None:
        """Write what belongs to a checkpoint but is read without it."""

    def finished_already(self) -> None:
        """What to do where no step is left."""

    def train(self) -> None:
        """Train up to `max_num_iterations` in all; nerfstudio would add that many to a resumed run."""
        total = self.config.max_num_iterations
        if self._start_step >= total:
            CONSOLE.print(f"Nothing to train: the run is at step {self._start_step} of {total}.")
            self.finished_already()
            return
        self.config.max_num_iterations = total - self._start_step
        try:
            super().train()
        finally:
            self.config.max_num_iterations = total

    @property
    def _resumes(self) -> bool:
        return self.config.load_dir is not None or self.config.load_checkpoint is not None

    def _resume(self) -> None:
        """Go on from the checkpoint that the configuration names.

        Raises:
            InputError: it is missing, damaged or of something else; names the file.
        """
        config = self.config
        path = config.load_checkpoint
        if path is None:
            assert config.load_dir is not None
            path = find_checkpoint(config.load_dir, config.load_step)
        state = read_checkpoint(path)
        try:
            self.pipeline.load_pipeline(state["pipeline"], state["step"])
            self._load_optimizers(state)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        self._start_step = state["step"] + 1
        CONSOLE.print(f"Resumed from {path}")

    def _load_optimizers(self, state: dict[str, Any]) -> None:
        missing = {"optimizers", "schedulers", "scalers"} - state.keys()
        if missing or state["optimizers"].keys() != self.optimizers.optimizers.keys():
            raise InputError(
                "the checkpoint's optimisers are not those of this method, so training cannot resume from it; "
                f"{self.instead_of_resuming}"
            )
        self.optimizers.load_optimizers(state["optimizers"])
        if self.config.load_scheduler:
            self.optimizers.load_schedulers(state["schedulers"])
        self.grad_scaler.load_state_dict(state["scalers"])

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Write a checkpoint whole or not at all; older ones go only once it is there.

        Raises:
            InputError: the disk is full or the folder cannot be written.
        """
        path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        state = {
            "step": step,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.optimizers.items()},
            "schedulers": {name: scheduler.state_dict() for name, scheduler in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
        }
        try:
            self.write_side_files()
            # Not beside the checkpoints: nerfstudio takes every file name there for a step number.
            with atomic_path(path, folder=self.base_dir) as temporary:
                torch.save(state, temporary)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise InputError(f"{path} could not be written ({error}); free space on the disk and resume") from error
        if self.config.save_only_latest_checkpoint:
            for other in self.checkpoint_dir.glob("*.ckpt"):
                if other != path:
                    other.unlink()
