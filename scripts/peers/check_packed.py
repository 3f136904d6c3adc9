#!/usr/bin/env python3
"""Unpacks the matrices of an export in a packed layout with that layout's own code, or by its documentation
where that code does not install, and compares them bit for bit with a dense export in fp32.
Usage: check_packed.py EXPORT DENSE

compressed-tensors: the package's compressor. hf-bitnet: transformers' unpack_weights. gptq: numpy, written from
the layout's description (the readers of transformers need a package that builds CUDA kernels).
Needs scripts/peers/setup."""
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import load_file


def load_folder(folder):
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def modules_with(tensors, part):
    return sorted(name[: -len(part) - 1] for name in tensors if name.endswith("." + part))


def scheme_of(settings, module):
    from compressed_tensors.quantization import QuantizationScheme

    groups = settings["config_groups"].values()
    named = [group for group in groups if module in group["targets"]]
    group = named[0] if named else next(group for group in groups if "Linear" in group["targets"])
    return QuantizationScheme(**group)


def unpack_compressed_tensors(tensors, settings):
    from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor

    for module in modules_with(tensors, "weight_packed"):
        state = {name: tensors[f"{module}.{name}"] for name in
                 ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape") if f"{module}.{name}" in tensors}
        # The values of two-byte scales are fp32 numbers too, and products of those are not rounded to two bytes.
        state["weight_scale"] = state["weight_scale"].float()
        yield module, PackedQuantizationCompressor.decompress(state, scheme_of(settings, module))["weight"]


def unpack_bitnet(tensors, _settings):
    from transformers.integrations.bitnet import unpack_weights

    for module in modules_with(tensors, "weight_scale"):
        codes = unpack_weights(tensors[f"{module}.weight"], dtype=torch.float32)
        yield module, codes * tensors[f"{module}.weight_scale"].float()


def bits_of(words, bits, count):
    """uint32 [R, W] -> [R, count], a little-endian bit stream a row"""
    stream = np.unpackbits(words.view(np.uint8).reshape(len(words), -1), axis=1, bitorder="little")
    values = stream[:, : count * bits].reshape(len(words), count, bits)
    return (values << np.arange(bits, dtype=np.uint8)).sum(axis=2)


def unpack_gptq(tensors, settings):
    bits = settings["bits"]
    for module in modules_with(tensors, "qweight"):
        qweight = tensors[f"{module}.qweight"].numpy().view(np.uint32)  # [K b / 32, N]
        qzeros = tensors[f"{module}.qzeros"].numpy().view(np.uint32)  # [G, N b / 32]
        scales = tensors[f"{module}.scales"].float().numpy()  # [G, N]
        group = tensors[f"{module}.g_idx"].numpy()  # [K]
        outputs = qweight.shape[1]
        codes = bits_of(np.ascontiguousarray(qweight.T), bits, len(group)).T.astype(np.int64)  # [K, N]
        zeros = bits_of(qzeros, bits, outputs).astype(np.int64)
        if settings.get("checkpoint_format") != "gptq_v2":
            zeros += 1
        weight = (codes - zeros[group]).astype(np.float32) * scales[group]
        yield module, torch.from_numpy(np.ascontiguousarray(weight.T))


UNPACKERS = {"compressed-tensors": unpack_compressed_tensors, "bitnet": unpack_bitnet, "gptq": unpack_gptq}


def main() -> int:
    export, dense = pathlib.Path(sys.argv[1]), load_folder(pathlib.Path(sys.argv[2]))
    settings = json.loads((export / "config.json").read_text())["quantization_config"]
    found = 0
    for module, weight in UNPACKERS[settings["quant_method"]](load_folder(export), settings):
        expected = dense[f"{module}.weight"]
        if weight.shape != expected.shape or not torch.equal(weight.float() + 0.0, expected.float() + 0.0):
            wrong = (weight.float() != expected.float()).sum().item() if weight.shape == expected.shape else "all"
            print(f"{module}: {wrong} of {expected.numel()} weights differ")
            return 1
        found += 1
    print(f"{found} matrices of {settings['quant_method']} are those of the dense export, bit for bit")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
