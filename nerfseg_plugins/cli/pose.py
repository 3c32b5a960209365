"""`nerfseg pose`: where in a trained scene photos were taken."""

from dataclasses import dataclass
from typing import Annotated, Union

import tyro

from nerfseg_plugins.cli.pose_benchmark import PoseBenchmark
from nerfseg_plugins.cli.pose_estimate import PoseEstimate
from nerfseg_plugins.cli.pose_selfsup import PoseSelfsup
from nerfseg_plugins.cli.pose_track import PoseTrack


@dataclass
class Pose:
    """Find the cameras of photos in a trained scene."""

    what: tyro.conf.OmitArgPrefixes[
        tyro.conf.OmitSubcommandPrefixes[
            Union[
                Annotated[PoseEstimate, tyro.conf.subcommand("estimate")],
                Annotated[PoseBenchmark, tyro.conf.subcommand("benchmark")],
                Annotated[PoseTrack, tyro.conf.subcommand("track")],
                Annotated[PoseSelfsup, tyro.conf.subcommand("selfsup")],
            ]
        ]
    ]
    """What to do."""

    def main(self) -> None:
        """Run the chosen command."""
        self.what.main()
