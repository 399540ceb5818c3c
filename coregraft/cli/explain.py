"""``coregraft explain``: the page of a rule, which is its docstring; and why it does not fire at an op."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import click

from coregraft.cli.check import REFUSED
from coregraft.cli.envelope import Outcome, finish, json_option
from coregraft.rewriter.errors import UsageError

if TYPE_CHECKING:
    from coregraft.rewriter.contract import Pass


_REFUSED_PAGE = """What a conversion cannot do by itself.

What it means
-------------
An op, or a case of it, has no lowering for the target and format. `check` names the op and the reason, as `convert
--fallback error` does.

What helps
----------
The hint beside the finding, if there is one. Otherwise `coregraft convert` goes down a ladder: in the neuralnetwork
format the op becomes a custom layer, of which `coregraft stubs` writes the Swift class; an ML Program is cut around
it. `--custom-layers FILE.toml` says what an op of your own computes, docs/operators.md which ops have a lowering."""


@click.command("explain", short_help="Explain a rule, by its code or name.")
@click.argument("rule")
@click.argument("model", required=False)
@click.option("--node", help="With MODEL: name of the op (or of one of its results) to explain the rule at.")
@json_option
def command(rule: str, model: str | None, node: str | None, as_json: bool) -> None:
    """Explain RULE, a code such as CG101 or a name such as replace-dilated-conv.

    With MODEL and --node, say why the rule does or does not fire there.
    """


    def work() -> Outcome:
        if model is not None:
            return why(rule, model, node)
        if node is not None:
            hint = "coregraft explain RULE MODEL --node OP"
            raise UsageError("command-usage", "--node is an op of a MODEL", hint=hint)
        return page(rule)

    finish("explain", as_json, work)


def page(rule: str) -> Outcome:
    pages: list[dict[str, str | None]] = []
    if rule.upper() == REFUSED:
        pages.append({"name": "refused", "code": REFUSED, "equivalence": None, "text": _REFUSED_PAGE})
    for cls in named(rule) if not pages else ():
        text = inspect.cleandoc(cls.__doc__ or "")
        pages.append({"name": cls.name, "code": cls.code or None, "equivalence": cls.equivalence.value, "text": text})

    def show() -> None:
        for p in pages:
            title = f"{p['name']} ({p['code']})" if p["code"] else p["name"]
            click.echo(f"{title}\n{'=' * len(str(title))}\n\n{p['text']}\n")

    return Outcome({"rules": pages}, show)


def why(rule: str, model: str, node: str | None) -> Outcome:
    from coregraft.rewriter.driver import explain
    from coregraft.rewriter.manager import PassManager
    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.rule import Rule, RuleGroup

    g = PassManager("upgrade-opset,infer-shapes,cleanup").run(load(model)).graph
    rules: list[Rule] = []
    for cls in named(rule):
        made = cls()
        rules.extend([made] if isinstance(made, Rule) else made.rules() if isinstance(made, RuleGroup) else [])
    if not rules:
        raise UsageError("rule-without-pattern", f"{rule} rewrites whole graphs: no single op explains it")
    ops = [(i, op) for i, op in sorted(g.ops()) if node is None or node in (op.name, *op.outputs)]
    if not ops:
        raise UsageError("node-unknown", f'there is no op "{node}" after clean-up', node=node)
    lines: list[dict[str, str]] = []
    starts = sorted({kind for made in rules for _, kind in made.root_keys()})
    for made in rules:
        roots = made.root_keys()
        for op_id, op in ops:
            if node is not None or op.key in roots:
                lines.append({"node": op.label, "rule": made.name, "verdict": explain(made, g, op_id)})

    def show() -> None:
        for v in lines:
            click.echo(v["verdict"] if v["node"] in v["verdict"] else f"{v['node']}: {v['verdict']}")
        if not lines:
            click.echo(f"{rule} starts at {', '.join(starts)}; the model has none of these after clean-up")

    return Outcome({"verdicts": lines}, show)


def named(rule: str) -> list[type[Pass]]:
    """The passes with a code or name.

    Raises:
        UsageError: ``rule-unknown``.
    """
    from coregraft.rewriter.registry import pass_class, pass_names

    if rule.upper().startswith("CG"):
        found = [cls for name in pass_names() if (cls := pass_class(name)).code == rule.upper()]
        if not found:
            raise UsageError("rule-unknown", f"no rule has the code {rule}", hint="`coregraft passes` lists them")
        return found
    return [pass_class(rule)]
