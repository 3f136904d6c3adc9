#!/usr/bin/env python3
"""What decoding packed weights costs a GPU: SASS instructions per 32-bit word of codes. Needs nvcc, no GPU.

Usage: sass_counts.py [--disassembler CUOBJDUMP]

Compiles the kernels' own decoding (kernels/gpu_layout.h, gpu_stream_body.h) for one and for three units a lane; the
difference of the two programs, less loads, stores and copies of constants, is what two units cost. Without cuobjdump on the path, the one
that the torch wheel's triton brings is taken. Printed is a table in Markdown."""
import argparse
import collections
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
ARCHITECTURES = ("sm_80", "sm_90a")
FORMATS = [("two bits (ternary too)", "kTwoBit"), ("four bits", "kFourBit"), ("dINT", "kDint"), ("eight bits", "kEightBit")]
MODES = [("bytes for tensor cores", 0), ("bytes times one token (dp4a)", 1), ("bf16 for tensor cores", 2)]
WORDS = 8  # of two units
LOADS = re.compile(r"LD|ST|EXIT|NOP|BRA")
MOVES = re.compile(r"MOV|IMAD\.MOV|IMAD\.U32|UMOV")  # of constants, which the kernels' loops keep in registers

SOURCE = r"""
#include "kernels/gpu_device.h"
#include "kernels/gpu_stream_body.h"
using namespace sterna::kernels;
struct Room { uint32_t* at; const Pair* x; };
template <CodeFormat F, int kMode, int S, class Sums>
__device__ __forceinline__ void steps(const Words& raw, const uint32_t (&last)[2], float offset, Sums& sums, Room& room) {
  if constexpr (S < UnitOf<F>::kSteps) {
    uint32_t quads[2][2];
    decode_step<F, S, kMode == 1>(raw, last, quads);
    if constexpr (kMode == 1) {
      const Pair eight = *room.x++;
      sums.template add<S>(quads, [&](int) { return eight; });
    }
    for (int h = 0; h < 2; ++h)
      for (int r = 0; r < 2; ++r) {
        if constexpr (kMode == 0) *room.at++ = quads[h][r];
        if constexpr (kMode == 2) {
          *room.at++ = bf16_pair(byte_value<0>(quads[h][r], offset), byte_value<1>(quads[h][r], offset));
          *room.at++ = bf16_pair(byte_value<2>(quads[h][r], offset), byte_value<3>(quads[h][r], offset));
        }
      }
    steps<F, kMode, S + 1>(raw, last, offset, sums, room);
  }
}
template <CodeFormat F, int kMode, int kUnits>
__device__ __forceinline__ void probe(const uint8_t* in, const Pair* x, uint32_t* out, uint2 last, float offset) {
  const uint32_t both[2] = {last.x, last.y};
  LaneSums<F, 1, false> sums;
  Room room{out, x};
#pragma unroll
  for (int unit = 0; unit < kUnits; ++unit)
    steps<F, kMode, 0>(gpu::load_once(in + unit * 16), both, offset, sums, room);
  if (kMode == 1)
    for (int h = 0; h < 2; ++h)
      for (int p = 0; p < LaneSums<F, 1, false>::kPlaces; ++p)
        out[h * 4 + p] = static_cast<uint32_t>(sums.sums[h][0][p]);
}
"""


def source():
    text = SOURCE
    for _, form in FORMATS:
        for _, mode in MODES:
            for units in (1, 3):
                text += (f'extern "C" __global__ void probe_{form}_{mode}_{units}(const uint8_t* in, const Pair* x, uint32_t* out, '
                         f"uint2 last, float offset) {{ probe<CodeFormat::{form}, {mode}, {units}>(in, x, out, last, offset); }}\n")
    return text


def disassembler(given):
    bundled = sorted(pathlib.Path.home().glob(".cache/sterna/torch-*/lib/python3*/site-packages/triton/backends/nvidia/bin/cuobjdump"))
    found = given or shutil.which("cuobjdump") or (str(bundled[-1]) if bundled else None)
    if not found:
        sys.exit("no cuobjdump: install the CUDA toolkit's, or name one with --disassembler")
    return found


def counts(tool, architecture, folder):
    """{kernel: Counter of opcodes}"""
    cubin = folder / f"{architecture}.cubin"
    subprocess.run(["nvcc", "-std=c++17", "-O2", f"-I{ROOT}", f"-arch={architecture}", "-cubin", "-o", cubin,
                    folder / "probe.cu"], check=True)
    listing = subprocess.run([tool, "--dump-sass", cubin], check=True, capture_output=True, text=True,
                             env={"PATH": f"{pathlib.Path(tool).parent}:/usr/bin:/bin"}).stdout
    kernels, now = {}, None
    for line in listing.splitlines():
        if match := re.search(r"Function : (\w+)", line):
            now = kernels[match[1]] = collections.Counter()
        elif match := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", line):
            now[match[1]] += 1
    return kernels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disassembler", help="a cuobjdump")
    tool = disassembler(parser.parse_args().disassembler)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "probe.cu").write_text(source())
        print("| codes | to | " + " | ".join(ARCHITECTURES) + " | of which |\n|" + "---|" * (3 + len(ARCHITECTURES)))
        by_architecture = [counts(tool, each, folder) for each in ARCHITECTURES]
    for form_name, form in FORMATS:
        for mode_name, mode in MODES:
            sums, parts = [], collections.Counter()
            for kernels in by_architecture:
                more = kernels[f"probe_{form}_{mode}_3"]
                more.subtract(kernels[f"probe_{form}_{mode}_1"])
                parts = collections.Counter()
                for op, n in more.items():
                    if not LOADS.match(op) and not MOVES.match(op):
                        parts[op.split(".")[0]] += n / WORDS
                sums.append(f"{sum(parts.values()):g}")
            listed = ", ".join(f"{n:g} {op}" for op, n in parts.most_common() if n)
            print(f"| {form_name} | {mode_name} | " + " | ".join(sums) + f" | {listed} |")


if __name__ == "__main__":
    main()
