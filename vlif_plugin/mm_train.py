"""`python -m vlif_plugin.mm_train CONFIG`: train a config of mmengine, checked before it begins."""

import sys

from vlif_plugin.mmengine_host.run import train

if __name__ == "__main__":
    sys.exit(train())
