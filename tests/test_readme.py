"""Every command of the README runs, in the README's order, on a tiny capture."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.cli.demo import Demo  # noqa: E402
from nerfseg_plugins.cli.main import entrypoint as nerfseg  # noqa: E402
from nerfseg_plugins.cli.room import Room  # noqa: E402
from nerfseg_plugins.files import read_json  # noqa: E402

ROOT = Path(__file__).parents[1]
STEPS = "150"
TINY = (
    "--pipeline.model.geometry-steps 150 --pipeline.datamanager.train-num-rays-per-batch 256 "
    "--pipeline.datamanager.head-num-rays-per-batch 64 "
    "--pipeline.model.num-levels 4 --pipeline.model.head-num-levels 2 "
    "--machine.device-type cpu"
)

# Methods that learn from many scenes have networks of their own.
FEW_RAYS = (
    "--max-num-iterations 3 --machine.device-type cpu --pipeline.datamanager.scenes-per-batch 1 "
    "--pipeline.datamanager.rays-per-scene 16"
)
POSES = "--max-num-iterations 3 --pipeline.pose.rays 32 --pipeline.pose.hypotheses 8 --machine.device-type cpu"


def readme_commands() -> list[str]:
    """The command lines of the README's bash blocks, comments cut off."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny capture in CAPTURE, another in LLFF, and photos of the first in PHOTOS."""
    folder = tmp_path_factory.mktemp("readme")
    tiny = {"width": 48, "height": 36, "objects": 4, "seed": 3}
    Room(output_path=folder / "CAPTURE", views=10, val_views=3, **tiny).main()
    Room(output_path=folder / "LLFF", layout="llff", views=8, val_views=2, **tiny).main()
    Room(output_path=folder / "SCENES" / "room_1", layout="llff", views=12, val_views=2, **tiny).main()
    (folder / "PHOTOS").mkdir()
    for name in ("0001.png", "0002.png"):
        shutil.copy(folder / "CAPTURE" / "images" / name, folder / "PHOTOS")
    return folder


