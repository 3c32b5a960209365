"""The elements of the panel: what there is to set and to press, in which order, and what it means."""

from typing import Any, Optional, get_args

from nerfstudio.viewer.viewer_elements import (
    ViewerCheckbox,
    ViewerDropdown,
    ViewerElement,
    ViewerRGB,
    ViewerSlider,
    ViewerText,
    ViewerVec3,
)

from nerfseg_plugins.isrf.cache import CacheConfig
from nerfseg_plugins.isrf.edits import Action
from nerfseg_plugins.isrf.growing import Kernel
from nerfseg_plugins.isrf.interaction import Shown
from nerfseg_plugins.scene.elements import HintedButton, ViewerGroup, ViewerMarkdown
from nerfseg_plugins.scene.stroke_tool import StrokeTool
from nerfseg_plugins.segments.select_config import Method, SelectConfig
from nerfseg_plugins.segments.stroke_files import RADIUS
from nerfseg_plugins.segments.strokes import stamp_points, stamp_polyline

OBJECT, OTHER = "the object (positive)", "what it is not (negative)"
AS_SET, DIVISORS = "as set above", ("1", "2", "4", "8")
NO_FILE = "no saved edit"
ONLY_LABEL = "only label"
ACTIONS: dict[str, Action] = {
    ONLY_LABEL: "none",
    "keep alone": "keep",
    "remove": "remove",
    "recolour": "recolor",
    "move": "move",
}
"""What the viewer calls an edit's actions."""
DEFAULTS = SelectConfig()


