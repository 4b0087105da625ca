"""One scalar changed in YAML text, and every other byte left: comments, layout and quotes of everything else stay.

Pure text to text. Each edit is read back before it is returned: a result that says anything else than what was asked
is an error, never a file.
"""

from __future__ import annotations

from typing import cast

import yaml
from yaml.nodes import ScalarNode

from proxy.settings.tree import CannotEditError, Tree, escaped, nested, quoted, said, word

_UNSET = object()


def set_scalar(text: str, path: tuple[str, ...], value: str) -> str:
    """The text with the scalar at ``path`` saying ``value``, read as YAML reads a plain word (``true``, ``10``, ``json``).

    A missing key, and missing mappings around it, are added at the end of the nearest one that is there.
    Raises CannotEditError where the scalar contains ``${``, belongs to an anchor or alias, or is not a scalar.
    """
    assert path, "the root is no scalar"
    tree = Tree(text)
    parent, rest = tree.descend(path)
    new = word(value, is_in_flow=len(rest) > 1 or parent.flow_style is True)
    if rest:
        cut = tree.insertion(parent, f"{word(rest[0])}: {nested(rest[1:], new)}")
    else:
        node = tree.child(parent, path[-1])
        if not isinstance(node, ScalarNode):
            raise CannotEditError(f"`{'.'.join(path)}` is not a single value", hint="edit the file by hand")
        cut = tree.replacement(node, new)
    return _proved(text, cut.apply(text), path, said(new))


def put_always(text: str, header: str, value: str) -> str:
    """The text with ``{header: …, exact: …}`` first in ``canary.always``; as it is where that match is there already.

    Raises CannotEditError as ``set_scalar`` does.
    """
    tree = Tree(text)
    path = ("canary", "always")
    # As the text says it, before `${` is looked at.
    match = {"header": header, "exact": escaped(value)}
    before = _value_at(said(text), path)
    matches = cast("list[object]", before) if isinstance(before, list) else []
    if any(_is_same_match(there, match) for there in matches):
        return text
    # The value is always quoted: what an operator types at a shell is text, also when it reads like a number.
    name = word(header, is_in_flow=True)
    item = f"{{header: {name if said(name) == header else quoted(header)}, exact: {quoted(value)}}}"
    parent, rest = tree.descend(path)
    if rest:
        cut = tree.insertion(parent, f"{word(rest[0])}: {nested(rest[1:], f'[{item}]')}")
    else:
        cut = tree.first_item(tree.child(parent, path[-1]), item)
    return _proved(text, cut.apply(text), path, [match, *matches])


def _proved(before: str, after: str, path: tuple[str, ...], wanted: object) -> str:
    """``after``, if it differs from ``before`` in what it says at ``path``, and in nothing else."""
    try:
        changed = said(after)
    except (yaml.YAMLError, RecursionError) as error:
        raise CannotEditError(
            "the layout is too unusual to be edited in place", hint="edit the file by hand"
        ) from error
    # repr: to Python, 1 is True and 10 is 10.0.
    is_there = repr(_value_at(changed, path)) == repr(wanted)
    if not is_there or _without(changed, path) != _without(said(before), path):
        raise CannotEditError("the layout is too unusual to be edited in place", hint="edit the file by hand")
    return after


def _value_at(value: object, path: tuple[str, ...]) -> object:
    for name in path:
        value = cast("dict[str, object]", value).get(name, _UNSET) if isinstance(value, dict) else _UNSET
    return value


def _without(value: object, path: tuple[str, ...]) -> object:
    """The value without what is at ``path``; a mapping that holds nothing else counts as not there."""
    if not isinstance(value, dict):
        return value
    rest = dict(cast("dict[str, object]", value))
    name = path[0]
    if len(path) == 1 or rest.get(name) is None:
        rest.pop(name, None)
        return rest
    rest[name] = _without(rest[name], path[1:])
    if rest[name] == {}:
        del rest[name]
    return rest


def _is_same_match(there: object, wanted: dict[str, str]) -> bool:
    if not isinstance(there, dict):
        return False
    match = dict(cast("dict[str, object]", there))
    name = match.get("header")
    if isinstance(name, str) and name.lower() == wanted["header"].lower():
        match["header"] = wanted["header"]
    return match == wanted
