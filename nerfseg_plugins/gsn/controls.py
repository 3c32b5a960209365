"""The elements of the panel: what there is to set and to press, in which order, and what it means."""

from typing import Any

from nerfstudio.viewer.viewer_elements import ViewerCheckbox, ViewerDropdown, ViewerElement, ViewerSlider, ViewerText

from nerfseg_plugins.gsn.survey import SurveyConfig
from nerfseg_plugins.scene.elements import HintedButton, ViewerGroup, ViewerMarkdown
from nerfseg_plugins.scene.stroke_tool import StrokeTool
from nerfseg_plugins.segments.select_config import Method, SelectConfig
from nerfseg_plugins.segments.stroke_files import RADIUS
from nerfseg_plugins.segments.strokes import stamp_points, stamp_polyline

OBJECTS = 12
"""Objects that can be told apart in the viewer; strokes.json knows no end."""
OTHER = "none of the objects (negative)"
LABELS = {**{f"object {number}": number for number in range(1, OBJECTS + 1)}, OTHER: 0}
"""What a stroke may mark, and its label."""
METHODS: tuple[Method, ...] = ("walker", "seed")
NO_FILE = "nothing saved"
DEFAULTS, SURVEY = SelectConfig(), SurveyConfig()


class Controls:
    """The elements; the panel gives them their callbacks."""

    def __init__(self) -> None:
        self.status = ViewerMarkdown("Draw a stroke on a thing, then press **Segment**.")
        self.summary = ViewerMarkdown("")
        self._make_drawing()
        self._make_selecting()
        self._make_result()
        self.all = ViewerGroup("", [self.status, self.summary, *self._folders()])

    def _make_drawing(self) -> None:
        self.marks: Any = ViewerDropdown("Marks", "object 1", list(LABELS), hint="What the next stroke lies on")
        self.pen = StrokeTool(RADIUS, stamp_polyline, stamp_points)
        self.clear_strokes = HintedButton("Clear strokes", "Forgets all strokes, but not what they have selected")

    def _make_selecting(self) -> None:
        self.segment = HintedButton("Segment", "Finds what the strokes lie on, in all views", main=True)
        self.undo = HintedButton("Undo", "Takes back the last stroke or selection")
        self.clear = HintedButton("Clear all", "Forgets strokes and selection; can be undone")
        self.words = ViewerText("Words", "", hint="What the object is, such as: a red chair; for features of CLIP")
        self.clip = ViewerText("Weights", "", hint="File of CLIP's weights; empty for the published ones")
        self.from_words = HintedButton("Mark what fits", "Marks what is most like the words, as a stroke would")
        self.method: Any = ViewerDropdown(
            "Method",
            DEFAULTS.method,
            list(METHODS),
            hint="walker: strokes spread over what is alike; seed: features alone, as in the original",
        )
        self.tau = ViewerSlider(
            "Threshold tau",
            DEFAULTS.tau,
            0.0,
            2.0,
            0.01,
            hint="Squared distance of features up to which something is like a stroke",
        )
        self.clusters = ViewerSlider(
            "Clusters", DEFAULTS.clusters, 1, 30, 1, hint="K-means centroids of the features under an object's strokes"
        )
        self.connected = ViewerCheckbox(
            "Connected",
            DEFAULTS.connected,
            hint="Selects only what hangs together with a stroke, not its like elsewhere",
        )
        self.views = ViewerSlider(
            "Views", SURVEY.views, 1, 32, 1, hint="Source views that are looked at before anything is selected"
        )
        self.resolution = ViewerSlider(
            "Pixels", SURVEY.resolution, 32, 512, 8, hint="Along the longer side of these views; fewer are faster"
        )

    def _make_result(self) -> None:
        self.name = ViewerText("Name", "objects", hint="Of the files that Save writes")
        self.save = HintedButton(
            "Save", "Writes segments/NAME.npz and NAME.yml into the run's folder, for all commands"
        )
        self.saved: Any = ViewerDropdown("Saved", NO_FILE, [NO_FILE], hint="In the run's folder")
        self.load = HintedButton("Load", "Shows what was saved instead of what was done here")

    def _folders(self) -> list[ViewerElement]:
        numbers = [self.method, self.tau, self.clusters, self.connected, self.views, self.resolution]
        return [
            ViewerGroup("Strokes", [self.marks, *self.pen.elements, self.clear_strokes]),
            ViewerGroup("Select", [self.segment, self.undo, self.clear]),
            ViewerGroup("Numbers", numbers, is_open=False),
            ViewerGroup("Words", [self.words, self.clip, self.from_words], is_open=False),
            ViewerGroup("Result", [self.name, self.save, self.saved, self.load], is_open=False),
        ]

    @property
    def label(self) -> int:
        """What is drawn next: the number of an object, or 0."""
        return LABELS[self.marks.value]

    def select_config(self) -> SelectConfig:
        """How to select."""
        return SelectConfig(
            method=self.method.value,
            tau=float(self.tau.value),
            clusters=int(self.clusters.value),
            connected=bool(self.connected.value),
        )

    def survey_config(self) -> SurveyConfig:
        """How closely to look."""
        return SurveyConfig(int(self.views.value), int(self.resolution.value))
