"""ONNX files and PyTorch's exported programs: written, and checked before they get their names."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from vlif_plugin import __version__
from vlif_plugin.data import write_atomically
from vlif_plugin.errors import ExportError, OptionError, first_line
from vlif_plugin.export.checking import Agreement, compare
from vlif_plugin.export.tracing import FREE, inference_copy, layer_of, quiet, trace
from vlif_plugin.extras import extra_module

INPUT, OUTPUT = "lq", "restored"
RECORD = "vlif_plugin.json"
"""The name of the description in a ``.pt2`` file."""


def export_network(
    net: nn.Module,
    path: str | os.PathLike[str],
    *,
    network_g: Mapping[str, Any] | None = None,
    fuse: bool = True,
) -> Agreement:
    """Write a network for images of any size and any number, and check what was written.

    Args:
        net: maps images (B, 3, H, W), RGB in [0, 1], to such. It is left as it is.
        path: ``.onnx``, which needs the extra ``export``, or ``.pt2`` for ``torch.export.load``.
        network_g: the options that the network was built with, kept in the file.
        fuse: make BatchNorm part of the convolution before it.

    Returns:
        How well the file agrees with the network.

    Raises:
        OptionError: another suffix, or the extra is not installed.
        ExportError: the network cannot be exported, or the file computes something else; nothing is written.
        DataError: the file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix not in _FORMATS:
        raise OptionError(f"{path}: the name must end in {' or '.join(_FORMATS)}")
    write, run = _FORMATS[suffix]
    if suffix == ".onnx":
        _check_extra()
    record = {
        "network_g": json.dumps(None if network_g is None else dict(network_g)),
        "vlif_plugin": __version__,
        "batchnorm": "folded" if fuse else "as trained",
        INPUT: "(batch, 3, height, width), RGB in [0, 1], float32, any size",
        OUTPUT: "the same shape; not clamped",
    }
    content = write(trace(net, fuse=fuse), record)
    try:
        agreement = compare(inference_copy(net, fuse=False), run(content))
    except ExportError as error:
        raise ExportError(f"{path}: not written; {error}") from error
    write_atomically(path, content)
    return agreement


def _check_extra() -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        extra_module(module, "export", "ONNX")


def _write_program(program: ExportedProgram, record: Mapping[str, str]) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={RECORD: json.dumps(record)})
    return file.getvalue()


def _run_program(content: bytes) -> Callable[[Tensor], Tensor]:
    return torch.export.load(io.BytesIO(content)).module()


def _write_onnx(program: ExportedProgram, record: Mapping[str, str]) -> bytes:
    optimizer = extra_module("onnxscript.optimizer", "export", "ONNX")
    try:
        with quiet():
            made = torch.onnx.export(
                program, dynamo=True, verbose=False, optimize=False,
                input_names=[INPUT], output_names=[OUTPUT],
            )  # fmt: skip
            assert made is not None  # it is where no file is named
            # all of the exporter's rewriting would take time with the square of the nodes, and
            # onnxruntime does as much at each start
            optimizer.fold_constants(made.model)
            optimizer.remove_unused_nodes(made.model)
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(_not_in_onnx(program, error)) from error
    model = made.model_proto
    graph = model.graph
    del graph.value_info[:]  # sizes inside, in the tracer's symbols
    for message in (graph, *graph.input, *graph.output, *graph.node):
        del message.metadata_props[:]  # where things lie on this machine
        message.doc_string = ""
    sizes = [value.type.tensor_type.shape.dim for value in (*graph.input, *graph.output)]
    names = {sizes[0][place].dim_param: name for place, name in FREE.items()}
    for size in (size for dims in sizes for size in dims if size.dim_param in names):
        size.dim_param = names[size.dim_param]
    for key, value in record.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = "vlif_plugin", __version__
    return model.SerializeToString()


def _not_in_onnx(program: ExportedProgram, error: Exception) -> str:
    """What of a network ONNX has no operator for, and where it is."""
    innermost: BaseException = error
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
    found = re.search(r"target=torch\.ops\.\w+\.(\w+)", str(error.__cause__ or error))
    if found is None:
        return f"cannot be written as ONNX ({first_line(innermost)})"
    operator = found[1]
    wanted = operator.strip("_")
    nodes = [n for n in program.graph.nodes if wanted in str(n.target)]
    where = layer_of(nodes[0]) if nodes else "the network"
    return f"{where}: the operator {operator} cannot be written as ONNX ({first_line(innermost)})"


def _run_onnx(content: bytes) -> Callable[[Tensor], Tensor]:
    onnxruntime = extra_module("onnxruntime", "export", "ONNX")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        try:
            (restored,) = session.run([OUTPUT], {INPUT: images.numpy()})
        except Exception as error:  # of kinds that onnxruntime does not document
            raise ExportError(f"onnxruntime: {first_line(error)}") from error
        return torch.from_numpy(restored)

    return run


_FORMATS: dict[str, tuple[Callable[..., bytes], Callable[[bytes], Callable[[Tensor], Tensor]]]] = {
    ".onnx": (_write_onnx, _run_onnx),
    ".pt2": (_write_program, _run_program),
}
IMAGE_SUFFIXES = tuple(_FORMATS)
