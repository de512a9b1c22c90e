"""`python -m fromscratch` is the same as `fromscratch`."""

import sys

from fromscratch.cli import main

sys.exit(main())
