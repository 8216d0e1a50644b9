"""What an operator call is worth: the same formulas as kernels/abi, so that rates here equal those of the tools.

The dtype table repeats kDTypeTraits of kernels/abi/dtype.h; a test compares the two.
"""

from smepilot_report.text import span

BLOCKS = {  # elements per block, bytes per block in a GGUF file
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "q8_0": (32, 34),
    "q4_0": (32, 18),
    "q4_1": (32, 20),
    "q5_0": (32, 22),
    "q5_1": (32, 24),
    "iq4_nl": (32, 18),
    "q2_k": (256, 84),
    "q3_k": (256, 110),
    "q4_k": (256, 144),
    "q5_k": (256, 176),
    "q6_k": (256, 210),
    "q8": (32, 56),
}
SHAPE_FIELDS = ("kind", "dtype", "n", "k", "kv_heads")  # what an entry of a plan and an operator have in common
ONE_UNIT = {  # what the matrix unit has of a call of mode coop, for the other modes
    "matrix_variant": "",
    "matrix_workers": 0,
    "matrix_mc": 0,
    "matrix_nc": 0,
    "split_dim": "n",
    "split": 0,
    "split_of": 0,
    "dynamic": 0,
    "tile_rows": 0,
    "depth": 0,
}
CANDIDATE_FIELDS = ("variant", "mode", "workers", "mc", "nc", "kv_tile", "kv_splits", *ONE_UNIT)


def flops(op):
    """op_flops() of kernels/abi/kernel_variant.h."""
    if op["kind"] == "matmul":
        return 2.0 * op["m"] * op["n"] * op["k"]
    if op["kind"] == "attention":
        return 4.0 * op["n"] * op["k"] * op["m"] * (op["kv_len"] - (op["m"] - 1) / 2)
    return 4.0 * op["m"] * op["k"]


def bytes_moved(op):
    """op_bytes() of kernels/abi/kernel_variant.h; None for an element type that this generator does not know."""
    if op["kind"] in ("matmul", "attention") and op["dtype"] not in BLOCKS:
        return None
    if op["kind"] == "matmul":
        elements, size = BLOCKS[op["dtype"]]
        return op["n"] * op["k"] / elements * size + 4.0 * op["m"] * (op["n"] + op["k"])
    if op["kind"] == "attention":
        return (
            2.0 * op["kv_heads"] * op["kv_len"] * op["k"] * BLOCKS[op["dtype"]][1] + 8.0 * op["m"] * op["n"] * op["k"]
        )
    return 8.0 * op["m"] * op["k"]


def compute_dtype(variant, mode):
    """The type that a variant multiplies, from its id (op.dst.lhs.rhs.tile.isa.instruction), by the rule of
    compute_dtype() in profiles/roofline.cc."""
    parts = variant.split(".")
    if len(parts) < 6 or parts[0] != "matmul":
        return "f32"
    lhs, rhs, isa = parts[2], parts[3], parts[5]
    if lhs == "q8":
        return "int8"
    if mode == "matrix" and rhs in ("f16", "bf16"):
        return "f16" if rhs == "f16" and isa.startswith("sme") else "bf16"
    if (rhs, isa) in (("bf16", "avx512bf16"), ("f16", "fp16")):
        return rhs
    return "f32"


def describe_candidate(row):
    """A candidate in a line; sizes that do not apply are left out."""
    parts = [row["variant"], f"×{row['workers']}"]
    for name, label in (("mc", "mc"), ("nc", "nc"), ("kv_tile", "tile"), ("kv_splits", "splits")):
        if row[name]:
            parts.append(f"{label}\u00a0{row[name]}")
    if row["mode"] == "coop":
        parts += ["+", row["matrix_variant"], f"×{row['matrix_workers']}"]
        for name, label in (("matrix_mc", "mc"), ("matrix_nc", "nc"), ("tile_rows", "rows"), ("depth", "depth")):
            if row[name]:
                parts.append(f"{label}\u00a0{row[name]}")
        if row["split"]:
            parts.append(f"{row['split_dim']}\u00a0{row['split']}\u00a0of\u00a0{row['split_of']}")
        if row["dynamic"]:
            parts.append("dynamic")
    return " ".join(parts)


def blocking(row):
    return describe_candidate(row).partition(f"×{row['workers']}")[2].strip() or "—"


def describe_operator(op):
    if op["kind"] == "attention":
        return f"attention {op['n']} heads ({op['kv_heads']} KV) × {op['k']}, M {op['m']}, context {op['kv_len']}"
    return f"{op['kind']} {op['dtype']} {op['n']}×{op['k']}, M {op['m']}"


def describe_group(entry):
    """The operator of a plan entry, without M."""
    if entry["kind"] == "attention":
        where = f", context {span(1, entry['kv_max'])}" if entry["kv_max"] else ""
        return f"attention {entry['n']} heads ({entry['kv_heads']} KV) × {entry['k']}{where}"
    return f"{entry['kind']} {entry['dtype']} {entry['n']}×{entry['k']}"


def covers(entry, op):
    return (
        all(entry[f] == op[f] for f in SHAPE_FIELDS)
        and entry["m_min"] <= op["m"] <= entry["m_max"]
        and (op["kind"] != "attention" or op["kv_len"] <= entry["kv_max"])
    )


def same_candidate(a, b):
    return all(a[f] == b[f] for f in CANDIDATE_FIELDS)
