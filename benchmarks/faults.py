"""Small faults that a test should notice: one operator, constant, sign, slice, argument or statement of a file changed.

Strings, annotations, decorators, what is printed and what errors say stay as they are. Used by `mutants.py`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

# Each operator as it stands, then what is tried instead.
OPERATORS = {
    ast.Lt: "<,<=,>", ast.LtE: "<=,<,>", ast.Gt: ">,>=,<", ast.GtE: ">=,>,<", ast.Eq: "==,!=", ast.NotEq: "!=,==",
    ast.In: "in,not in", ast.NotIn: "not in,in", ast.Is: "is,is not", ast.IsNot: "is not,is", ast.And: "and,or",
    ast.Or: "or,and", ast.Add: "+,-", ast.Sub: "-,+", ast.Mult: "*,/", ast.Div: "/,*", ast.FloorDiv: "//,*",
    ast.Mod: "%,*", ast.Pow: "**,*", ast.MatMult: "@,*",
}  # fmt: skip
PAIRS = ("min max", "minimum maximum", "argmin argmax", "any all", "floor ceil", "zeros ones", "mean sum")
OPPOSITE = {a: b for pair in PAIRS for a, b in (pair.split(), pair.split()[::-1])}
SILENT_CALLS = {"print", "warn", "info", "warning", "isinstance", "TypeVar"}
SILENT_FUNCTIONS = {"__repr__", "__str__", "_repr_html_"}
LAYOUT = {"indent", "stacklevel", "flush", "ensure_ascii", "exist_ok", "parents"}
Span = tuple[int, int]


def mutants(file: Path) -> list[dict]:
    """Every fault of one file: where it is, its kind, the lines before and after, and the whole mutated `source`."""
    text, found = file.read_bytes(), []
    starts = [0, *(m.end() for m in re.finditer(rb"\n", text))]

    def span(node: ast.AST) -> Span:
        """In bytes, as the columns of `ast` are."""
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    def walk(node: ast.AST, where: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            where = f"{where}.{node.name}".strip(".")
        for kind, (start, end), new in faults(node, span, text) if hasattr(node, "lineno") else ():
            source = text[:start] + new.encode() + text[end:]
            first, last = text.rfind(b"\n", 0, start) + 1, text.find(b"\n", end)
            before, after = text[first:last], source[first : last + len(source) - len(text)]
            with suppress(SyntaxError):
                compile(source, file, "exec")
                line = text.count(b"\n", 0, start) + 1
                place = dict(file=str(file), line=line, where=where, kind=kind)
                found.append(place | dict(before=before.decode(), after=after.decode(), source=source))
        for child in children(node):
            walk(child, where)

    walk(ast.parse(text), "")
    return found


def children(node: ast.AST) -> Iterator[ast.AST]:
    """What below `node` is looked at."""
    if isinstance(node, ast.Raise | ast.JoinedStr) or called(node) in SILENT_CALLS:
        return
    if isinstance(node, ast.FunctionDef) and node.name in SILENT_FUNCTIONS:
        return
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            layout = isinstance(child, ast.keyword) and child.arg in LAYOUT
            if (
                isinstance(child, ast.AST)
                and not layout
                and name not in ("annotation", "returns", "decorator_list")
            ):
                yield child


def called(node: ast.AST | None) -> str:
    function = getattr(node, "func", None)
    return getattr(function, "attr", getattr(function, "id", ""))


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str)


def faults(node: ast.AST, span: Callable[[ast.AST], Span], text: bytes) -> Iterator[tuple[str, Span, str]]:
    """Kind, span and replacement of each fault in this node alone."""
    start, end = span(node)
    values, operators = [], []
    match node:
        case ast.Raise():
            yield "raise dropped", (start, end), "pass"
        case ast.Expr(value=ast.Call() as call) if called(call) not in SILENT_CALLS:
            yield "statement dropped", (start, end), "pass"
        case ast.AugAssign():
            yield "statement dropped", (start, end), "pass"
            if not is_text(node.value):
                values, operators = [node.target, node.value], [node.op]
        case ast.Constant(value=bool(value)):
            yield "constant", (start, end), str(not value)
        case ast.Constant(value=int(value)):
            for other in sorted({value + 1, abs(value - 1)} if value < 10 else {value * 3 // 2}):
                yield "constant", (start, end), str(other)
        case ast.Constant(value=float(value)):
            yield "constant", (start, end), repr(value * 1.5 or 1.0)
        case ast.UnaryOp(op=ast.Not() | ast.USub() as op):
            yield "not or sign dropped", (start, start + len("not" if isinstance(op, ast.Not) else "-")), ""
        case ast.Slice(lower=lower, upper=upper):
            if lower is None:
                yield "slice", (start, start), "1"
            if upper is not None:
                yield "slice", (span(upper)[1], span(upper)[1]), " - 1"
        case ast.Call(func=function, args=args):
            name, stop = called(node), span(function)[1]
            if name in OPPOSITE:
                yield "opposite function", (stop - len(name), stop), OPPOSITE[name]
            for a, b in pairwise(args):
                (a0, a1), (b0, b1) = span(a), span(b)
                swapped = text[b0:b1] + text[a1:b0] + text[a0:a1]
                if swapped != text[a0:b1] and not is_text(a) and not is_text(b) and name not in OPPOSITE:
                    yield "arguments swapped", (a0, b1), swapped.decode()
        case (
            ast.If(test=ast.Name() | ast.Attribute() | ast.Call() as test)
            | ast.IfExp(test=ast.Name() | ast.Attribute() as test)
        ) if getattr(test, "id", "") != "TYPE_CHECKING":
            yield "condition", (span(test)[0], span(test)[0]), "not "
        case ast.Compare(left=left, comparators=rest, ops=ops):
            values, operators = [left, *rest], ops
        case ast.BoolOp(values=values, op=op):
            operators = [op] * (len(values) - 1)
        case ast.BinOp(left=left, right=right, op=op) if not is_text(left) and not is_text(right):
            values, operators = [left, right], [op]
    for (left, right), op in zip(pairwise(values), operators, strict=True):
        between = span(left)[1], span(right)[0]
        old, *others = OPERATORS.get(type(op), "").split(",")
        for new in others:
            yield f"operator {old}", between, text[slice(*between)].decode().replace(old, new, 1)
