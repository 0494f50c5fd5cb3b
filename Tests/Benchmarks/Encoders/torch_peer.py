#!/usr/bin/env python3
"""Tokens per CPU second of the same model in torch, one thread, at the same shapes as encoder-benchmark."""
import sys
import time

import torch
from transformers import AutoModel

SHAPES = [(1, 12), (8, 12), (64, 12), (1, 76), (32, 76), (256, 76), (8, 256), (256, None)]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def lengths(texts, tokens):
    return [tokens or 8 + i * 37 % 137 for i in range(texts)]


def batches(sizes):
    """Sorted by length and padded, 32 at a time, as sentence-transformers does it."""
    sizes = sorted(sizes, reverse=True)
    for start in range(0, len(sizes), 32):
        part = sizes[start:start + 32]
        ids = torch.full((len(part), part[0]), 1996)
        mask = torch.tensor([[1 if i < size else 0 for i in range(part[0])] for size in part])
        yield ids, mask


def main():
    torch.set_num_threads(1)
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 2.0
    print(f"torch {torch.__version__}, one thread, {torch.backends.cpu.get_cpu_capability()}")
    print("texts x tokens  " + "".join(f"{name + ' tokens/s':>22}" for name in PRECISIONS))
    model = AutoModel.from_pretrained(sys.argv[1], attn_implementation="sdpa").eval()
    for texts, tokens in SHAPES:
        sizes = lengths(texts, tokens)
        work = list(batches(sizes))
        line = f"{texts} x {tokens or '8-144'}".rjust(14) + "  "
        for kind in PRECISIONS.values():
            times = []
            with torch.inference_mode(), torch.autocast("cpu", dtype=kind, enabled=kind != torch.float32):
                while len(times) < 4 or sum(times) < seconds:
                    start = time.thread_time()
                    for ids, mask in work:
                        model(input_ids=ids, attention_mask=mask)
                    times.append(time.thread_time() - start)
            line += f"{sum(sizes) / sorted(times[1:])[len(times[1:]) // 2]:22.0f}"
        print(line, flush=True)


main()
