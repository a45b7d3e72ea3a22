"""`python -m dexsim` is the `dexsim` command."""

import sys

from dexsim.cli import main

sys.exit(main())
