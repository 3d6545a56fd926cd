"""Networks in formats that run elsewhere: ONNX, PyTorch's exported programs, and NIR."""

from vlif_plugin.export.checking import Agreement
from vlif_plugin.export.files import IMAGE_SUFFIXES, export_network
from vlif_plugin.export.nir_graph import export_nir, nir_graph
from vlif_plugin.export.tracing import trace

__all__ = ["IMAGE_SUFFIXES", "Agreement", "export_network", "export_nir", "nir_graph", "trace"]
