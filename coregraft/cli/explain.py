"""``coregraft explain``: the page of a rule, which is its docstring; and why it does not fire at an op."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import click

from coregraft.cli.envelope import Outcome, finish, json_option

if TYPE_CHECKING:
    from coregraft.rewriter.contract import Pass


@click.command("explain", short_help="Explain a rule, by its code or name.")
@click.argument("rule")
@click.argument("model", required=False)
@click.option("--node", help="With MODEL: name of the op (or of one of its results) to explain the rule at.")
@json_option
def command(rule: str, model: str | None, node: str | None, as_json: bool) -> None:
    """Explain RULE, a code such as CG101 or a name such as replace-dilated-conv.

    With MODEL and --node, say why the rule does or does not fire there.
    """
    finish("explain", as_json, lambda: why(rule, model, node) if model else page(rule))


def page(rule: str) -> Outcome:
    pages = []
    for cls in named(rule):
        text = inspect.cleandoc(cls.__doc__ or "")
        pages.append({"name": cls.name, "code": cls.code or None, "equivalence": cls.equivalence.value, "text": text})

    def show() -> None:
        for p in pages:
            title = f"{p['name']} ({p['code']})" if p["code"] else p["name"]
            click.echo(f"{title}\n{'=' * len(str(title))}\n\n{p['text']}\n")

    return Outcome({"rules": pages}, show)


def why(rule: str, model: str, node: str | None) -> Outcome:
    from coregraft.rewriter.driver import explain
    from coregraft.rewriter.errors import UsageError
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
    lines = []
    for made in rules:
        roots = made.root_keys()
        for op_id, op in ops:
            if node is not None or op.key in roots:
                lines.append({"node": op.label, "rule": made.name, "verdict": explain(made, g, op_id)})

    def show() -> None:
        for v in lines:
            click.echo(f"{v['node']}: {v['verdict']}")

    return Outcome({"verdicts": lines}, show)


def named(rule: str) -> list[type[Pass]]:
    """The passes with a code or name.

    Raises:
        UsageError: ``rule-unknown``.
    """
    from coregraft.rewriter.errors import UsageError
    from coregraft.rewriter.registry import pass_class, pass_names

    if rule.upper().startswith("CG"):
        found = [cls for name in pass_names() if (cls := pass_class(name)).code == rule.upper()]
        if not found:
            raise UsageError("rule-unknown", f"no rule has the code {rule}", hint="`coregraft passes` lists them")
        return found
    return [pass_class(rule)]
