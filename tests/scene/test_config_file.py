"""A run's config.yml is read without letting it run code."""

from pathlib import Path

import pytest
import yaml

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.configs.method_configs import all_methods  # noqa: E402

from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.scene.config_file import read_config  # noqa: E402

METHODS = [  # one of each kind of configuration that nerfstudio has, and all of ours
    "nerfacto",
    "depth-nerfacto",
    "dnerf",
    "generfacto",
    "instant-ngp",
    "mipnerf",
    "neus-facto",
    "phototourism",
    "semantic-nerfw",
    "splatfacto",
    "tensorf",
    "instance-nerf",
    "instance-nerf-tiny",
    "inerf-tiny",
    "isrf-tiny",
    "ultrametric-tiny",
    "pixelnerf",
    "pixelnerf-tiny",
    "gnt-tiny",
    "gsn-tiny",
]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_comes_back_as_it_was_saved(method: str, tmp_path: Path):
    config = all_methods[method]
    path = tmp_path / "config.yml"
    path.write_text(yaml.dump(config), encoding="utf-8")
    found = read_config(path)
    assert yaml.dump(found) == yaml.dump(config)
    assert type(found) is type(config) and type(found.pipeline.model) is type(config.pipeline.model)


ATTACKS = {
    "os.system": "!!python/object/apply:os.system ['touch {marker}']",
    "builtins.eval": '!!python/object/apply:builtins.eval [\'open("{marker}", "w")\']',
    "subprocess.Popen": "!!python/object/new:subprocess.Popen [['touch', '{marker}']]",
    "nerfstudio's run_command": "!!python/object/apply:nerfstudio.utils.scripts.run_command ['touch {marker}']",
    "yaml.Loader": "!!python/object/apply:yaml.unsafe_load ['!!python/object/apply:os.system [touch {marker}]']",
    "in a field": (
        "!!python/object:nerfstudio.engine.trainer.TrainerConfig\n"
        "_target: !!python/name:nerfstudio.engine.trainer.Trainer ''\n"
        "method_name: !!python/object/apply:os.system ['touch {marker}']\n"
    ),
    "python/name": "!!python/name:os.system ''",
    "python/module": "!!python/module:os ''",
    "through a module of nerfstudio": "!!python/name:nerfstudio.utils.scripts.subprocess ''",
    "imported into nerfstudio": "!!python/name:nerfstudio.engine.trainer.partial ''",
    "state of a class that is no configuration": "!!python/object:nerfstudio.cameras.cameras.Cameras {{fx: 1}}",
    "a tuple of nothing": "!!python/tuple 3",
    "a configuration of nothing": "!!python/object:nerfstudio.engine.trainer.TrainerConfig ''",
    "no member of an enumeration": "!!python/object/apply:nerfstudio.utils.writer.EventName [nonsense]",
    "subscript of a value": "!!python/object/apply:_operator.getitem [[1, 2], 0]",
    "unknown class": "!!python/object:nerfstudio.engine.trainer.NoSuchConfig {{a: 1}}",
    "unknown module": "!!python/object:nerfstudio.nowhere.Config {{a: 1}}",
    "class of a stranger": "!!python/object:strangers_plugin.Config {{a: 1}}",
    "unknown field": "!!python/object:nerfstudio.engine.trainer.TrainerConfig {{no_such_field: 1}}",
}


@pytest.mark.parametrize("kind", ATTACKS)
def test_nothing_but_configurations_is_built(kind: str, tmp_path: Path):
    path, marker = tmp_path / "config.yml", tmp_path / "marker"
    path.write_text(ATTACKS[kind].format(marker=marker), encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read as a run's configuration") as caught:
        read_config(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        (b"a: [1, 2", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a: 1\n", "not the configuration of a nerfstudio run"),
        (b"", "not the configuration of a nerfstudio run"),
        (b"!!python/tuple [1, 2]", "not the configuration of a nerfstudio run"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "config.yml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_config(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_field_that_came_later_has_its_default(tmp_path: Path):
    config = all_methods["instance-nerf-tiny"]
    lines = yaml.dump(config).splitlines()
    kept = [line for line in lines if "head_samples_per_ray" not in line and "regularization_bandwidth" not in line]
    assert len(kept) == len(lines) - 2
    (tmp_path / "config.yml").write_text("\n".join(kept), encoding="utf-8")
    model = read_config(tmp_path / "config.yml").pipeline.model
    assert (model.head_samples_per_ray, model.regularization_bandwidth) == (8, 0.02)
