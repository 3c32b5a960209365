"""OpenCLIP on crops of several sizes, as LERF (arXiv 2303.09553) looks at images, and the text that is compared.

CLIP describes a whole image by one vector, so each cell gets that of the crops around it, averaged over their sizes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.network import image_batch
from nerfseg_plugins.features.pca import PCA, unit
from nerfseg_plugins.features.sources import FeatureOptions
from nerfseg_plugins.features.store import PCA_FILE
from nerfseg_plugins.manifest import MANIFEST, read_manifest
from nerfseg_plugins.weights import check_device, fetch, load_into, need_checkpoint, state_of

MODEL, WEIGHTS = "ViT-B-16", "laion2b_s34b_b88k"
PUBLISHED = "https://huggingface.co/laion/CLIP-ViT-B-16-laion2B-s34B-b88K/resolve/main/open_clip_pytorch_model.bin"
CROPS = (0.125, 0.25, 0.5)
"""Sides of the crops as parts of the image's shorter side; neighbours overlap by half."""
CANONICAL = ("object", "things", "stuff", "texture")
"""What a prompt competes with."""
TEMPERATURE = 10.0
CROPS_PER_IMAGE = 16
"""So many crops take the place of an image in a batch."""


class ClipFeatures:
    """OpenCLIP's ViT-B/16 with the weights of LAION-2B or a file."""

    name = "clip"
    model = f"open_clip-{MODEL}"
    channels = 512
    centre = False

    def __init__(self, options: FeatureOptions) -> None:
        """Load the network.

        Raises:
            InputError: open-clip-torch is not installed, or the weights cannot be had or are of another network.
        """
        self._network, digest = load_clip(options.checkpoint, options.device)
        self.checkpoint: Optional[str] = digest
        self.parameters: dict[str, Any] = {"crops": list(CROPS)}
        self._batch_size = options.batch_size * CROPS_PER_IMAGE
        self._device = options.device

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (h, w, 512) float32 unit vectors, two cells along the smallest crop."""
        return pyramid(rgb, CROPS, self._embed)

    @torch.no_grad()
    def _embed(self, crops: np.ndarray) -> np.ndarray:
        """(N, S, S, 3) uint8 -> (N, 512)."""
        side = self._network.visual.image_size
        size = (side, side) if isinstance(side, int) else tuple(side)
        found = []
        for start in range(0, len(crops), self._batch_size):
            batch = crops[start : start + self._batch_size]
            mean, std = self._network.visual.image_mean, self._network.visual.image_std
            found.append(self._network.encode_image(image_batch(list(batch), size, mean, std, self._device)).cpu())
        return torch.cat(found).numpy()


def load_clip(checkpoint: Optional[Path], device: str) -> tuple[Any, str]:
    """The network on its device, and the SHA-256 of its weights.

    Raises:
        InputError: open-clip-torch is not installed, or the weights cannot be had or are of another network.
    """
    try:
        import open_clip  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            "the source clip needs open-clip-torch; install it with: pip install open-clip-torch"
        ) from error
    path = checkpoint or fetch(PUBLISHED, "clip", f"open_clip-{MODEL}-{WEIGHTS}.bin")
    path, digest = need_checkpoint(path, "clip", f"weights of OpenCLIP's {MODEL}, such as {PUBLISHED}")
    network = open_clip.create_model(MODEL, pretrained=None)
    load_into(network, state_of(path, f"OpenCLIP's {MODEL}"), path, f"OpenCLIP's {MODEL}")
    return network.to(check_device(device)).eval(), digest


def pyramid(rgb: np.ndarray, parts: Sequence[float], embed: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Embeddings of crops of several sizes, averaged in the grid of the smallest.

    Args:
        rgb: (H, W, 3) uint8.
        parts: sides of the crops as parts of the image's shorter side, growing.
        embed: (N, S, S, 3) uint8 crops -> (N, D).

    Returns:
        (h, w, D) float32 unit vectors.
    """
    maps = []
    for part in parts:
        crops, shape = overlapping_crops(rgb, max(round(part * min(rgb.shape[:2])), 2))
        maps.append(unit(embed(crops)).reshape(*shape, -1))
    rows, columns = maps[0].shape[:2]
    return unit(np.sum([unit(resize(one, rows, columns)) for one in maps], axis=0)).astype(np.float32)


