#!/usr/bin/env python3
"""Writes dequantized.bin: random blocks of every block type that weights may have, and their values as the `gguf`
package of ggml's authors computes them (gguf.quants.dequantize). Needs gguf and numpy; the same bytes on every run.

The file is a sequence of records, little-endian: u32 ggml type, u32 blocks, the blocks as a GGUF file stores them,
f32 values.
"""
import struct
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize

BLOCKS = 3
# Type, and where a block has its f16 scales: random bytes there could be infinite.
TYPES = [
    (Type.Q8_0, [0]),
    (Type.Q4_0, [0]),
    (Type.Q4_1, [0, 2]),
    (Type.Q5_0, [0]),
    (Type.Q5_1, [0, 2]),
    (Type.IQ4_NL, [0]),
    (Type.Q2_K, [80, 82]),
    (Type.Q3_K, [108]),
    (Type.Q4_K, [0, 2]),
    (Type.Q5_K, [0, 2]),
    (Type.Q6_K, [208]),
]


def main():
    random = np.random.default_rng(1)
    with open(Path(__file__).with_name("dequantized.bin"), "wb") as out:
        for kind, scales in TYPES:
            _, size = GGML_QUANT_SIZES[kind]
            blocks = random.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
            for at in scales:
                blocks[:, at : at + 2] = random.normal(0, 1, (BLOCKS, 1)).astype(np.float16).view(np.uint8)
            values = dequantize(blocks, kind).astype("<f4").ravel()
            out.write(struct.pack("<II", kind, BLOCKS) + blocks.tobytes() + values.tobytes())


if __name__ == "__main__":
    main()
