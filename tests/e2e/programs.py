"""What the end-to-end tests share: running the programs, and a model of a few kilobytes to run them on."""

import os
import random
import shlex
import shutil
import struct
import subprocess
import tempfile
import unittest

EMULATOR = shlex.split(os.environ.get("SMEPILOT_EMULATOR", ""))
SMETUNE = EMULATOR + [os.environ["SMETUNE"]]
RUN = EMULATOR + [os.environ["SMEPILOT_RUN"]]
SHARED_MODELS = os.path.join(os.environ.get("SMEPILOT_SHARED_DIR", ""), "models")

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def gguf_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(value):
    """(type, payload) of a metadata value."""
    if isinstance(value, bool):
        return BOOL, struct.pack("<B", value)
    if isinstance(value, int):
        return U32, struct.pack("<I", value)
    if isinstance(value, float):
        return F32, struct.pack("<f", value)
    if isinstance(value, str):
        return STRING, gguf_string(value)
    element = STRING if isinstance(value[0], str) else F32 if isinstance(value[0], float) else I32
    items = b"".join(gguf_string(v) if element == STRING else struct.pack("<f" if element == F32 else "<i", v)
                     for v in value)
    return ARRAY, struct.pack("<IQ", element, len(value)) + items


def write_model(path, context=128, architecture="llama", tensor_type=0, magic=b"GGUF", seed=1, chat_template=""):
    """A llama model of one layer with random f32 weights and a vocabulary of bytes. Returns the file's bytes."""
    rng = random.Random(seed)
    d, heads, kv_heads, head_dim, ff = 32, 4, 2, 8, 64
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    a = architecture
    values = {
        "general.architecture": a, "general.name": "e2e-model", a + ".block_count": 1, a + ".embedding_length": d,
        a + ".feed_forward_length": ff, a + ".context_length": context, a + ".attention.head_count": heads,
        a + ".attention.head_count_kv": kv_heads, a + ".attention.layer_norm_rms_epsilon": 1e-5,
        a + ".rope.freq_base": 10000.0, "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256, "tokenizer.ggml.scores": [0.0] * len(tokens),
        "tokenizer.ggml.add_space_prefix": False,
    }
    if chat_template:
        values["tokenizer.chat_template"] = chat_template
    shapes = {
        "token_embd.weight": [d, len(tokens)], "output_norm.weight": [d], "blk.0.attn_norm.weight": [d],
        "blk.0.ffn_norm.weight": [d], "blk.0.attn_q.weight": [d, heads * head_dim],
        "blk.0.attn_k.weight": [d, kv_heads * head_dim], "blk.0.attn_v.weight": [d, kv_heads * head_dim],
        "blk.0.attn_output.weight": [heads * head_dim, d], "blk.0.ffn_gate.weight": [d, ff],
        "blk.0.ffn_up.weight": [d, ff], "blk.0.ffn_down.weight": [ff, d],
    }
    out = magic + struct.pack("<IQQ", 3, len(shapes), len(values))
    for key, value in values.items():
        kind, payload = gguf_value(value)
        out += gguf_string(key) + struct.pack("<I", kind) + payload
    data = b""
    for name, shape in shapes.items():
        count = 1
        for s in shape:
            count *= s
        out += gguf_string(name) + struct.pack("<I%dQ" % len(shape), len(shape), *shape)
        out += struct.pack("<IQ", tensor_type if name.endswith("ffn_up.weight") else 0, len(data))
        norm = len(shape) == 1
        data += struct.pack("<%df" % count, *(rng.uniform(0.5 if norm else -0.3, 1.5 if norm else 0.3)
                                              for _ in range(count)))
        data += bytes(-len(data) % 32)
    out += bytes(-len(out) % 32) + data
    with open(path, "wb") as f:
        f.write(out)
    return out


class ProgramTest(unittest.TestCase):
    """A folder, a database and a model in it, and ways to run the programs on them."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="smepilot-e2e-")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.db = self.path("plans.db")
        self.model = self.path("model.gguf")
        self.model_bytes = write_model(self.model)
        self.env = dict(os.environ, XDG_DATA_HOME=self.folder, XDG_CACHE_HOME=self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, program, *args, **kwargs):
        return subprocess.Popen([*program, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                stdin=subprocess.DEVNULL, env=self.env, **kwargs)

    def execute(self, program, args, stdin=b""):
        """(exit code, standard output, standard error), the last two as text. No test may hang or die by a signal."""
        p = subprocess.run([*program, *args], input=stdin, capture_output=True, env=self.env, timeout=120)
        out, err = p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")
        self.assertGreaterEqual(p.returncode, 0, "ended by a signal: %s\n%s%s" % (args, out, err))
        return p.returncode, out, err

    def run_model(self, *args, **kwargs):
        return self.execute(RUN, args, **kwargs)

    def smetune(self, *args):
        return self.execute(SMETUNE, [*args, "--db", self.db])

    def assert_fails(self, args, *parts, code=1, program=RUN):
        """The exit code is `code` and standard error has all of `parts`, in one message and without a crash."""
        found, out, err = self.execute(program, args)
        self.assertEqual(found, code, "%s\n%s%s" % (args, out, err))
        for part in parts:
            self.assertIn(part, err, args)
        if code == 1:
            self.assertNotIn("unexpected", err)
        return err

    def assert_works(self, args, program=RUN, stdin=b""):
        code, out, err = self.execute(program, args, stdin)
        self.assertEqual(code, 0, "%s\n%s%s" % (args, out, err))
        return out, err
