"""The only door to onnxruntime: networks from ONNX graphs, on the processor, reporting to nobody.

Since 1.29 onnxruntime tells its makers by default, on every system, which models it opens and how they run, and keeps a
number for the machine. It decides so while it is imported; `import mien` says no before (ORT_DISABLE_TELEMETRY).
"""

from __future__ import annotations

from typing import Any


def open_network(graph: str | bytes, *, threads: int = 0, spin: bool = True, any_shape: bool = False) -> Any:
    """An onnxruntime session for a file's path or a graph's bytes; raises whatever onnxruntime does.

    threads: for the network; 0 lets onnxruntime choose. spin: the threads wait busily for their next piece of work,
    which is quicker where the network is all that runs, and takes the cores from whatever else does. any_shape: inputs
    change their shape from call to call; memory is then not kept for the largest of each.
    """
    import onnxruntime as ort

    ort.disable_telemetry_events()  # Windows knows no variable; elsewhere this alone would come too late
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = options.enable_mem_pattern = not any_shape
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
