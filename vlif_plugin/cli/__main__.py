"""`python -m vlif_plugin.cli`, where the `vlif` script is not on the path."""

import sys

from vlif_plugin.cli import main

sys.exit(main())
