"""nerfstudio's trainer, but a resumed run ends at the same total, and a checkpoint is written whole or not at all."""

import torch
from nerfstudio.engine.trainer import Trainer
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path


class ResumableTrainer(Trainer):
    """Base of the trainers here; `max_num_iterations` counts all steps, also after a resume."""

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
