"""Writes files of weights as PyTorch, Keras 2, TensorFlow 1 and TensorFlow.js do, from names and float32 arrays."""

import json
import struct

import numpy as np
import torch

from mien.training.weights.crc32c import masked_crc32c


def write_pytorch(path, arrays):
    """A state dict."""
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)


def write_keras(path, arrays):
    """A whole model: names are `layer/weight`; an optimiser's group stands beside the weights."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            layer, weight = name.split("/")
            file[f"model_weights/{layer}/{layer}/{weight}:0"] = array
        file["optimizer_weights/Adam/iterations:0"] = np.int64(7)


def write_tensorflow(prefix, arrays):
    """A checkpoint of one shard, its index in blocks of 20 entries. float32 and int64."""
    entries, at = {b"": _number(1, 1)}, 0
    with prefix.with_name(f"{prefix.name}.data-00000-of-00001").open("wb") as data:
        for name, array in sorted(arrays.items()):
            raw = np.ascontiguousarray(array).tobytes()
            data.write(raw)
            shape = b"".join(_message(2, _number(1, side)) for side in array.shape)
            dtype = {"f4": 1, "i8": 9}[array.dtype.str[1:]]
            entries[name.encode()] = (
                _number(1, dtype)
                + _message(2, shape)
                + _number(4, at)
                + _number(5, len(raw))
                + _varint(6 << 3 | 5)
                + struct.pack("<I", masked_crc32c(raw))
            )
            at += len(raw)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(entries))


def write_tensorflowjs(path, arrays, *, smaller="", whole=True):
    """A model, or its manifest alone, and two files of numbers. smaller: "float16" or "uint8", as converters offer."""
    listed, numbers = [], b""
    for name, array in arrays.items():
        about, stored = {"name": name, "shape": list(array.shape), "dtype": "float32"}, array
        if smaller == "float16":
            about["quantization"], stored = {"dtype": "float16", "original_dtype": "float32"}, array.astype(np.float16)
        elif smaller == "uint8":
            least, scale = float(array.min()), float(np.ptp(array)) / 255 or 1.0
            about["quantization"] = {"dtype": "uint8", "min": least, "scale": scale}
            stored = np.round((array - least) / scale).astype(np.uint8)
        listed.append(about)
        numbers += stored.tobytes()
    names = [f"{path.stem}.1.bin", f"{path.stem}.2.bin"]
    path.with_name(names[0]).write_bytes(numbers[: len(numbers) // 2])
    path.with_name(names[1]).write_bytes(numbers[len(numbers) // 2 :])
    manifest = [{"paths": names, "weights": listed}]
    path.write_text(json.dumps({"format": "graph-model", "weightsManifest": manifest} if whole else manifest))


def table(entries):
    """LevelDB's sorted table."""
    file, index = b"", {}
    items = list(entries.items())
    for first in range(0, len(items), 20):
        block = items[first : first + 20]
        index[block[-1][0]] = _varint(len(file)) + _varint(len(_block(block)))
        file += _with_trailer(_block(block))
    empty, whole = _block([]), _block(list(index.items()))
    footer = _varint(len(file)) + _varint(len(empty))
    file += _with_trailer(empty)
    footer += _varint(len(file)) + _varint(len(whole))
    return file + _with_trailer(whole) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def _block(items):
    """Keys share their beginning with the one before, but for every sixteenth, where a reader may start."""
    content, starts, before = b"", [], b""
    for number, (key, value) in enumerate(items):
        shared = 0
        if number % 16 == 0:
            starts.append(len(content))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        content += _varint(shared) + _varint(len(key) - shared) + _varint(len(value)) + key[shared:] + value
        before = key
    starts = starts or [0]
    return content + struct.pack(f"<{len(starts) + 1}I", *starts, len(starts))


def _with_trailer(block, kind=b"\0"):
    return block + kind + struct.pack("<I", masked_crc32c(block + kind))


def _number(field, value):
    return _varint(field << 3) + _varint(value)


def _message(field, content):
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value):
    coded = bytearray()
    while value >= 0x80:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*coded, value])
