"""Untrained attention models of a size that answers in milliseconds, for tests of the page: safetensors by hand."""

import json
import random
import struct

ARCH = """arch:
  name: recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1
  loss: {name: losses@ACTLossHead, loss_type: stablemax_cross_entropy}
  H_cycles: 1
  L_cycles: 1
  H_layers: 0
  L_layers: 1
  hidden_size: 16
  expansion: 4
  num_heads: 2
  puzzle_emb_ndim: 16
  puzzle_emb_len: 1
  pos_encodings: rope
  mlp_t: false
  forward_dtype: float32
  halt_max_steps: 16
  halt_exploration_prob: 0.1
  no_ACT_continue: true
"""


def write_tiny_model(file, vocabulary, identifiers=1, seed=0):
    """30x30 mazes have a vocabulary of 6, ARC tasks of 12."""
    shapes = {"H_init": [16], "L_init": [16], "embed_tokens.embedding_weight": [vocabulary, 16],
              "lm_head.weight": [vocabulary, 16], "q_head.weight": [2, 16], "q_head.bias": [2],
              "puzzle_emb.weights": [identifiers, 16],
              "L_level.layers.0.self_attn.qkv_proj.weight": [48, 16],
              "L_level.layers.0.self_attn.o_proj.weight": [16, 16],
              "L_level.layers.0.mlp.gate_up_proj.weight": [512, 16],
              "L_level.layers.0.mlp.down_proj.weight": [16, 256]}
    draw = random.Random(seed)
    header, data = {"__metadata__": {"all_config": ARCH}}, b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = struct.pack(f"<{count}f", *(draw.gauss(0, .5) for _ in range(count)))
        header["model.inner." + name] = {"dtype": "F32", "shape": shape,
                                         "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(file, "wb") as out:
        out.write(struct.pack("<Q", len(head)) + head + data)
