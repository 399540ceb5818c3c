"""``docs/operators.md``: the road of every operator, from the registries, and what the conformance record says of it.

``python -m tests.conformance.operators`` writes the page; a test holds it up to date.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from coregraft.lowering import targets
from coregraft.lowering.registry import Lowering, table_for
from coregraft.passes.decompose._base import Decomposition
from coregraft.passes.pipelines import convert_pipeline
from coregraft.passes.refusals import REFUSED, REFUSED_ML, REFUSED_ONNX
from coregraft.rewriter.registry import pass_class
from coregraft.rewriter.schema import schema
from coregraft.rewriter.target import ORDER
from tests.conformance.cases import FORMS
from tests.conformance.differences import Differences, drawn
from tests.conformance.ratchet import FILES, OTHERS_FILE, Ratchet
from tests.conformance.setting import BASE, OTHERS, Setting
from tests.conformance.variants import record as variants_record
from tests.conformance.variants.record import FamilyRecord

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"
_COLUMNS = ("op", "road", "attributes", "from", "nn", "shipped", "frozen", "variants", "nn variants")
#: What a case may end as in another setting.
_OTHER_ENDS = ("rounded", "range", "refused", "disputed")
_OTHERS_HEAD = """## Other targets, and half precision

The same for ML Programs of other targets and in fp16, which is the default: all of ONNX's tests in both forms, and one
of our variants in eight, as far as they have been tried. *rounded* is farther from the result in fp32 than eight
roundings in a row explain, though the
package gives that result when nothing is rounded; *range* exceeds what fp16 can hold.
"""
_REFUSED = {"": REFUSED_ONNX, "com.microsoft": REFUSED, "ai.onnx.ml": REFUSED_ML}
_DOMAINS = {"": "ai.onnx", "ai.onnx.ml": "ai.onnx.ml", "com.microsoft": "com.microsoft"}
_HEAD = """# Operators

Written by `python -m tests.conformance.operators` from the registries of passes and lowerings and from the record of
the conformance run; do not edit.

- *road*: how an op reaches Core ML. **emitter**: an emitter of its own. A name: the pass that takes it apart, where the
  emitter does not have the attributes or the target not the op. **function**: the function by which ONNX defines it.
  Every op whose operands are constant is computed at compile time, whatever its road.
- *attributes*: those that the emitter honours, and those with which variants of the op were tried, with how many of
  these are right in an ML Program; ~~struck out~~ are those that neither the emitter honours nor any variant has right:
  they are an error unless they have their default value or a pass takes the op.
- *from*: the oldest deployment target of the emitter, for ML Programs; *nn*: whether a neuralnetwork has it.
- *shipped*, *frozen*: of ONNX's own backend tests about the op, how many of those within reach are right: as ONNX ships
  them, and with weights, shapes, axes and scales as constants.
- *variants*, *nn variants*: of our own configurations of the op (its versions from opset 7 on, attributes, element
  types, ranks, operands constant and computed), compared with onnxruntime, how many are right in each format. The
  others are refused by name, or have integers that a neuralnetwork, which computes in fp32, cannot hold; none is wrong.
