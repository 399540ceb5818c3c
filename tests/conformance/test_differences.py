"""The record of the other settings: what counts as worse, and what it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.differences import Differences, drawn
from tests.conformance.setting import Setting

HALF = Setting(precision="fp16")


def test_what_is_worse_is_told_and_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "others.json"
    base = {"a": "right", "b": "refused:x"}
    record = Differences(path, {str(HALF): {}})
    assert record.settle(HALF, base, {"a": "rounded", "b": "refused:x"}, update=True) == 1
    assert capsys.readouterr().err == "worse: a (mlprogram iOS17 fp16): right became rounded\n"
    assert not path.exists()


def test_a_setting_that_is_not_on_record_has_nothing_to_be_worse_than_but_wrong(tmp_path: Path) -> None:
    path = tmp_path / "others.json"
    base = {"a": "right", "b": "right"}
    assert Differences.load(path).settle(HALF, base, {"a": "rounded", "b": "wrong"}, update=True) == 1
    assert Differences.load(path).settle(HALF, base, {"a": "rounded", "b": "right"}, update=True) == 0
    assert Differences.load(path).rows == {str(HALF): {"a": "rounded"}}


def test_what_is_new_may_be_refused_once(tmp_path: Path) -> None:
    path = tmp_path / "others.json"
    old = Differences(path, {str(HALF): {}})
    base = {"a": "right", "new": "right"}
    old.add(["new"])
    assert Differences.load(path).rows == {str(HALF): {"new": "untried"}}
    assert Differences.load(path).settle(HALF, base, {"new": "right"}, update=True) == 0
    assert Differences.load(path).worse(HALF, base, {"new": "refused:x"})


def test_a_record_of_a_sample_knows_nothing_of_the_rest(tmp_path: Path) -> None:
    base = {f"key{i}": "right" for i in range(40)}
    record = Differences(tmp_path / "others.json", {str(HALF): {}}, 4)
    inside = {key for key in base if drawn(key, 4)}
    found = dict.fromkeys(base, "rounded")
    assert {line.split(" ")[0] for line in record.worse(HALF, base, found)} == inside
    assert Differences(record.path, {}, 4).settle(HALF, base, found, update=True) == 0
    assert Differences.load(record.path).rows == {str(HALF): dict.fromkeys(inside, "rounded")}


def test_only_what_differs_from_the_base_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "others.json"
    base = {"a": "right", "b": "refused:x", "c": "refused:y"}
    old = Differences(path, {str(HALF): {"a": "range", "c": "right", "gone": "rounded"}, "other": {"a": "range"}})
    assert old.settle(HALF, base, {"a": "right", "b": "right"}, update=True) == 0
    assert Differences.load(path).rows == {str(HALF): {"b": "right", "c": "right"}, "other": {"a": "range"}}


def test_what_is_on_record_goes_before_the_base(tmp_path: Path) -> None:
    record = Differences(tmp_path / "others.json", {str(HALF): {"a": "refused:x"}})
    assert not record.worse(HALF, {"a": "right"}, {"a": "refused:y"})
    assert record.worse(HALF, {"b": "right"}, {"b": "refused:y"})


def test_a_wrong_result_is_never_as_good(tmp_path: Path) -> None:
    record = Differences(tmp_path / "others.json", {})
    assert record.settle(HALF, {}, {"new": "wrong"}, update=False) == 1
    assert record.settle(HALF, {}, {"new": "refused:x"}, update=False) == 0


def test_samples_are_parts_of_the_whole() -> None:
    keys = [f"key{i}" for i in range(200)]
    parts = [{key for key in keys if drawn(key, 4, i)} for i in range(4)]
    assert set().union(*parts) == set(keys)
    assert sum(map(len, parts)) == len(keys)
    assert all(len(part) > 20 for part in parts)
