"""Training from Python, the way `ns-train` does it, to the end and continuing where it was stopped."""

from pathlib import Path

from nerfstudio.engine.trainer import TrainerConfig

from nerfseg_plugins.scene.checkpoint import find_checkpoint, read_checkpoint


def train_run(config: TrainerConfig) -> Path:
    """Train a run, or the rest of it if its folder already holds a checkpoint.

    The run's folder follows from the configuration (`output_dir/experiment_name/method_name/timestamp`), so `timestamp`
    must be set for a run that is meant to continue.

    Args:
        config: changed in place: `load_dir` is set when the run continues.

    Returns:
        The run's config.yml.
    """
    from nerfstudio.scripts.train import main

    folder = config.get_checkpoint_dir()
    if any(folder.glob("step-*.ckpt")):
        if read_checkpoint(find_checkpoint(folder))["step"] + 1 >= config.max_num_iterations:
            return config.get_base_dir() / "config.yml"
        config.load_dir = folder
    main(config)
    return config.get_base_dir() / "config.yml"


def run_quietly(config: TrainerConfig) -> None:
    """Set a configuration up for a run without a viewer: no window, no evaluation between the steps."""
    config.vis = "tensorboard"
    config.steps_per_eval_batch = config.steps_per_eval_image = config.steps_per_eval_all_images = 10**9
    config.logging.local_writer.max_log_size = 1
