#!/usr/bin/env python3
"""Lists the tensors of a safetensors file as the safetensors package reads them, and writes what it
read again. Usage: list_safetensors.py FILE LISTING.json COPY [SEED]

LISTING.json: {name: [dtype, shape, SHA-256 of the bytes]}. With a SEED, FILE is made first, with a
tensor of every dtype that torch has. Needs scripts/peers/setup."""
import hashlib
import json
import pathlib
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

DTYPES = [torch.bool, torch.uint8, torch.int8, torch.float8_e5m2, torch.float8_e4m3fn, torch.float8_e5m2fnuz,
          torch.float8_e4m3fnuz, torch.int16, torch.uint16, torch.float16, torch.bfloat16, torch.int32,
          torch.uint32, torch.float32, torch.complex64, torch.float64, torch.int64, torch.uint64]


def random_tensor(dtype, shape, generator):
    bits = torch.randint(0, 256, shape + (dtype.itemsize,), generator=generator, dtype=torch.uint8)
    if dtype == torch.bool:
        bits %= 2
    return bits.view(dtype).reshape(shape)


def make(path, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = {f"t.{dtype}".replace("torch.", ""): random_tensor(dtype, (3, 7), generator) for dtype in DTYPES}
    tensors["ein Skalar – é"] = random_tensor(torch.float16, (), generator)
    tensors["empty"] = torch.empty(0, 5)
    tensors["deep"] = random_tensor(torch.uint8, (2, 1, 3, 1, 5), generator)
    save_file(tensors, path, metadata={"format": "pt", "quote\"d": "line\nbreak \\ ü"})


def as_bytes(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def main():
    path, listing, copy = map(pathlib.Path, sys.argv[1:4])
    if len(sys.argv) > 4:
        make(path, int(sys.argv[4]))
    rows, tensors = {}, {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():
            part, tensors[name] = file.get_slice(name), file.get_tensor(name)
            rows[name] = [part.get_dtype(), part.get_shape(), hashlib.sha256(as_bytes(tensors[name])).hexdigest()]
        save_file(tensors, copy, metadata=file.metadata())
    listing.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
