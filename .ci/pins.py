"""Prints what .venv holds as constraints: third-party packages only, build tools included."""

from __future__ import annotations

from importlib import metadata

OURS = {"turnout"}
OF_THE_ENVIRONMENT = {"pip", "setuptools", "wheel"}


def pins() -> list[str]:
    found = {(d.metadata["Name"], d.version) for d in metadata.distributions()}
    kept = [(n, v) for n, v in found if n.lower() not in OURS | OF_THE_ENVIRONMENT]
    return [f"{name}=={version}" for name, version in sorted(kept, key=lambda pair: pair[0].lower())]


if __name__ == "__main__":
    print("\n".join(pins()))
