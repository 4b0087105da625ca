"""Which records can certainly not match a query, said in SQL: the rest is looked at by backends.query. Pure.

A condition here is only ever *necessary*. A filter that wants a text which reads as no number, boolean or null can only
be met by that very text, in the record or in an array in it; JSON writes a text that needs no escape as itself in quotes;
so a body that holds neither the quoted text nor any backslash (a body that somebody else wrote may escape what need not be)
cannot match. This costs PostgreSQL a search for a substring where Python would parse the record.
"""

from __future__ import annotations

from backends.query import Filter, Operator, Query, number_of

_NOT_TEXTS = frozenset(("true", "false", "null"))


def candidates(query: Query) -> tuple[str, list[object]]:
    """A condition on ``body`` that every record which matters to the query meets, and its arguments."""
    if query.after is not None:
        return "true", []  # the record to go on after need not match itself
    conditions: list[str] = []
    arguments: list[object] = []
    for condition in query.filters:
        quoted = _quoted(condition)
        if quoted is not None:
            arguments.append(quoted)
            conditions.append(_holds_one(len(arguments)))
    if query.references is not None:
        arguments.append([f'"{field}"' for field in query.references.fields if "\x00" not in field])
        conditions.append(_holds_one(len(arguments)))
    return " and ".join(conditions) or "true", arguments


def _holds_one(place: int) -> str:
    """The body holds one of an argument's texts, or a backslash."""
    return (
        f"(strpos(body, '\\') > 0 or exists"
        f" (select from unnest(${place}::text[]) as one where strpos(body, one) > 0))"
    )


def _quoted(condition: Filter) -> list[str] | None:
    """The texts of which a matching body without backslashes holds one; None where that cannot be said."""
    match condition.operator:
        case Operator.EQ:
            texts = list(condition.values)
        case Operator.IN:
            # a record with a field of the filter's whole name is compared with that one, by EQ
            texts = [text for value in condition.values for text in (value, *value.split(","))]
        case _:
            return None
    if not all(_is_plain(text) for text in texts):
        return None
    return [f'"{text}"' for text in texts]


def _is_plain(text: str) -> bool:
    """Whether only a JSON string equals it, and PostgreSQL can be asked for it."""
    return (
        text not in _NOT_TEXTS
        and number_of(text) is None
        and "\x00" not in text
        and not any("\ud800" <= char <= "\udfff" for char in text)
    )