class Controls:
    """The elements; the panel gives them their callbacks.

    Args:
        num_views: as many training views there are.
    """

    def __init__(self, num_views: int) -> None:
        self.status = ViewerMarkdown("Draw a stroke on a thing, then press **Segment**.")
        self.summary = ViewerMarkdown("")
        self._make_view(num_views)
        self._make_drawing()
        self._make_selecting()
        self._make_buffers()
        self._make_result()
        self.all = ViewerGroup("", [self.status, self.summary, *self._folders()])

    def _make_view(self, num_views: int) -> None:
        self.view = ViewerSlider(
            "View", 0, 0, max(num_views - 1, 1), 1, hint="Looks from where this training view was taken"
        )
        self.resolution = ViewerDropdown(
            "Resolution",
            AS_SET,
            [AS_SET, *DIVISORS],
            hint="Renders the training views' resolution divided by this; 8 is the fastest",
        )
        self.original = ViewerCheckbox(
            "Display original", False, hint="Shows the scene as it was trained, without what is selected or edited"
        )

    def _make_drawing(self) -> None:
        self.polarity: Any = ViewerDropdown("Marks", OBJECT, [OBJECT, OTHER], hint="What the next stroke lies on")
        self.pen = StrokeTool(RADIUS, stamp_polyline, stamp_points)
        self.clear_strokes = HintedButton("Clear strokes", "Forgets all strokes, but not what they have selected")

    def _make_selecting(self) -> None:
        self.words = ViewerText("Words", "", hint="What the object is, such as: a red chair; for features of CLIP")
        self.clip = ViewerText("Weights", "", hint="File of CLIP's weights; empty for the published ones")
        self.from_words = HintedButton("Mark what fits", "Marks what is most like the words, as a stroke would")
        self.method: Any = ViewerDropdown(
            "Method",
            DEFAULTS.method,
            list(get_args(Method)),
            hint="How Segment makes an object of strokes: see nerfseg segment --help",
        )
        self.tau = ViewerSlider(
            "Threshold tau",
            DEFAULTS.tau,
            0.0,
            2.0,
            0.01,
            hint="Squared distance of features below which a voxel is a seed",
        )
        self.sigma_d = ViewerSlider(
            "sigma_d", DEFAULTS.sigma_d, 0.1, 20.0, 0.1, hint="Growing: larger counts distant voxels for more"
        )
        self.sigma_f = ViewerSlider(
            "sigma_f", DEFAULTS.sigma_f, 0.01, 20.0, 0.01, hint="Growing: larger forgives different features"
        )
        self.sigma_c = ViewerSlider(
            "sigma_c", 0.0, 0.0, 20.0, 0.05, hint="Growing: larger forgives different colours; 0 ignores colours"
        )
        self.clusters = ViewerSlider(
            "Clusters", DEFAULTS.clusters, 1, 30, 1, hint="K-means centroids of the features under strokes"
        )
        self.connected = ViewerCheckbox(
            "Connected",
            DEFAULTS.connected,
            hint="Selects only what hangs together with a stroke, not its like elsewhere",
        )
        self.alpha = ViewerSlider(
            "Least alpha", 0.0, 0.0, 0.2, 0.005, hint="Voxels that absorb less of a ray do not take part"
        )
        self.voxels = ViewerSlider(
            "Voxels", CacheConfig().resolution, 32, 512, 32, hint="Along the longest side; fewer are faster and coarser"
        )
        self.segment = HintedButton("Segment", "Makes an object of the strokes, all at once", main=True)
        self.seed = HintedButton("Seed", "Selects the voxels whose features are near to those under the strokes")
        self.grow_step = HintedButton("Grow one step", "Lets the voxels beside the region join that are like it")
        self.grow = HintedButton("Grow to the end", "Grows until nothing changes any more")
        self.undo = HintedButton("Undo", "Takes back the last stroke, selection, buffer or edit")
        self.clear = HintedButton("Clear all", "Forgets strokes, selection, buffers and edits; can be undone")

    def _make_buffers(self) -> None:
        self.shown: Any = ViewerDropdown("Show", "region", list(get_args(Shown)), hint="Which voxels are marked")
        self.replace_positive = HintedButton("Replace positive", "The region alone is the positive buffer")
        self.add_positive = HintedButton("Add to positive", "The positive buffer gets the region too")
        self.replace_negative = HintedButton("Replace negative", "The region alone is the negative buffer")
        self.add_negative = HintedButton("Add to negative", "The negative buffer gets the region too")
        self.merge = HintedButton("Merge", "The region becomes the positive buffer without the negative one")

    def _make_result(self) -> None:
        self.action: Any = ViewerDropdown("Action", ONLY_LABEL, list(ACTIONS), hint="What becomes of the region")
        self.color = ViewerRGB("Colour", (220, 40, 40), hint="Recolour: the new colour; light and shade stay")
        self.strength = ViewerSlider("Strength", 1.0, 0.0, 1.0, 0.05, hint="Recolour: share of the new colour")
        self.translation = ViewerVec3("Move by", (0.0, 0.0, 0.0), step=0.05, hint="In the unit of the data's poses")
        self.rotation = ViewerVec3(
            "Turn by", (0.0, 0.0, 0.0), step=5.0, hint="Move: axis times angle in degrees, about the object's centre"
        )
        self.name = ViewerText("Name", "object", hint="Of the object, and of the files that Save writes")
        self.apply = HintedButton("Apply", "Does this to the region, in place of an edit of the same name", main=True)
        self.save = HintedButton("Save", "Writes edits/NAME.npz and NAME.yml into the run's folder, for all commands")
        self.saved: Any = ViewerDropdown("Saved edits", NO_FILE, [NO_FILE], hint="In the run's folder")
        self.load = HintedButton("Load", "Shows a saved edit instead of what was done here")

    def _folders(self) -> list[ViewerElement]:
        return [
            ViewerGroup("View", [self.view, self.resolution, self.original]),
            ViewerGroup("Strokes", [self.polarity, *self.pen.elements, self.clear_strokes]),
            ViewerGroup("Select", [self.segment, self.seed, self.grow_step, self.grow, self.undo, self.clear]),
            ViewerGroup(
                "Numbers",
                [
                    self.method,
                    self.tau,
                    self.sigma_d,
                    self.sigma_f,
                    self.sigma_c,
                    self.clusters,
                    self.connected,
                    self.alpha,
                    self.voxels,
                ],
                is_open=False,
            ),
            ViewerGroup("Words", [self.words, self.clip, self.from_words], is_open=False),
            ViewerGroup(
                "Buffers",
                [
                    self.shown,
                    self.replace_positive,
                    self.add_positive,
                    self.replace_negative,
                    self.add_negative,
                    self.merge,
                ],
                is_open=False,
            ),
            ViewerGroup(
                "Result",
                [
                    self.action,
                    self.color,
                    self.strength,
                    self.translation,
                    self.rotation,
                    self.name,
                    self.apply,
                    self.save,
                    self.saved,
                    self.load,
                ],
            ),
        ]

    @property
    def positive(self) -> bool:
        """Whether what is drawn next marks the object."""
        return self.polarity.value == OBJECT

    def kernel(self) -> Kernel:
        """How alike voxels count in growing."""
        return Kernel(self.sigma_d.value, self.sigma_f.value, self.sigma_c.value or None)

    def divisor(self) -> Optional[int]:
        """Of the rendering resolution; None where it stays as it was set elsewhere."""
        return None if self.resolution.value == AS_SET else int(self.resolution.value)

    def cache_config(self) -> CacheConfig:
        """Which voxels to select from."""
        return CacheConfig(resolution=int(self.voxels.value))

    def select_config(self, method: Optional[Method] = None) -> SelectConfig:
        """How to select; the chosen way when no other is given."""
        return SelectConfig(
            tau=float(self.tau.value),
            sigma_d=float(self.sigma_d.value),
            sigma_f=float(self.sigma_f.value),
            sigma_c=self.sigma_c.value or None,
            clusters=int(self.clusters.value),
            connected=bool(self.connected.value),
            method=method or self.method.value,
        )