"""


def page() -> str:
    """The text of the page."""
    record = Ratchet.load(FILES["mlprogram"])
    lines = [_HEAD, "## All cases", "", "| format | form | within reach | right | refused | share right |"]
    lines.append("| -- | -- | -- | -- | -- | -- |")
    for kind, path in FILES.items():
        of_format = Ratchet.load(path)
        for form in FORMS:
            f = of_format.figures(form)
            right, refused = f.get("right within reach", 0), f.get("refused within reach", 0)
            share = f"{100 * of_format.share(form):.1f} %"
            lines.append(f"| {kind} | {form} | {f['within reach']} | {right} | {refused} | {share} |")
    roads, cases, variants = _roads(), _cases(record), variants_record.load()
    lines += ["", *_variants_in_all(variants), "", _OTHERS_HEAD, *_others(record, variants)]
    for domain, title in _DOMAINS.items():
        lines += ["", f"## {title}", "", f"| {' | '.join(_COLUMNS)} |", f"|{' -- |' * len(_COLUMNS)}"]
        lines += [_row(domain, name, roads, cases, variants) for name in _names(domain, roads)]
    return "\n".join(lines) + "\n"


def _names(domain: str, roads: dict[tuple[str, str], list[str]]) -> list[str]:
    """The ops of a domain: all live ones of ONNX, and those of other domains that have a road or a reason."""
    from onnx import defs

    names = {name for d, name in roads if d == domain} | set(_REFUSED[domain])
    if not domain:
        names = {s.name for s in defs.get_all_schemas() if s.domain == "" and not s.deprecated}
    return sorted(names)


def _roads() -> dict[tuple[str, str], list[str]]:
    """By op, the emitter and the rules of the default pipeline for Core ML that take it apart."""
    roads: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in _emitters("mlprogram"):
        roads[key].append("**emitter**")
    names = dict.fromkeys(spec.partition("{")[0] for spec in convert_pipeline(targets.get(), "fp32"))
    for name in [*names, "unroll-loops", "erase-sequences"]:
        cls = pass_class(name)
        keys = [("", op_type) for op_type in getattr(cls, "dissolves", ())]
        if issubclass(cls, Decomposition):
            keys += cls().root_keys()
        for domain, op_type in keys:
            if f"`{name}`" not in roads[domain, op_type]:
                roads[domain, op_type].append(f"`{name}`")
    return roads


def _emitters(format: str) -> dict[tuple[str, str], Lowering]:
    return dict(table_for(ORDER[-1], format))


def _variants_in_all(variants: Mapping[str, FamilyRecord]) -> Iterator[str]:
    yield "| format | ops | variants | right | others |"
    yield "| -- | -- | -- | -- | -- |"
    tried = sum(row.tried for row in variants.values())
    for kind in FILES:
        right = sum(row.right(kind) for row in variants.values())
        yield f"| {kind} | {len(variants)} | {tried} | {right} | {tried - right} |"


def _others(record: Ratchet, variants: Mapping[str, FamilyRecord]) -> Iterator[str]:
    """What ended in another way in other settings: of the cases, and of the sample of variants."""
    yield f"| target | precision | tried | right | {' | '.join(_OTHER_ENDS)} |"
    yield f"|{' -- |' * (4 + len(_OTHER_ENDS))}"
    missed = {k: s for row in variants.values() for k, s in row.missed[BASE.format].items()}
    missed = {label: status for label, status in missed.items() if drawn(label, variants_record.OTHERS_ONE_IN)}
    sampled = sum(row.sampled(variants_record.OTHERS_ONE_IN) for row in variants.values())
    for setting in OTHERS:
        in_cases = _ends(Differences.load(OTHERS_FILE), setting, record.statuses())
        in_variants = _ends(variants_record.others(), setting, missed)
        if in_variants:
            in_variants["right"] += sampled - in_variants.total()
        counts = in_cases + in_variants
        del counts["not-applicable"], counts["untried"]
        cells = [counts.total(), counts["right"], *(counts[kind] for kind in _OTHER_ENDS)]
        yield f"| {setting.target} | {setting.precision} | {' | '.join(map(str, cells))} |"


def _ends(differences: Differences, setting: Setting, base: Mapping[str, str]) -> Counter[str]:
    """How often what ended how, nothing where the setting has not been tried.

    What is right at the base and in the setting may be missing from the base.
    """
    if str(setting) not in differences.rows:
        return Counter()
    statuses = {**base, **differences.rows.get(str(setting), {})}
    return Counter(status.partition(":")[0] for status in statuses.values())


def _row(
    domain: str,
    name: str,
    roads: dict[tuple[str, str], list[str]],
    cases: dict[str, list[str]],
    variants: Mapping[str, FamilyRecord],
) -> str:
    road = list(roads.get((domain, name), ()))
    found = schema(domain, name)
    if found is not None and (found.has_function or found.has_context_dependent_function) and "**emitter**" not in road:
        road.append("**function**")
    reason = _REFUSED[domain].get(name)
    if reason or not road:
        road = [f"refused: {reason}" if reason else "constant operands only"]
    emitter = _emitters("mlprogram").get((domain, name))
    network = (domain, name) in _emitters("neuralnetwork")
    label = f"{domain}::{name}" if domain else name
    row = variants.get(label)
    cells = [name, ", ".join(road), ", ".join(_attributes(domain, name, emitter, row))]
    cells += [_since(domain, name), "yes" if network else "", *cases.get(label, ["", ""])]
    cells += [f"{row.right(kind)}/{row.tried}" if row else "" for kind in FILES]
    return f"| {' | '.join(cells)} |"


def _attributes(domain: str, name: str, emitter: Lowering | None, row: FamilyRecord | None) -> Iterator[str]:
    found = schema(domain, name)
    known = set(found.attributes) if found is not None and emitter is not None else set()
    honoured: frozenset[str] = emitter.attrs if emitter is not None else frozenset()
    tried = row.attributes if row is not None else {}
    for attribute in sorted(honoured | known | set(tried)):
        right = row.right_with(attribute, "mlprogram") if row is not None and attribute in tried else 0
        text = attribute if attribute in honoured or right else f"~~{attribute}~~"
        yield f"{text} {right}/{tried[attribute]}" if attribute in tried else text


def _since(domain: str, name: str) -> str:
    """The oldest target whose table has the op."""
    return next((target for target in ORDER if (domain, name) in table_for(target, "mlprogram")), "")


def _cases(record: Ratchet) -> dict[str, list[str]]:
    """By family and form, how many cases are right, of how many within reach."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for (case, form), entry in record.entries.items():
        if entry.within_reach:
            pair = counts[record.families[case], form]
            pair[0] += entry.status == "right"
            pair[1] += 1
    families = sorted({family for family, _ in counts})
    return {family: ["{}/{}".format(*counts[family, form]) for form in FORMS] for family in families}


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
