"""`python -m vlif_plugin.mm_test CONFIG CHECKPOINT`: score weights by a config of mmengine."""

import sys

from vlif_plugin.mmengine_host.run import test

if __name__ == "__main__":
    sys.exit(test())
