"""``python -m proxy.cli``: the same as ``turnout``, where the command itself is not on the path."""

from __future__ import annotations

from proxy.cli.parent import end_with_parent

end_with_parent()

from proxy.cli.main import main  # noqa: E402 - a parent that has gone must be noticed before the slow imports

main()
