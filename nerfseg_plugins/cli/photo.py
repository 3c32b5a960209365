"""`nerfseg photo`: a real photo of an object, seen by a network that knows renderings."""

from dataclasses import dataclass
from typing import Annotated, Union

import tyro

from nerfseg_plugins.cli.photo_normalize import PhotoNormalize
from nerfseg_plugins.cli.photo_render import PhotoRender


@dataclass
class Photo:
    """Turn photos of cars into what a pixelnerf run expects, and go around the cars."""

    what: tyro.conf.OmitArgPrefixes[
        tyro.conf.OmitSubcommandPrefixes[
            Union[
                Annotated[PhotoNormalize, tyro.conf.subcommand("normalize")],
                Annotated[PhotoRender, tyro.conf.subcommand("render")],
            ]
        ]
    ]
    """What to do."""

    def main(self) -> None:
        """Run the chosen command."""
        self.what.main()
