"""`python -m tests.simulation`; all of it is in runs.py, which the workers can import."""

import sys

from tests.simulation.runs import main

sys.exit(main())
