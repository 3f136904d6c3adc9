#!/usr/bin/env python3
"""Makes tests/golden/gguf_blocks.gguf, random blocks of every type that the gguf package de-quantizes and Sterna
reads, and gguf_blocks.safetensors, what the package gives for them. Needs gguf, numpy, safetensors.
Usage: make_gguf_blocks.py [OUT]"""
import pathlib
import sys

import gguf
from gguf import quants
from safetensors.numpy import save_file

sys.path.append(str(pathlib.Path(__file__).parents[1] / "peers"))
import numpy as np
from make_gguf import BLOCKS, random_bits

OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2] / "tests/golden")


def main():
    rng = np.random.default_rng(20261122)
    writer = gguf.GGUFWriter(OUT / "gguf_blocks.gguf", "llama")
    values = {}
    for kind in BLOCKS:
        bits = random_bits(kind, 1, max(gguf.GGML_QUANT_SIZES[kind][0], 64), rng)
        writer.add_tensor(kind.name, bits, raw_dtype=kind)
        values[kind.name] = quants.dequantize(bits, kind).astype(np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(values, OUT / "gguf_blocks.safetensors")


if __name__ == "__main__":
    main()
