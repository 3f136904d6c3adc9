#!/usr/bin/env python3
"""Writes a GGUF file with the gguf package and what that package reads in it.
Usage: make_gguf.py FILE.gguf VALUES.safetensors METADATA.json SEED [ALIGNMENT]

Per type that the package quantizes to (F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, TQ1_0, TQ2_0) one tensor of
rounded heavy-tailed numbers, and per type (the K ones too) one of random bits (no NaN). VALUES holds every tensor de-quantized to fp32 by gguf.quants; METADATA.json
what was written under "test.". Needs scripts/peers/setup."""
import json
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as Value
from gguf import quants
from safetensors.numpy import save_file

TYPES = [Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q8_0, Type.Q5_0, Type.Q5_1, Type.TQ1_0, Type.TQ2_0]
# where a block has its fp16 numbers
HALVES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q2_K: [80, 82],
          Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.TQ1_0: [52], Type.TQ2_0: [64]}
BLOCKS = list(HALVES)
METADATA = {"u8": (250, Value.UINT8), "i8": (-7, Value.INT8), "u16": (65000, Value.UINT16), "i16": (-300, Value.INT16),
            "u32": (4000000000, Value.UINT32), "i32": (-70000, Value.INT32), "u64": (1 << 62, Value.UINT64),
            "i64": (-(1 << 62), Value.INT64), "f32": (0.15625, Value.FLOAT32), "f64": (0.1, Value.FLOAT64),
            "yes": (True, Value.BOOL), "text": ("Straße 鳥\n\u0000end", Value.STRING), "none": ("", Value.STRING)}
ARRAYS = {"ints": [3, -1, 7], "floats": [0.5, -0.25], "texts": ["a", "", "é\n"], "bools": [True, False, True]}


def finite(bits, exponent):
    """Clears a bit of the exponent where all of them are set."""
    low = exponent & (~exponent + 1)
    return np.where(bits & exponent == exponent, bits & ~low, bits)


def random_bits(kind, rows, columns, rng):
    if kind == Type.F32:
        return finite(rng.integers(0, 1 << 32, (rows, columns), dtype=np.uint32), np.uint32(0x7F800000)).view(np.float32)
    if kind == Type.F16:
        return finite(rng.integers(0, 1 << 16, (rows, columns), dtype=np.uint16), np.uint16(0x7C00)).view(np.float16)
    if kind == Type.BF16:
        return finite(rng.integers(0, 1 << 16, (rows, columns), dtype=np.uint16), np.uint16(0x7F80)).view(np.uint8)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows * columns // elements, size), dtype=np.uint8)
    for at in HALVES[kind]:
        half = blocks[:, at:at + 2].copy().view(np.uint16)
        blocks[:, at:at + 2] = finite(half, np.uint16(0x7C00)).view(np.uint8)
    return blocks.reshape(rows, -1)


def tensors(rng):
    for kind in TYPES + [kind for kind in BLOCKS if kind not in TYPES]:
        width = gguf.GGML_QUANT_SIZES[kind][0]
        if kind in TYPES:
            numbers = (rng.standard_normal((6, max(96, width))) ** 3).astype(np.float32)
            numbers[2] = 0
            yield f"blk.0.{kind.name}.rounded", kind, quants.quantize(numbers, kind)
        yield f"blk.0.{kind.name}.bits", kind, random_bits(kind, 5, max(64, 2 * width), rng)
    yield "one.dimension", Type.F32, rng.standard_normal(33).astype(np.float32)
    yield "three.dimensions", Type.F16, rng.standard_normal((2, 3, 4)).astype(np.float16)


def main():
    path, values, metadata, seed = sys.argv[1:5]
    writer = gguf.GGUFWriter(path, "llama")
    if len(sys.argv) > 5:
        writer.add_custom_alignment(int(sys.argv[5]))
    for key, (value, kind) in METADATA.items():
        writer.add_key_value("test." + key, value, kind)
    for key, value in ARRAYS.items():
        writer.add_array("test." + key, value)
    for name, kind, data in tensors(np.random.default_rng(int(seed))):
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    read = gguf.GGUFReader(path)
    shaped = {}
    for tensor in read.tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        shaped[tensor.name] = quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
    save_file(shaped, values)
    with open(metadata, "w") as file:
        json.dump({"test." + key: value for key, (value, _) in METADATA.items()} |
                  {"test." + key: value for key, value in ARRAYS.items()}, file)


if __name__ == "__main__":
    main()
