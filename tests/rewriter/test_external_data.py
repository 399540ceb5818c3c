"""Weights in files of their own: where they may lie, and what is said when they are not what the model says."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from coregraft.rewriter.onnx_io.load import from_model, load
from tests.rewriter.protos import ADD, code_of, external, model_of


@pytest.mark.parametrize(
    "location",
    ["../w.bin", "../model/in.bin", "/etc/hostname", "a/../../w.bin", "link.bin", "dir/w.bin", "", ".", "a/..", "a\0b"],
)
def test_external_data_must_be_in_the_folder(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(8))
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "in.bin").write_bytes(bytes(8))
    (folder / "dir").symlink_to(tmp_path)
    model = model_of([ADD], initializers=[external("w", location)])
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    assert code_of(lambda: load(folder / "m.onnx")) == "external-data-outside"


def hub_cache(root: Path, location: str = "model.onnx_data") -> Path:
    """A model as a cache of the Hugging Face Hub holds it: links from the folder of a revision to a folder of blobs."""
    blobs, snapshot = root / "blobs", root / "snapshots" / "3f1c" / "onnx"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "aa11").write_bytes(model_of([ADD], initializers=[external("w", location)]).SerializeToString())
    (blobs / "bb22").write_bytes(np.array([3, 4], np.float32).tobytes())
    (snapshot / "model.onnx").symlink_to("../../../blobs/aa11")
    (snapshot / "model.onnx_data").symlink_to("../../../blobs/bb22")
    return snapshot / "model.onnx"


def test_model_and_data_that_are_links_into_one_folder(tmp_path: Path) -> None:
    model = hub_cache(tmp_path)
    np.testing.assert_array_equal(load(model).const("w").numpy(), [3, 4])  # type: ignore[union-attr]
    np.testing.assert_array_equal(load(os.path.relpath(model)).const("w").numpy(), [3, 4])  # type: ignore[union-attr]


def test_a_link_to_a_model_finds_the_data_beside_the_model_itself(tmp_path: Path) -> None:
    hub_cache(tmp_path, "bb22")
    (tmp_path / "named.onnx").symlink_to("snapshots/3f1c/onnx/model.onnx")
    np.testing.assert_array_equal(load(tmp_path / "named.onnx").const("w").numpy(), [3, 4])  # type: ignore[union-attr]


@pytest.mark.parametrize("target", ["../../../elsewhere", "../../../refs/secret", "/etc/hostname", "../../../blobs"])
def test_links_of_data_to_anywhere_else(target: str, tmp_path: Path) -> None:
    model = hub_cache(tmp_path)
    (tmp_path / "elsewhere").write_bytes(bytes(8))
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / "secret").write_bytes(bytes(8))
    data = model.with_name("model.onnx_data")
    data.unlink()
    data.symlink_to(target)
    expected = "external-data-missing" if target.endswith("blobs") else "external-data-outside"
    assert code_of(lambda: load(model)) == expected


def test_the_location_itself_may_not_climb_to_the_folder_of_the_model(tmp_path: Path) -> None:
    model = hub_cache(tmp_path, "../../../blobs/bb22")
    assert code_of(lambda: load(model)) == "external-data-outside"


def test_a_folder_beside_one_of_the_same_beginning_is_another(tmp_path: Path) -> None:
    model = hub_cache(tmp_path)
    (tmp_path / "blobs-of-others").mkdir()
    (tmp_path / "blobs-of-others" / "w").write_bytes(bytes(8))
    model.with_name("model.onnx_data").unlink()
    model.with_name("model.onnx_data").symlink_to("../../../blobs-of-others/w")
    assert code_of(lambda: load(model)) == "external-data-outside"


def test_missing_external_data(tmp_path: Path) -> None:
    model = model_of([ADD], initializers=[external("w", "w.bin")])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert code_of(lambda: load(tmp_path / "m.onnx")) == "external-data-missing"
    assert code_of(lambda: load(model)) == "external-data-missing"
    (tmp_path / "w.bin").symlink_to("w.bin")  # round and round
    assert code_of(lambda: load(tmp_path / "m.onnx")) == "external-data-missing"
    assert code_of(lambda: from_model(model_of([ADD], initializers=[external("w", "w" * 9999)]), tmp_path)) == (
        "external-data-missing"
    )


@pytest.mark.parametrize(
    "place",
    [{"offset": 1}, {"length": 4}, {"offset": -4}, {"offset": 2**62}, {"length": -8}, {"offset": 8}],
)
def test_external_data_that_does_not_fit(place: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    model = model_of([ADD], initializers=[external("w", "w.bin", **place)])
    assert code_of(lambda: from_model(model, tmp_path)) == "external-data-size"


@pytest.mark.skipif(os.name == "nt", reason="no FIFOs")
def test_external_data_that_is_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    model = model_of([ADD], initializers=[external("w", "pipe")])
    assert code_of(lambda: from_model(model, tmp_path)) == "external-data-missing"
