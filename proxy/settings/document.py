"""YAML text to plain values, each with its place in the text. Knows YAML and ``${NAME:-default}``, and no setting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from proxy.settings.faults import Fault

Path = tuple[str | int, ...]

NODES_MAX = 20_000
"""Values in one file, aliases counted each time: a few lines of aliases of aliases must not fill the memory."""

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
"""``$${`` for the characters themselves, ``${…}``, or one that never ends."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_RESOLVER = yaml.SafeLoader("")
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?\Z")
_TRUE = frozenset({"true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one value stands; lines and columns from 1. ``key_line`` and ``key_column`` are the value's own in a list."""

    line: int
    column: int
    key_line: int
    key_column: int
    variables: tuple[str, ...] = ()
    """The environment variables that the scalar was made from, set or not."""


@dataclass(frozen=True, slots=True)
class Document:
    """The values of one text, and the spot of each by its path. The path of the whole is ``()``."""

    value: object
    spots: Mapping[Path, Spot]

    def nearest(self, path: Path) -> Spot:
        """The spot of the value, or of the nearest one around it."""
        while path not in self.spots and path:
            path = path[:-1]
        return self.spots.get(path, Spot(1, 1, 1, 1))

    def line(self, *path: str | int) -> int:
        """The line of a key (of the item itself in a list), or 0 where the text does not have it."""
        spot = self.spots.get(path)
        return spot.key_line if spot else 0


def read(text: str, env: Mapping[str, str]) -> tuple[Document | None, list[Fault]]:
    """The document, and what is wrong with it as YAML. None where nothing can be made of it."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return None, [Fault(*place, f"this is not YAML: {_problem(error)}{_hint(text, mark)}")]
    except yaml.reader.ReaderError as error:
        return None, [_unreadable(text, error)]
    except RecursionError:
        return None, [Fault(1, 1, "the values are nested too deep to be read")]
    if root is None:
        return None, [
            Fault(1, 1, "the file is empty: it needs at least `version`, `upstreams` and `primary`")
        ]
    reader = _Reader(env)
    value = reader.value(root, (), None)
    return Document(value, reader.spots), reader.faults


def resolved(text: str) -> object:
    """What a plain (unquoted) scalar means: true, 10, 0.5, null or text."""
    tag = cast("str", _RESOLVER.resolve(ScalarNode, text, (True, False)))
    return _plain(tag, text)


def _plain(tag: str, text: str) -> object:
    match tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() in _TRUE
        case "int" if _INT.match(text):
            return int(text)
        case "float" if _FLOAT.match(text):
            return float(text)
        case _:
            # Dates, octal and base-60 numbers (1:30!) are text here: no setting wants them, and text is refused by name.
            return text


_HALVES = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class _Reader:
    env: Mapping[str, str]
    spots: dict[Path, Spot] = field(default_factory=dict[Path, Spot])
    faults: list[Fault] = field(default_factory=list[Fault])
    nodes: int = 0
    around: list[Node] = field(default_factory=list[Node])

    def value(self, node: Node, path: Path, key: Node | None) -> object:
        self.nodes += 1
        if self.nodes > NODES_MAX or any(outer is node for outer in self.around):
            if self.nodes <= NODES_MAX + 1:
                self.fault(node, "an alias that contains itself, or too many values")
            self.nodes = max(self.nodes, NODES_MAX + 1)
            return None
        variables: tuple[str, ...] = ()
        value: object
        if isinstance(node, ScalarNode):
            value, variables = self.scalar(node)
        else:
            self.around.append(node)
            value = self.sequence(node, path) if isinstance(node, SequenceNode) else self.mapping(node, path)
            self.around.pop()
        at, of_key = node.start_mark, (key or node).start_mark
        self.spots[path] = Spot(at.line + 1, at.column + 1, of_key.line + 1, of_key.column + 1, variables)
        return value

    def sequence(self, node: SequenceNode, path: Path) -> list[object]:
        self.standard(node, "seq")
        return [self.value(item, (*path, index), None) for index, item in enumerate(node.value)]

    def mapping(self, node: Node, path: Path) -> dict[str, object]:
        assert isinstance(node, MappingNode)
        self.standard(node, "map")
        found: dict[str, object] = {}
        first_lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.fault(key, "a key must be one word")
                continue
            name = self.whole(key, key.value)
            if not name and key.value:
                continue
            if key.tag == _TAG + "merge":
                self.fault(
                    key, "`<<` is not read here: write the keys out, or use an alias for a whole value"
                )
            elif name in found:
                self.fault(
                    key,
                    f"`{name}` is given twice: the first is at line {first_lines[name]}; keep one of them",
                )
            else:
                first_lines[name] = key.start_mark.line + 1
                before = len(self.faults)
                found[name] = self.value(value, (*path, name), key)
                if found[name] is None and isinstance(value, ScalarNode) and len(self.faults) == before:
                    self.fault(key, f"`{name}` is empty: give it a value, or leave the key out")
        return found

    def scalar(self, node: ScalarNode) -> tuple[object, tuple[str, ...]]:
        text: str = node.value
        if "${" not in text:
            if not node.tag.startswith(_TAG):
                self.standard(node, "str")
            text = self.whole(node, text)
            return (text if node.tag == _TAG + "str" else _plain(node.tag, text)), ()
        names: list[str] = []
        text = self.whole(node, _VARIABLE.sub(lambda found: self.expand(node, found, names), text))
        return (text if node.style else resolved(text)), tuple(names)

    def whole(self, node: ScalarNode, text: str) -> str:
        """The text, if it can be written anywhere: "\\ud800", or bytes of the environment that are no UTF-8, cannot."""
        if _HALVES.search(text) is None:
            return text
        self.fault(node, "half of a character (a lone surrogate): write whole characters, in UTF-8")
        return ""

    def expand(self, node: ScalarNode, found: re.Match[str], names: list[str]) -> str:
        """As in a shell: with ``:-`` a variable that is set but empty counts as unset."""
        if found[0] == "$${":
            return "${"
        if found[0] == "${":
            self.fault(
                node,
                "`${` without its `}`: write ${NAME}, ${NAME:-default}, or $${ for the characters themselves",
            )
            return ""
        name, separator, default = found[1].partition(":-")
        if not _NAME.match(name) or "${" in default:
            self.fault(node, f"`{found[0]}`: write ${{NAME}} or ${{NAME:-default}}")
            return ""
        names.append(name)
        value = self.env.get(name)
        if separator:
            return value or default
        if value is None:
            self.fault(
                node, f"the environment variable {name} is not set: set it, or write ${{{name}:-default}}"
            )
        return value or ""

    def standard(self, node: Node, kind: str) -> None:
        if node.tag != _TAG + kind:
            self.fault(node, f"the tag {node.tag.replace(_TAG, '!!')} is not read here: leave it out")

    def fault(self, node: Node, message: str) -> None:
        self.faults.append(Fault(node.start_mark.line + 1, node.start_mark.column + 1, message))


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "it cannot be read"
    if "'\\t'" in problem:
        return "a tab where YAML wants spaces"
    where = (
        f" ({error.context}, line {error.context_mark.line + 1})"
        if error.context and error.context_mark
        else ""
    )
    return f"{problem}{where}"


def _hint(text: str, mark: yaml.Mark | None) -> str:
    """``{a: ${B}}`` fails in a way that only YAML's authors would understand."""
    is_variable = mark is not None and text[max(0, mark.index - 1) : mark.index + 1] == "${"
    return "; inside {…} and […] a ${NAME} must stand in quotes" if is_variable else ""


def _unreadable(text: str, error: yaml.reader.ReaderError) -> Fault:
    position = error.position if isinstance(error.position, int) else 0
    before = text[:position]
    column = position - (before.rfind("\n") + 1) + 1
    character = text[position : position + 1]
    return Fault(
        before.count("\n") + 1,
        column,
        f"a character that YAML does not allow: {character!r}; is the file UTF-8?",
    )