def test_commands_in_order(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command of the README ends well, apart from those that `test_make` and `test_viewer` look at."""
    monkeypatch.chdir(world)
    done = []
    for line in readme_commands():
        if line.startswith(("make ", "ns-viewer ")):
            continue
        run_line(line, world, monkeypatch)
        done.append(line.split()[0])
    assert {"nerfseg", "ns-train", "ns-eval", "ns-render"} <= set(done)
    poses = ("poses/poses.json", "poses/convergence.png", "track/overlay.mp4", "benchmark.json", "selfsup/metrics.json")
    trees = ("hierarchy/points.ply", "hierarchy/tree.json", "hierarchy.json", "segments.mp4")
    unseen = ("objects/metrics.json", "category.json", "unseen.json")
    for made in (
        "metrics.json",
        "ns-eval.json",
        "cloud.ply",
        "instances.mp4",
        "room/masks_noisy",
        *poses,
        *trees,
        *unseen,
    ):
        assert (world / made).exists(), made
    edited = next(world.glob("outputs/*/isrf-tiny/*/thing.yml")).parent
    assert (edited / "edits" / "thing.npz").is_file() and len(list(edited.glob("edits/thing/masks/*/*.png"))) == 13
    assert len(list((world / "without").rglob("*.png"))) == 3
    direct = sorted(path.read_bytes() for path in (world / "masks").glob("*.png"))
    through_colours = sorted(path.read_bytes() for path in (world / "masks-of-renders").rglob("*.png"))
    assert direct == through_colours, "colours of ns-render turn back into the ids that export writes"


def run_line(line: str, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one command line in this process, made tiny."""
    from nerfstudio.scripts import eval as ns_eval
    from nerfstudio.scripts import render, train

    runs = sorted(world.glob("outputs/*/*/*/config.yml"), key=lambda path: path.stat().st_mtime)
    if runs:
        line = line.replace("RUN/", f"{runs[-1].parent}/")
    line = line.replace("masks segments/", f"masks {world}/CAPTURE/segments/")
    program, *arguments = shlex.split(line)
    if program == "ns-train" and arguments[0].startswith("inerf"):
        arguments += shlex.split(POSES)
    elif program == "ns-train" and arguments[0].startswith(("pixelnerf", "gnt", "gsn")):
        arguments[1:1] = shlex.split(FEW_RAYS)
    elif program == "ns-train":
        method, *rest = arguments
        # The full-size method is made as small as the tiny one: what is tested is the command, not the GPU.
        full = "--vis tensorboard --mixed-precision False --pipeline.model.log2-hashmap-size 8"
        small = full if "tiny" not in method else ""
        pairs = zip(["", *rest], rest, strict=False)
        rest = [STEPS if before == "--max-num-iterations" else word for before, word in pairs]
        total = [] if "--max-num-iterations" in rest else ["--max-num-iterations", "162"]
        arguments = [method, *shlex.split(f"{TINY} {small}"), *total, *rest]
    if arguments[0] == "pose":
        arguments += shlex.split(
            "--rays 32 --steps 1 --hypotheses 8" + (" --train-steps 20" if "selfsup" in arguments else "")
        )
    if "--layout" in arguments:
        arguments = " ".join(arguments).replace("--count 32 6 6", "--count 3 1 1").split()
    if arguments[0] == "objects":
        arguments += ["--max-targets", "1"]
    if arguments[0] == "turntable":
        arguments += ["--frames", "2"]
    if arguments[0] == "match":  # so few steps make no clean depth
        arguments += ["--min-views", "1", "--background", "given"]
    programs = {
        "nerfseg": nerfseg,
        "ns-train": train.entrypoint,
        "ns-eval": ns_eval.entrypoint,
        "ns-render": render.entrypoint,
    }
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    programs[program]()


def test_make() -> None:
    """The two commands at the top are targets of the Makefile and do the set-up first."""
    assert [line for line in readme_commands() if line.startswith("make ")] == ["make demo", "make test"]
    for target, runs in (("demo", "nerfseg demo --output-path demo"), ("test", "-m pytest")):
        # -W: as if pyproject.toml had changed, so that the set-up shows too.
        plan = subprocess.run(
            ["make", "--no-print-directory", "-n", "-W", "pyproject.toml", target],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "pip install" in plan
        assert runs in plan.splitlines()[-1]


def test_demo(tmp_path: Path) -> None:
    """The demo leaves everything that it names, and continues instead of starting again."""
    demo = Demo(output_path=tmp_path, geometry_steps=12, head_steps=4, video_frames=3)
    Room(output_path=tmp_path / "room", views=10, val_views=3, width=48, height=36, objects=4, seed=3).main()
    demo.main()
    assert (tmp_path / "tour.mp4").stat().st_size > 1000
    assert (tmp_path / "contact_sheet.png").stat().st_size > 1000
    assert len(list((tmp_path / "masks").glob("*.png"))) == 3
    assert read_json(tmp_path / "metrics.json")["num_views"] == 3
    checkpoint = next(tmp_path.glob("runs/*/*/*/nerfstudio_models/*.ckpt"))
    written = checkpoint.stat().st_mtime_ns
    demo.main()
    assert checkpoint.stat().st_mtime_ns == written, "a finished run is not trained again"


def test_viewer(world: Path) -> None:
    """The viewer command of the README opens the newest run and serves its page."""
    line = next(line for line in readme_commands() if line.startswith("ns-viewer "))
    runs = sorted(world.glob("outputs/*/*/*/config.yml"), key=lambda path: path.stat().st_mtime)
    assert runs, "the commands before it have trained runs"
    _, *arguments = shlex.split(line.replace("RUN/", f"{runs[-1].parent}/"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("ns-viewer"), *arguments, "--viewer.websocket-port", str(port)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=world, env=environment
    ) as viewer:
        assert viewer.stdout is not None
        try:
            said = []
            for output in viewer.stdout:  # ends when the viewer does
                said.append(output)
                if f":{port}" in output:
                    break
            assert viewer.poll() is None, "".join(said)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=60) as page:
                assert page.status == 200
        finally:
            viewer.kill()
