#!/usr/bin/env python3
"""De-quantizes every tensor of a GGUF file with the gguf package. Usage: read_gguf.py FILE.gguf VALUES.safetensors

Its version 0.19 knows no Q2_0. Needs scripts/peers/setup."""
import sys

import gguf
import numpy as np
from gguf import quants
from safetensors.numpy import save_file


def main():
    path, values = sys.argv[1:]
    shaped = {}
    for tensor in gguf.GGUFReader(path).tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        shaped[tensor.name] = quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
    save_file(shaped, values)


if __name__ == "__main__":
    main()