def overlapping_crops(rgb: np.ndarray, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Square crops around the centres of cells of about half their side, which the image spans exactly.

    Args:
        rgb: (H, W, 3); mirrored at its edge where crops reach beyond.
        side: pixels.

    Returns:
        (rows * columns, side, side, 3), and (rows, columns).
    """
    shape = tuple(max(round(2 * length / side), 1) for length in rgb.shape[:2])
    padded = cv2.copyMakeBorder(rgb, side, side, side, side, cv2.BORDER_REFLECT)
    tops, lefts = (
        np.round((np.arange(count) + 0.5) / count * length + side / 2).astype(int)
        for count, length in zip(shape, rgb.shape[:2], strict=True)
    )
    crops = [padded[top : top + side, left : left + side] for top in tops for left in lefts]
    return np.stack(crops), (shape[0], shape[1])


def resize(features: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """A map brought to another grid over the same image, bilinearly."""
    grid = torch.from_numpy(features).permute(2, 0, 1)[None]
    grid = torch.nn.functional.interpolate(grid, (rows, columns), mode="bilinear", align_corners=False)
    return grid[0].permute(1, 2, 0).numpy()


def text_embeddings(prompts: Sequence[str], checkpoint: Optional[Path] = None, device: str = "cpu") -> np.ndarray:
    """(P, 512) float32 unit vectors of prompts.

    Raises:
        InputError: see `load_clip`.
    """
    network, _ = load_clip(checkpoint, device)
    return _encode(network, prompts, device)


@torch.no_grad()
def _encode(network: Any, prompts: Sequence[str], device: str) -> np.ndarray:
    import open_clip  # pyright: ignore[reportMissingImports]

    tokens = open_clip.get_tokenizer(MODEL)(list(prompts)).to(device)
    return unit(network.encode_text(tokens).float().cpu().numpy())


def text_queries(
    folder: Path, prompts: Sequence[str], checkpoint: Optional[Path] = None, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Prompts and canonical phrases in the space of a folder's features, for `relevancy`.

    They are projected as the features were and keep the lengths that this leaves them: bringing them to length 1 again
    would favour prompts of which little lies in the scene's main directions.

    Args:
        folder: features of the source clip.
        prompts: P texts.
        checkpoint: the weights that made the features; None for the published ones.
        device: of the network.

    Returns:
        (P, C) and (K, C) float32.

    Raises:
        InputError: the features are not CLIP's, or were made with other weights; see also `load_clip`.
    """
    manifest = read_manifest(folder)
    if manifest.source != ClipFeatures.name:
        raise InputError(
            f"{folder / MANIFEST} says that the features are those of {manifest.source}, which knows no text; make "
            "features that do with: nerfseg features --source clip"
        )
    network, digest = load_clip(checkpoint, device)
    if manifest.checkpoint != digest:
        raise InputError(f"the features in {folder} were made with other weights of CLIP; give --checkpoint those")
    components = PCA.load(folder / PCA_FILE).components
    found = torch.from_numpy(_encode(network, [*prompts, *CANONICAL], device) @ components)
    return found[: len(prompts)], found[len(prompts) :]


def relevancy(features: Tensor, prompts: Tensor, canonical: Tensor) -> Tensor:
    """How much more features are like a prompt than like anything (LERF, section 3.4).

    Args:
        features: (..., C) unit vectors.
        prompts: (P, C).
        canonical: (K, C).

    Returns:
        (..., P) in [0, 1]: the smallest, over canonical phrases, of the softmax of the pair; 0.5 is undecided.
    """
    positive = (features @ prompts.T)[..., :, None]
    negative = (features @ canonical.T)[..., None, :]
    return torch.sigmoid(TEMPERATURE * (positive - negative)).amin(dim=-1)
