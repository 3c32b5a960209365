"""Options of a scene that several methods share: what suits rooms and captures, and what suits two CPU cores.

Dictionaries of `HeadModelConfig` options; a method's configuration adds its own to them.
"""

from typing import Any

from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig


def scene_options() -> dict[str, Any]:
    """Options at any size."""
    return {
        # Rooms: a random background or a dense start ends in fog before the cameras, and density 0.01 with black never
        # grows; the last sample's colour as background finds the walls.
        "background_color": "last_sample",
        "average_init_density": 0.01,
        "near_plane": 0.05,
        "use_appearance_embedding": False,
        # Poses of rendered rooms are exact. For a capture of your own: --pipeline.model.camera-optimizer.mode SO3xR3
        "camera_optimizer": CameraOptimizerConfig(mode="off"),
    }


def tiny_scene_options() -> dict[str, Any]:
    """Options that make a scene small enough for two CPU cores and a few minutes."""
    return {
        **scene_options(),
        "geometry_steps": 4000,
        "implementation": "torch",
        "num_levels": 8,
        "features_per_level": 4,
        "max_res": 384,
        "log2_hashmap_size": 17,
        "hidden_dim": 64,
        "hidden_dim_color": 64,
        # One proposal network: between the walls of a room the second one costs more than it brings.
        "num_proposal_iterations": 1,
        "num_proposal_samples_per_ray": (32,),
        "num_nerf_samples_per_ray": 12,
        "proposal_net_args_list": [
            {"hidden_dim": 16, "log2_hashmap_size": 13, "num_levels": 5, "max_res": 64, "use_linear": False}
        ],
        "proposal_weights_anneal_max_num_iters": 300,
        "eval_num_rays_per_chunk": 8192,
        "head_num_levels": 8,
        "head_max_res": 256,
        "head_log2_hashmap_size": 15,
        "head_hidden_dim": 32,
        "head_samples_per_ray": 4,
    }
