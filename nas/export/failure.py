"""Errors of torch's exporters as sentences with the line of the forward."""

from __future__ import annotations

import contextlib
import io
import keyword
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.overrides import TorchFunctionMode

EXPORT_FOLDER = str(Path(__file__).parent)
TORCH_FOLDER = str(Path(torch.__file__).parent)
LOGGING_FOLDER = str(Path(logging.__file__).parent)


def line_of(error: BaseException) -> str:
    """File and number of the innermost line of an error outside of torch and the exporter; empty if there is none."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((TORCH_FOLDER, EXPORT_FOLDER, "<"))
    ]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def program_failure(error: Exception, export: Callable[[], object]) -> tuple[str, str]:
    """Why `torch.export` cannot take a network, to complete "its forward …", and the line if known.

    Args:
        export: Function that raises the error again.
    """
    if isinstance(error, GuardOnDataDependentSymNode):
        return "branches on the value of a tensor", line_of(error)
    if "Constraints violated" in str(error):
        return "works only for one number of images", _fixing_line(export)
    return f"raises an error: {_short(error)}", line_of(error)


def _fixing_line(export: Callable[[], object]) -> str:
    """The line at which `torch.export` fixes the number of images, which only its log contains."""
    log, listener = logging.getLogger("torch.fx.experimental.symbolic_shapes"), _FixedSizes()
    level, propagate = log.level, log.propagate
    log.addHandler(listener)
    log.propagate = False
    log.setLevel(logging.INFO)
    try:
        with quiet():
            logging.disable(logging.NOTSET)
            export()
    except Exception:  # noqa: BLE001 - the same error as before
        return listener.line
    finally:
        log.removeHandler(listener)
        log.propagate = propagate
        log.setLevel(level)
    return ""


class _FixedSizes(logging.Handler):
    """Remembers the line that runs when a size is first fixed."""

    line = ""

    def emit(self, record: logging.LogRecord) -> None:
        if not self.line and re.search(r"Eq\(s\d+, \d+\) \[guard added\]", record.getMessage()):
            self.line = running_line()


def onnx_failure(error: BaseException, program: ExportedProgram, network: nn.Module, images: Tensor) -> str:
    """Why a program has no ONNX form: the operation, with the line of the forward that calls it.

    Args:
        images: (B, C, H, W), images that the network takes.
    """
    texts = [str(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        texts.append(str(error))
    text = " ".join(texts)
    operation = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", text)
    if operation is None:
        return _short(error)
    node = re.search(r"translating node %(\w+)", text)
    line = _line_of_node(node.group(1), program, network, images) if node else ""
    return f"{operation.group(1)} cannot be expressed in ONNX{f' ({line})' if line else ''}"


def wrong_in_onnx(network: nn.Module, images: Tensor) -> str:
    """The module that torch (2.9 to 2.14) exports incorrectly to ONNX, with its line; empty if there is none.

    The initial states of an LSTM with projections get one size, but the state of the cell has another.
    """
    for module in network.modules():
        if isinstance(module, nn.LSTM) and module.proj_size:
            lines: list[str] = []
            listens = module.register_forward_pre_hook(lambda *_, lines=lines: lines.append(running_line()))
            with listens, torch.no_grad():
                network(images)
            if lines:
                return f"an LSTM with proj_size={module.proj_size} cannot be expressed in ONNX ({lines[0]})"
    return ""


def runtime_failure(error: str, path: Path) -> str:
    """Why ONNX Runtime does not run a file: the operation that it lacks, with its type and line; empty if unknown.

    Args:
        error: Text of its error.
        path: Path of the file.
    """
    named = re.search(r"NOT_IMPLEMENTED .* node with name '([^']+)'", error) or re.search(
        r"Type 'tensor\(\w+\)' of input parameter .* in node \(([^)]+)\) is invalid", error
    )
    if named is None:
        return ""
    import onnx

    graph = onnx.load(str(path)).graph
    node = next((node for node in graph.node if node.name == named.group(1)), None)
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    types |= {weight.name: weight.data_type for weight in graph.initializer}
    if node is None or not node.input or node.input[0] not in types:
        return ""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(types[node.input[0]]).name
    stack = next((entry.value for entry in node.metadata_props if entry.key.endswith("stack_trace")), "")
    lines = [frame for frame in re.findall(r'File "(.+)", line (\d+)', stack) if not frame[0].startswith(TORCH_FOLDER)]
    where = f" ({Path(lines[-1][0]).name}:{lines[-1][1]})" if lines else ""
    return f"ONNX Runtime does not implement {node.op_type} for {dtype}{where}"


def scripted(network: nn.Module) -> str:
    """The part of a network that torch.jit created, to complete "its forward …"; empty if there is none."""
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            return f"{f'calls {name}, which was' if name else 'was'} made by torch.jit.script or torch.jit.trace"
    return ""


def misnamed(network: nn.Module) -> str:
    """A tensor whose name `torch.export` cannot write, and why; empty if there is none."""
    for name, _ in (*network.named_parameters(), *network.named_buffers()):
        if word := next(filter(keyword.iskeyword, name.split(".")), ""):
            return f"{name} contains the Python keyword {word!r}; rename that module or tensor"
    return ""


def _line_of_node(name: str, program: ExportedProgram, network: nn.Module, images: Tensor) -> str:
    """The line that calls the function of a node; a node has only the function's name and the number of the call."""
    for graph in (program.graph, program.run_decompositions().graph):  # ONNX is written from the second
        for node in graph.nodes:
            # ONNX may have decomposed an operation further, into one with the end of its name
            if node.name.endswith(name) and "torch_fn" in node.meta:
                call, function = node.meta["torch_fn"]
                with _Lines(function.rpartition(".")[2]) as calls, torch.no_grad():
                    network(images)
                number = int(call.rpartition("_")[2]) - 1
                return calls.lines[number] if number < len(calls.lines) else ""
    return ""


class _Lines(TorchFunctionMode):
    """Collects the lines that call a function of torch."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.lines: list[str] = []

    def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") == self.name:
            self.lines.append(running_line())
        return function(*args, **(kwargs or {}))


def running_line() -> str:
    """File and number of the innermost running line outside of torch, logging and the exporter."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((TORCH_FOLDER, EXPORT_FOLDER, LOGGING_FOLDER)):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame is not None else ""


def _short(error: BaseException) -> str:
    """The first line of an error."""
    text = next(iter(str(error).strip().splitlines()), "") or "no message"
    return f"{type(error).__name__}: {text[:200]}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses what torch's exporters print, log and warn about."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    silence = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            warnings.simplefilter("ignore")  # about future versions of torch
            yield
    finally:
        logging.disable(before)
