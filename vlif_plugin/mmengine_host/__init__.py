"""mmengine: importing this package mends mmengine and fills the plugin's registries.

mmengine imports it the first time that a type of the scope ``vlif_plugin`` is built.
"""

from vlif_plugin.mmengine_host.registration import register_all

register_all()

__all__ = ["register_all"]
