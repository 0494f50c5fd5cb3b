#!/usr/bin/env python3
"""Makes small models in published layouts, with seeded random weights, and what they make of some texts.

The vectors are computed here from the definitions, in float64, by plain NumPy: nothing is shared with the encoders that
are tested against them. Run in this folder; needs NumPy alone.
"""
import json
import os
import re
import struct

import numpy as np

PIECES = (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list("_:,.")
          + "search query document play chess game text editor image music player network server the a of".split())
IDS = {piece: i for i, piece in enumerate(PIECES)}
CLS, SEP, UNK = IDS["[CLS]"], IDS["[SEP]"], IDS["[UNK]"]
TEXTS = ["play chess", "the text editor", "music, of a player.", "chess chess chess", "", "unheard words of music"]
LONG = " ".join(PIECES[9 + i * 7 % 16] for i in range(300))


def ids_of(text):
    return [IDS.get(word, UNK) for word in re.findall(r"[a-z]+|[^a-z\s]", text.lower())]


class Weights:
    """Random tensors that the file's type holds exactly."""

    def __init__(self, seed, kind):
        self.random, self.kind, self.tensors = np.random.default_rng(seed), kind, {}

    def make(self, name, *shape, scale=1.0, shift=0.0):
        values = (self.random.standard_normal(shape) * scale + shift).astype(np.float32)
        if self.kind == "F16":
            values = values.astype(np.float16).astype(np.float32)
        if self.kind == "BF16":
            values = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
        self.tensors[name] = values
        return values.astype(np.float64)

    def linear(self, name, outputs, inputs, bias=True):
        weight = self.make(name + ".weight", outputs, inputs, scale=inputs**-0.5)
        shift = self.make(name + ".bias", outputs, scale=0.1) if bias else 0
        return lambda x: x @ weight.T + shift

    def norm(self, name, width):
        weight = self.make(name + ".weight", width, scale=0.1, shift=1)
        bias = self.make(name + ".bias", width, scale=0.1)
        return lambda x: layer_norm(x, 1e-12) * weight + bias

    def packed(self, name):
        values = self.tensors[name]
        if self.kind == "F16":
            return values.astype("<f2").tobytes()
        if self.kind == "BF16":
            return (values.view(np.uint32) >> 16).astype("<u2").tobytes()
        return values.astype("<f4").tobytes()

    def save(self, path, names=None):
        header, data = {}, b""
        for name in names or self.tensors:
            start = len(data)
            data += self.packed(name)
            shape = list(self.tensors[name].shape)
            header[name] = {"dtype": self.kind, "shape": shape, "data_offsets": [start, len(data)]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + data)


def layer_norm(x, epsilon):
    mean = x.mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis=-1, keepdims=True) + epsilon)


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def gelu(x):
    from math import erf
    return x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2


def unit(x):
    return x / max(np.linalg.norm(x), 1e-30)


def attention(q, k, v, heads):
    parts = []
    for q1, k1, v1 in zip(*(np.split(x, heads, axis=1) for x in (q, k, v))):
        parts.append(softmax(q1 @ k1.T / np.sqrt(q1.shape[1])) @ v1)
    return np.concatenate(parts, axis=1)


def rotary(x, heads, base):
    """Pairs (i, i + half) of each head turn by position / base^(2i / width)."""
    turned = []
    for part in np.split(x, heads, axis=1):
        half = part.shape[1] // 2
        angles = np.outer(np.arange(len(part)), base ** (-np.arange(half) / half))
        first, second = part[:, :half], part[:, half:]
        turned.append(np.concatenate([first * np.cos(angles) - second * np.sin(angles),
                                      second * np.cos(angles) + first * np.sin(angles)], axis=1))
    return np.concatenate(turned, axis=1)


