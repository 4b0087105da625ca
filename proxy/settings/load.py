"""Text to settings, or to all of its faults at once. The one way in for every routing.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from pydantic import BaseModel, ValidationError

from proxy.limits import SETTINGS_BYTES_MAX
from proxy.settings import document as documents
from proxy.settings.checks import Parts, RoutePart, check
from proxy.settings.complaints import shape_faults
from proxy.settings.document import Document
from proxy.settings.faults import BadSettingsError, Fault
from proxy.settings.overrides import laid_over, said_at
from proxy.settings.shape import RouteShape, SettingsShape, ShadowShape, UpstreamShape

ShapeT = TypeVar("ShapeT", bound=BaseModel)

FROM_FILE = "file"
FROM_DEFAULT = "default"
FROM_OVERRIDE = "override"


@dataclass(frozen=True, slots=True)
class Settings:
    """One checked file: what is *desired*. Who is primary in fact, the journal says."""

    source: str
    """What faults and logs call it: the file's path as given."""
    text: str
    shape: SettingsShape
    """What is in force: the file's values, with the overrides laid over them."""
    document: Document
    """What the file says."""
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    """Dotted path → text (settings.overrides)."""

    @property
    def primary(self) -> str:
        return self.shape.primary

    @property
    def secondary(self) -> str:
        first, second = self.shape.upstreams
        return second if self.primary == first else first

    @property
    def canary_enabled(self) -> bool:
        return self.shape.canary.enabled

    def origin(self, *path: str) -> str:
        """Where a setting comes from: ``override``, ``file``, ``default``, or ``environment: NAME`` (an edit of the file is refused there)."""
        if ".".join(path) in self.overrides:
            return FROM_OVERRIDE
        spot = self.document.spots.get(path)
        if spot is None:
            return FROM_DEFAULT
        return f"environment: {', '.join(spot.variables)}" if spot.variables else FROM_FILE

    def filed(self, path: str) -> str:
        """What the file says at a dotted path, ``${…}`` filled in, as an override would say it."""
        return said_at(self.document.value, path)


def load(
    text: str, env: Mapping[str, str], source: str, overrides: Mapping[str, str] | None = None
) -> Settings:
    """The settings of a text. ``env`` fills ``${NAME:-default}``; ``overrides`` are laid over it.

    Raises BadSettingsError with every fault, in the order of the file.
    """
    if len(text) > SETTINGS_BYTES_MAX:
        raise BadSettingsError(
            source, [Fault(1, 1, f"the file is larger than {SETTINGS_BYTES_MAX >> 10} KiB")]
        )
    document, faults = documents.read(text, env)
    if document is None:
        raise BadSettingsError(source, faults)
    # An empty value or an unset variable is told once, not again by everything that needs it.
    told = {(fault.line, fault.column) for fault in faults}
    shape: SettingsShape | None = None
    value = laid_over(document.value, overrides or {})
    try:
        shape = SettingsShape.model_validate(value)
    except ValidationError as error:
        faults += shape_faults(error, document, told)
    together = check(_parts(value), document)
    faults += [fault for fault in together if (fault.line, fault.column) not in told]
    if shape is None or faults:
        raise BadSettingsError(source, faults)
    return Settings(source, text, shape, document, dict(overrides or {}))


def _parts(value: object) -> Parts:
    top = _mapping(value)
    upstreams = _mapping(top.get("upstreams"))
    primary = top.get("primary")
    shaped = ((name, _part(UpstreamShape, raw)) for name, raw in upstreams.items())
    numbered = ((index, raw, _part(RouteShape, raw)) for index, raw in enumerate(_list(top.get("routes"))))
    return Parts(
        names=tuple(upstreams) if isinstance(top.get("upstreams"), dict) else None,
        upstreams=tuple((name, upstream) for name, upstream in shaped if upstream is not None),
        primary=primary if isinstance(primary, str) else None,
        routes=tuple(
            RoutePart(index, route, is_whole=len(route.model_fields_set) == len(_mapping(raw)))
            for index, raw, route in numbered
            if route is not None
        ),
        shadow=_part(ShadowShape, top.get("shadow", {})),
    )


def _part(kind: type[ShapeT], raw: object) -> ShapeT | None:
    """The part of a file, if need be without the keys whose own fault is told anyway."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        bad = {detail["loc"][0] for detail in error.errors(include_url=False) if detail["loc"]}
    try:
        return kind.model_validate({key: value for key, value in _mapping(raw).items() if key not in bad})
    except ValidationError:
        return None


def _mapping(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
