"""`python -m vlif_plugin.test -opt FILE`: BasicSR's testing script with the plugin registered."""

import sys

from vlif_plugin.basicsr_host.run import test

if __name__ == "__main__":
    sys.exit(test())
