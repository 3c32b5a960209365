"""The elements of the panel: what there is to set and to press, in which order, and what it means."""

from typing import Any

from nerfstudio.viewer.viewer_elements import ViewerCheckbox, ViewerNumber, ViewerSlider, ViewerText

from nerfseg_plugins.scene.elements import HintedButton, ViewerGroup, ViewerMarkdown
from nerfseg_plugins.ultrametric.dendrogram import MAX_GRANULARITY

STEP = 0.005
"""Of the slider."""


class Controls:
    """The elements; the panel gives them their callbacks.

    Args:
        granularity, min_size: as they are at first.
        points: whether points are shown at first.
    """

    def __init__(self, granularity: float, min_size: int, points: bool) -> None:
        self.status = ViewerMarkdown("Press **Build hierarchy** once the run is trained.")
        self.picked = ViewerMarkdown("")
        self.build = HintedButton(
            "Build hierarchy",
            "Reads the run's hierarchy.npz, or makes it where it is not there or of other weights",
            main=True,
        )
        self.granularity = ViewerSlider(
            "Granularity",
            granularity,
            0.0,
            MAX_GRANULARITY,
            STEP,
            hint="Neighbours whose features differ by no more are one segment: 0 is the finest, 2 the coarsest",
        )
        self.segments: Any = ViewerNumber(
            "Segments", 10, hint="Sets the granularity to where there are so many, or as nearly as there is one"
        )
        self.min_size: Any = ViewerNumber("Minimum size", min_size, hint="Segments of fewer points are dissolved")
        self.points = ViewerCheckbox(
            "Show points", points, hint="Shows the segments as points, which change at once; pictures take their time"
        )
        self.pick = HintedButton(
            "Pick by clicks",
            "A click picks the segment, another one within it what that is a part of; the camera cannot be turned",
            main=True,
        )
        self.done = HintedButton("Done", "Lets the camera be turned again", disabled=True, main=True)
        self.parent = HintedButton("Parent", "Picks what the picked segment is a part of")
        self.child = HintedButton("Child", "Goes back, and then on to the part around the click")
        self.forget = HintedButton("Forget", "Picks nothing")
        self.name = ViewerText("Name", "segment", hint="Of the files that Save writes")
        self.save = HintedButton(
            "Save", "Writes what is picked as segments/NAME.ply and NAME.json into the run's folder"
        )
        self.all = ViewerGroup(
            "",
            [
                self.status,
                self.build,
                ViewerGroup("Segments", [self.granularity, self.segments, self.min_size, self.points]),
                ViewerGroup(
                    "Pick",
                    [self.picked, self.pick, self.done, self.parent, self.child, self.forget, self.name, self.save],
                ),
            ],
        )
