"""Pipelines as text, TOML and lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from coregraft.passes import pipelines
from coregraft.passes.conv.replace_dilated_conv import ReplaceDilatedConv
from coregraft.passes.precision.assign_precision import AssignPrecision
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.pipeline import from_toml, parse_pipeline, to_text, to_toml
from coregraft.rewriter.registry import pass_class, pass_names
from coregraft.rewriter.target import Target

SPEC = (
    "cleanup,replace-dilated-conv{strategy=taps,min-blowup=9.0},"
    'assign-precision{keep-ops=Exp+Pow,keep-nodes="/a b/*"}'
)


def test_text_toml_and_lists_round_trip() -> None:
    passes = parse_pipeline(SPEC)
    assert passes[1] == ReplaceDilatedConv(strategy="taps", min_blowup=9.0)
    assert passes[2] == AssignPrecision(keep_ops=("Exp", "Pow"), keep_nodes=("/a b/*",))
    assert parse_pipeline(to_text(passes)) == passes
    assert from_toml(to_toml(passes)) == passes
    assert parse_pipeline(["cleanup", *passes[1:]]) == passes


def test_a_toml_file_is_a_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(to_toml(parse_pipeline(SPEC)))
    assert parse_pipeline(str(path)) == parse_pipeline(SPEC)


@pytest.mark.parametrize("name", pass_names())
def test_every_pass_can_be_made_by_name_and_printed(name: str) -> None:
    made = pass_class(name)()
    assert parse_pipeline(made.spec()) == [made]
    assert from_toml(to_toml([made])) == [made]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no-such-pass", "pass-unknown"),
        ("cleanup{", "pipeline-syntax"),
        ("cleanup cleanup", "pipeline-syntax"),
        ("cleanup{nope=1}", "option-unknown"),
        ("cleanup{max-rounds=many}", "option-value"),
        ("cleanup{unroll=perhaps}", "option-value"),
        ("assign-precision{precision=fp8}", "option-value"),
        ("missing.toml", "file-not-found"),
    ],
)
def test_mistakes_have_codes(text: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_pipeline(text)
    assert caught.value.code == code


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean replace-dilated-conv"):
        parse_pipeline("replace-dilated-cnv")


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_default_pipelines_parse(precision: str) -> None:
    assert parse_pipeline(pipelines.rewrite_pipeline())
    assert parse_pipeline(pipelines.convert_pipeline(Target.any(), precision))  # type: ignore[arg-type]
