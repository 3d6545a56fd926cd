"""`python -m vlif_plugin.train -opt FILE`: BasicSR's training script with the plugin registered."""

import sys

from vlif_plugin.basicsr_host.run import train

if __name__ == "__main__":
    sys.exit(train())
