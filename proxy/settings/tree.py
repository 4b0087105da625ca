"""YAML text as nodes that know where they stand: where a value is written, where another one goes, who shares it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from proxy.errors import RefusedError
from proxy.settings.document import resolved


class CannotEditError(RefusedError):
    """The text cannot be edited in place; the change can still live as an override."""

    code = "cannot-edit"


@dataclass(frozen=True, slots=True)
class Cut:
    """``text[start:end]`` becomes ``new``."""

    start: int
    end: int
    new: str

    def apply(self, text: str) -> str:
        return text[: self.start] + self.new + text[self.end :]


class Tree:
    """The nodes of one text, and which of them are shared by anchors."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.anchored = {
                cast("yaml.Mark", event.start_mark).index
                for event in yaml.parse(text, Loader=yaml.SafeLoader)
                if isinstance(event, yaml.NodeEvent) and event.anchor is not None
            }
        except (yaml.YAMLError, RecursionError) as error:
            raise CannotEditError(
                "the file is not YAML now", hint="mend it first: turnout check FILE"
            ) from error
        if not isinstance(root, MappingNode):
            raise CannotEditError("the file has no settings", hint="start from the default: turnout init")
        self.root = root

    def descend(self, path: tuple[str, ...]) -> tuple[MappingNode, tuple[str, ...]]:
        """The mapping that holds the last key of ``path``, or the deepest one there and the keys that are missing in it."""
        here = self.owned(self.root)
        for depth, name in enumerate(path):
            node = self.child(here, name)
            if node is None:
                return cast("MappingNode", here), path[depth:]
            self.owned(node)
            if depth == len(path) - 1:
                break
            if not isinstance(node, MappingNode):
                raise CannotEditError(f"`{name}` is not a mapping", hint="edit the file by hand")
            here = node
        return cast("MappingNode", here), ()

    def child(self, mapping: Node, name: str) -> Node | None:
        found = [value for key, value in mapping.value if isinstance(key, ScalarNode) and key.value == name]
        if len(found) > 1:
            raise CannotEditError(f"`{name}` is given twice", hint="mend the file first: turnout check FILE")
        return found[0] if found else None

    def owned(self, node: Node) -> Node:
        """The node, if what is written there is read in this place only and says no more than it shows."""
        start, end = node.start_mark.index, node.end_mark.index
        if start in self.anchored:
            raise CannotEditError(
                f"line {node.start_mark.line + 1} is shared by an anchor and its aliases",
                hint="edit the file by hand",
            )
        if isinstance(node, ScalarNode) and "${" in self.text[start:end]:
            raise CannotEditError(
                f"line {node.start_mark.line + 1} takes its value from the environment",
                hint="change the variable",
            )
        if self.text[start : start + 1] == "!":
            raise CannotEditError(f"line {node.start_mark.line + 1} has a tag", hint="edit the file by hand")
        return node

    def replacement(self, node: ScalarNode, new: str) -> Cut:
        start, end = node.start_mark.index, node.end_mark.index
        if node.style in ("|", ">"):
            raise CannotEditError("a block of text cannot be replaced in place", hint="edit the file by hand")
        # An empty value ends where its key's colon does.
        return Cut(start, end, new if start < end else f" {new}")

    def insertion(self, mapping: MappingNode, entry: str) -> Cut:
        """``entry`` behind the last one of a mapping, on a line of its own where the mapping has lines."""
        if not mapping.value:
            end = self._after_brace(mapping, "{")
            return Cut(end, end, entry)
        end = self._end(mapping.value[-1][1])
        if mapping.flow_style:
            return Cut(end, end, f", {entry}")
        return self._line_after(end, " " * mapping.value[0][0].start_mark.column + entry)

    def first_item(self, sequence: Node | None, item: str) -> Cut:
        """``item`` ahead of all others of a list."""
        if isinstance(sequence, ScalarNode) and not sequence.style and resolved(sequence.value) is None:
            return self.replacement(sequence, f"[{item}]")
        if not isinstance(sequence, SequenceNode):
            raise CannotEditError("`canary.always` is not a list", hint="edit the file by hand")
        if sequence.flow_style:
            at = self._after_brace(sequence, "[")
            return Cut(at, at, f"{item}, " if sequence.value else item)
        mark = sequence.start_mark
        return Cut(mark.index, mark.index, f"- {item}{self.newline}{' ' * mark.column}")

    def _after_brace(self, node: Node, brace: str) -> int:
        at = node.start_mark.index
        if self.text[at : at + 1] != brace:
            raise CannotEditError(
                "the layout is too unusual to be edited in place", hint="edit the file by hand"
            )
        return at + 1

    def _end(self, node: Node) -> int:
        """Where what is written of a node ends. (A block's own end mark lies behind the comments that follow it.)"""
        if isinstance(node, ScalarNode):
            end = node.end_mark.index
            return len(self.text[:end].rstrip("\r\n")) if node.style in ("|", ">") else end
        if not isinstance(node, CollectionNode) or node.flow_style or not node.value:
            return node.end_mark.index
        if isinstance(node, MappingNode):
            return self._end(node.value[-1][1])
        return self._end(cast("Node", node.value[-1]))

    def _line_after(self, at: int, line: str) -> Cut:
        """A line behind the one that ``at`` is in, and behind the comment at its end."""
        end = self.text.find("\n", at)
        if end < 0:
            end = len(self.text)
            return Cut(end, end, self.newline + line)
        return Cut(end + 1, end + 1, line + self.newline)


def nested(names: tuple[str, ...], inline: str) -> str:
    for name in reversed(names):
        inline = f"{{{word(name, is_in_flow=True)}: {inline}}}"
    return inline


_NO_VALUES = ("tag:yaml.org,2002:value", "tag:yaml.org,2002:merge")
"""What YAML 1.1 takes a plain ``=`` and ``<<`` for: such a value is refused by every reader."""


def word(value: str, *, is_in_flow: bool = False) -> str:
    """A value as a plain scalar where YAML reads it so, in quotes where it would read something else."""
    probe = f"[{value}]" if is_in_flow else f"- {value}"
    try:
        node = yaml.compose(probe, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return quoted(value)
    if not isinstance(node, SequenceNode) or len(node.value) != 1:
        return quoted(value)
    item = cast("Node", node.value[0])
    is_plain = (
        isinstance(item, ScalarNode) and not item.style and item.value == value and item.tag not in _NO_VALUES
    )
    return value if is_plain and value and "${" not in value and "\n" not in value else quoted(value)


def escaped(value: str) -> str:
    """``${`` as the characters themselves."""
    return value.replace("${", "$${")


def quoted(value: str) -> str:
    """In double quotes, on one line."""
    out = yaml.dump(
        escaped(value), Dumper=yaml.SafeDumper, default_style='"', width=2**31, allow_unicode=True
    )
    return out.rstrip("\n")


def said(text: str) -> object:
    """All that a text says, without ``${…}`` filled in."""
    try:
        return _said(yaml.compose(text, Loader=yaml.SafeLoader))
    except RecursionError as error:
        raise CannotEditError(
            "the file is nested too deep", hint="mend it first: turnout check FILE"
        ) from error


def _said(node: Node | None) -> object:
    if isinstance(node, MappingNode):
        return {
            cast("str", key.value): _said(value) for key, value in node.value if isinstance(key, ScalarNode)
        }
    if isinstance(node, SequenceNode):
        return [_said(item) for item in node.value]
    if isinstance(node, ScalarNode):
        return cast("str", node.value) if node.style else resolved(node.value)
    return None