def write(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(value if isinstance(value, str) else json.dumps(value, indent=1) + "\n")


def tokenizer(frame):
    special = [{"id": IDS[piece], "content": piece, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for piece in PIECES[:5]]
    template = {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                           {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
                "pair": [],
                "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [CLS], "tokens": ["[CLS]"]},
                                   "[SEP]": {"id": "[SEP]", "ids": [SEP], "tokens": ["[SEP]"]}}}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
            "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                           "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": template if frame else None,
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": IDS}}


def modules(*parts):
    return [{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers.models." + kind}
            for i, (kind, path) in enumerate(parts)]


def bert_core(w, layer_count, width, heads, inner, positions):
    """Random weights of a BERT encoder, and the rows that it makes of ids."""
    tokens = w.make("embeddings.word_embeddings.weight", len(PIECES), width)
    places = w.make("embeddings.position_embeddings.weight", positions, width)
    types = w.make("embeddings.token_type_embeddings.weight", 2, width)
    start = w.norm("embeddings.LayerNorm", width)
    layers = []
    for i in range(layer_count):
        name = f"encoder.layer.{i}."
        layers.append([w.linear(name + "attention.self." + part, width, width) for part in ("query", "key", "value")]
                      + [w.linear(name + "attention.output.dense", width, width),
                         w.norm(name + "attention.output.LayerNorm", width),
                         w.linear(name + "intermediate.dense", inner, width),
                         w.linear(name + "output.dense", width, inner), w.norm(name + "output.LayerNorm", width)])

    def rows(ids):
        x = start(tokens[ids] + places[:len(ids)] + types[0])
        for q, k, v, mix, norm1, up, down, norm2 in layers:
            x = norm1(x + mix(attention(q(x), k(x), v(x), heads)))
            x = norm2(x + down(gelu(up(x))))
        return x

    return rows


def bert():
    """CLS pooling, a dense layer, F16 in two shards, vocab.txt, a prompt for queries, twelve tokens at most."""
    width, heads, inner, outputs, limit = 16, 2, 32, 24, 12
    w = Weights(1, "F16")
    rows = bert_core(w, 2, width, heads, inner, 32)
    top = Weights(2, "F32")
    dense = top.linear("linear", outputs, width)
    prompts = {"query": "search: ", "passage": ""}

    os.makedirs("bert/2_Dense", exist_ok=True)
    names = list(w.tensors)
    shards = {"model-00001-of-00002.safetensors": names[:20], "model-00002-of-00002.safetensors": names[20:]}
    for file, part in shards.items():
        w.save("bert/" + file, part)
    write("bert/model.safetensors.index.json",
          {"metadata": {}, "weight_map": {name: file for file, part in shards.items() for name in part}})
    top.save("bert/2_Dense/model.safetensors")
    write("bert/vocab.txt", "".join(piece + "\n" for piece in PIECES))
    write("bert/tokenizer_config.json", {"do_lower_case": True, "tokenizer_class": "BertTokenizer"})
    write("bert/config.json", {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": width,
        "num_hidden_layers": 2, "num_attention_heads": heads, "intermediate_size": inner, "vocab_size": len(PIECES),
        "max_position_embeddings": 32, "layer_norm_eps": 1e-12, "type_vocab_size": 2, "torch_dtype": "float16",
        "position_embedding_type": "absolute", "matryoshka_dimensions": [8, 12]})
    write("bert/sentence_bert_config.json", {"max_seq_length": limit, "do_lower_case": False})
    write("bert/config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None,
                                                     "similarity_fn_name": "cosine"})
    write("bert/1_Pooling/config.json", {"word_embedding_dimension": width, "pooling_mode_cls_token": True,
                                         "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False})
    write("bert/2_Dense/config.json", {"in_features": width, "out_features": outputs, "bias": True,
                                       "activation_function": "torch.nn.modules.activation.Tanh"})
    write("bert/modules.json", modules(("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"),
                                       ("Normalize", "3_Normalize")))

    def encode(text, role):
        ids = [CLS] + ids_of((prompts["query"] if role == "query" else "") + text)[:limit - 2] + [SEP]
        return unit(np.tanh(dense(rows(ids)[0])))

    return encode


QUERY = "Represent this sentence for searching relevant passages: "


def published(folder, seed, kind, pooling, prompts, extra, dense=None, normalises=True, limit=512, named="", v5=False):
    """A BERT encoder with the files and members of its kind on the hub, by other numbers."""
    width, heads, inner = 16, 2, 32
    w = Weights(seed, kind)
    rows = bert_core(w, 2, width, heads, inner, limit)
    w.make("embeddings.position_ids", 1, limit)
    w.linear("pooler.dense", width, width)
    if named:
        w.tensors = {named + name: values for name, values in w.tensors.items()}
    os.makedirs(folder, exist_ok=True)
    w.save(folder + "/model.safetensors")
    parts = [("Transformer", ""), ("Pooling", "1_Pooling")]
    layer = None
    if dense:
        top = Weights(seed + 100, "F32")
        layer = top.linear("linear", dense, width)
        os.makedirs(folder + "/2_Dense", exist_ok=True)
        top.save(folder + "/2_Dense/model.safetensors")
        write(folder + "/2_Dense/config.json", {"in_features": width, "out_features": dense, "bias": True,
                                                "activation_function": "torch.nn.modules.linear.Identity"})
        parts.append(("Dense", "2_Dense"))
    if normalises:
        parts.append(("Normalize", f"{len(parts)}_Normalize"))
    write(folder + "/modules.json", modules(*parts))
    file = tokenizer(True)
    file["truncation"] = {"direction": "Right", "max_length": limit, "strategy": "LongestFirst", "stride": 0}
    file["padding"] = {"strategy": {"Fixed": limit}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                       "pad_type_id": 0, "pad_token": "[PAD]"}
    write(folder + "/tokenizer.json", file)
    write(folder + "/tokenizer_config.json", {
        "added_tokens_decoder": {"0": {"content": "[PAD]", "special": True}}, "clean_up_tokenization_spaces": True,
        "cls_token": "[CLS]", "do_lower_case": True, "mask_token": "[MASK]", "max_length": limit, "model_max_length": limit,
        "pad_to_multiple_of": None, "pad_token": "[PAD]", "pad_token_type_id": 0, "padding_side": "right",
        "sep_token": "[SEP]", "stride": 0, "strip_accents": None, "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer", "truncation_side": "right", "unk_token": "[UNK]"})
    write(folder + "/special_tokens_map.json", {"cls_token": "[CLS]"})
    write(folder + "/config.json", {
        "architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1, "classifier_dropout": None,
        "gradient_checkpointing": False, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": width,
        "initializer_range": 0.02, "intermediate_size": inner, "layer_norm_eps": 1e-12, "max_position_embeddings": limit,
        "model_type": "bert", "num_attention_heads": heads, "num_hidden_layers": 2, "pad_token_id": 0,
        "position_embedding_type": "absolute", "type_vocab_size": 2, "vocab_size": len(PIECES), **extra})
    write(folder + "/sentence_bert_config.json", {"max_seq_length": limit, "do_lower_case": False})
    names = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
    pool = {"word_embedding_dimension": width, **{f"pooling_mode_{name}": name == pooling for name in names},
            "include_prompt": True}
    if v5:
        pool = {"embedding_dimension": width, "pooling_mode": "cls" if pooling == "cls_token" else "mean",
                "include_prompt": True}
    write(folder + "/1_Pooling/config.json", pool)
    settings = {"__version__": {"sentence_transformers": "5.0.0", "transformers": "4.53.0", "pytorch": "2.7.0"},
                "prompts": prompts, "default_prompt_name": None}
    if v5:
        settings |= {"model_type": "SentenceTransformer", "similarity_fn_name": "cosine"}
    write(folder + "/config_sentence_transformers.json", settings)

    def encode(text, role):
        prompt = prompts.get("query", "") if role == "query" else ""
        x = rows([CLS] + ids_of(prompt + text)[:limit - 2] + [SEP])
        x = x[0] if pooling == "cls_token" else x.mean(axis=0)
        return unit(layer(x) if layer else x)

    return encode


def snowflake():
    return published("snowflake", 11, "F32", "cls_token", {"query": QUERY},
                     {"torch_dtype": "float32", "transformers_version": "4.36.1", "use_cache": True}, limit=64)


def mxbai():
    return published("mxbai", 12, "F16", "cls_token", {"query": QUERY, "passage": ""},
                     {"torch_dtype": "float16", "transformers_version": "4.38.2", "use_cache": False,
                      "_name_or_path": "mxbai"}, normalises=False, limit=64, named="bert.")


def leaf():
    return published("leaf", 13, "BF16", "mean_tokens", {"query": QUERY, "document": ""},
                     {"dtype": "bfloat16", "transformers_version": "4.56.0", "_attn_implementation_autoset": True,
                      "chunk_size_feed_forward": 0, "is_decoder": False}, dense=24, limit=64, v5=True)


def nomic():
    """Rotary positions, gated units, no biases, BF16; layer norm over the full vector, three sizes."""
    width, heads, inner, base = 32, 2, 48, 1000
    w = Weights(3, "BF16")
    tokens = w.make("embeddings.word_embeddings.weight", len(PIECES) + 4, width)
    types = w.make("embeddings.token_type_embeddings.weight", 2, width)
    start = w.norm("emb_ln", width)
    layers = []
    for i in range(2):
        name = f"encoder.layers.{i}."
        layers.append([w.linear(name + "attn.Wqkv", 3 * width, width, False),
                       w.linear(name + "attn.out_proj", width, width, False), w.norm(name + "norm1", width),
                       w.linear(name + "mlp.fc11", inner, width, False),
                       w.linear(name + "mlp.fc12", inner, width, False),
                       w.linear(name + "mlp.fc2", width, inner, False), w.norm(name + "norm2", width)])
    write("nomic/modules.json", modules(("Transformer", ""), ("Pooling", "1_Pooling")))
    w.save("nomic/model.safetensors")
    write("nomic/tokenizer.json", tokenizer(True))
    write("nomic/1_Pooling/config.json", {"word_embedding_dimension": width, "pooling_mode_cls_token": False,
                                          "pooling_mode_mean_tokens": True, "include_prompt": True})
    write("nomic/config.json", {
        "architectures": ["NomicBertModel"], "model_type": "nomic_bert", "activation_function": "swiglu",
        "n_embd": width, "n_layer": 2, "n_head": heads, "n_inner": inner, "n_positions": 512,
        "vocab_size": len(PIECES) + 4, "layer_norm_epsilon": 1e-12, "qkv_proj_bias": False, "mlp_fc1_bias": False,
        "mlp_fc2_bias": False, "prenorm": False, "parallel_block": False, "causal": False, "use_rms_norm": False,
        "rotary_emb_base": base, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None, "rotary_scaling_factor": None, "scale_attn_weights": True,
        "use_flash_attn": True, "type_vocab_size": 2})
    write("nomic/sentence_bert_config.json", {"max_seq_length": 400, "do_lower_case": False})
    write("nomic/matryoshka.json", {"nesting": [8, 16, 32]})

    def encode(text, role):
        ids = [CLS] + ids_of(f"search_{role}: " + text)[:398] + [SEP]
        x = start(tokens[ids] + types[0])
        for qkv, mix, norm1, up, gate, down, norm2 in layers:
            q, k, v = np.split(qkv(x), 3, axis=1)
            x = norm1(x + mix(attention(rotary(q, heads, base), rotary(k, heads, base), v, heads)))
            g = gate(x)
            x = norm2(x + down(up(x) * g / (1 + np.exp(-g))))
        return unit(layer_norm(x.mean(axis=0), 1e-5))

    return encode


def static(folder, kind, name, file, counts_unknown):
    w = Weights(4, kind)
    table = w.make(name, len(PIECES), 16)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    w.save(file)
    write(os.path.dirname(file) + "/tokenizer.json", tokenizer(False))

    def encode(text, role):
        ids = [i for i in ids_of(text) if counts_unknown or i != UNK]
        return unit(table[ids].sum(axis=0))

    return encode


def sentence_static():
    """sentence-transformers' static table, whose sizes are in the model card."""
    write("static/modules.json", modules(("StaticEmbedding", "0_StaticEmbedding")))
    write("static/config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": "cosine"})
    write("static/README.md", '```json\n{\n    "loss": "MultipleNegativesRankingLoss",\n    "matryoshka_dims": [\n'
          '        16,\n        8,\n        4\n    ]\n}\n```\n')
    return static("static", "F32", "embedding.weight", "static/0_StaticEmbedding/model.safetensors", True)


def model2vec():
    """model2vec's table: unknown words are left out."""
    write("model2vec/config.json", {"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": True})
    return static("model2vec", "F16", "embeddings", "model2vec/model.safetensors", False)


cases = []
for model, make, texts in (("bert", bert, TEXTS + [LONG]), ("nomic", nomic, TEXTS + [LONG]),
                           ("static", sentence_static, TEXTS), ("model2vec", model2vec, TEXTS),
                           ("snowflake", snowflake, TEXTS + [LONG]), ("mxbai", mxbai, TEXTS), ("leaf", leaf, TEXTS)):
    encode = make()
    for role in ("query", "document"):
        for text in texts:
            vector = [float(f"{x:.7g}") for x in encode(text, role)]
            cases.append({"model": model, "role": role, "text": text, "vector": vector})
with open("cases.json", "w", encoding="utf-8") as file:
    file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
