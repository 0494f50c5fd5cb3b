#!/usr/bin/env python3
"""Writes texts and the ids that the PyPI package `tokenizers` gives them, for Unigram and WordPiece tokenisers.

Run in this folder, with `tokenizers` installed. A small Unigram vocabulary is trained on the sentences below; each
variant of `unigram.json` is a whole tokenizer.json around it. With the folder of all-MiniLM-L6-v2 as an argument, its
word pieces are written too. Ids are kept as the lower half of the FNV-1a hash (64 bits) of their 32-bit little-endian
bytes, one for each text, and a few of them as they are.
"""
import base64
import json
import random
import struct
import sys
import unicodedata

from tokenizers import Tokenizer, models, trainers

SENTENCES = """
The quick brown fox jumps over the lazy dog while forty-two engineers argue about embeddings.
A text editor for programmers, with syntax highlighting, macros and a small footprint!
Searching ten million documents by their first sixty-four dimensions takes 3.5 ms (p99: 7.25 ms).
Die schnellen Züge fahren über die Brücke nach Köln; später gießt es in Strömen.
Größere Städte müssen außerdem für mehr öffentlichen Verkehr sorgen.
Le cœur a ses raisons que la raison ne connaît point, écrivait-il à l'été 1670.
Où est-ce que vous avez trouvé ce très vieux dictionnaire français ?
El niño comió piñas y mañana irá a la montaña con su abuela; ¿quién lo acompaña?
La città è più bella di sera, quando le luci si accendono lungo il fiume.
O coração não esquece as canções de verão que ouvimos em São João.
Быстрая коричневая лиса перепрыгивает через ленивую собаку, а потом читает книгу.
Поиск документов по смыслу требует хороших векторов и немного терпения.
Η γρήγορη αλεπού πηδάει πάνω από το τεμπέλικο σκυλί κάθε πρωί στην Αθήνα.
Zażółć gęślą jaźń, a potem przeczytaj książkę o źródłach języka polskiego.
Příliš žluťoučký kůň úpěl ďábelské ódy nad širokým údolím řeky.
Hızlı kahverengi tilki tembel köpeğin üzerinden İstanbul'da atlar, ışık söner.
Cô ấy đọc sách về những thành phố lớn ở Việt Nam vào mỗi buổi tối.
המורה קוראת ספר ישן על תולדות העיר והתלמידים מקשיבים בשקט.
يقرأ الطالب كتابا عن تاريخ المدينة القديمة في المكتبة الكبيرة كل يوم.
एक छोटा लड़का बाज़ार में पुरानी किताबें खरीदने गया और शाम को लौट आया।
ทุกเช้าเธออ่านหนังสือพิมพ์ที่ร้านกาแฟริมแม่น้ำ
彼女は毎朝、川沿いの喫茶店で新聞を読んでから会社へ行きます。
図書館で古い地図を探している学生がたくさんいました。
カタカナとひらがな、そしてＡＢＣや１２３も混ざっている文章です。
她每天早上在河边的咖啡馆看报纸,然后去公司上班。
图书馆里有很多学生在寻找关于城市历史的旧地图。
그녀는 매일 아침 강가의 카페에서 신문을 읽고 회사에 갑니다.
도서관에서 오래된 지도를 찾는 학생들이 많이 있었습니다.
Mfalme alisafiri kwa siku nyingi kuvuka jangwa kubwa ili kumwona rafiki yake.
Vanhan kirjaston ikkunoista näkyy järvi, jonka jäällä lapset luistelevat.
""".strip().splitlines()
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\u0085", "\x0b", "\x0c",
          " \u00a0 ", "\u202f", "\u1680", "\ufeff"]
ODD = ["<s>", "</s>", "<mask>", " <mask> ", "<unk>", "<pad>", "[CLS]", "[MASK]ed", "[SEP]", "[cls]", "▁", "▁▁word", "##ing",
       "ﬁne", "ﬂow", "①②③", "½", "Å", "ｶﾞ", "ｱｲｳ", "㍻", "Ⅳ", "™", "…", "‘quoted’", "“double”", "—", "–", "-", "ſ", "ß", "ẞ", "İ",
       "ı", "ΣΑΣ", "ς", "e\u0301", "é", "n\u0303o", "a\u0308\u0304", "\u0301", "क्षि", "가", "\u1100\u1161", "👍🏽", "👩‍👩‍👧", "🇩🇪",
       "🙂", "𝔘𝔫𝔦", "𠮷", "\u0600\u0661", "\ufffd", "\x00", "\x01", "\x7f", "\x9f", "\u00ad", "\u200d", "\u200f", "$+<=>^`|~", "!?.,;:",
       "http://example.org/a?b=c&d=%20", "me@example.org", "snake_case", "CamelCase", "3.14159", "1,000,000", "C++",
       "x" * 99, "y" * 101, "don't", "it’s", "newtok", "newtokens", "a newtok b", "SINGLE", "SINGLEs", "(SINGLE)", "fi\u00adne",
       "⁇", "☃", "ꙮ", "\U0001d7d8", "\u0378", "ੴ", "ⴰⵎⴰⵣⵉⵖ", "ᚠᚢᚦ", "\ue000"]
COUNT = 1200


def texts():
    random.seed(20240601)
    words = [word for sentence in SENTENCES for word in sentence.split()]
    ranges = [(0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5F4), (0x600, 0x6FF),
              (0x900, 0x97F), (0xE00, 0xE5B), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x2100, 0x214F), (0x2460, 0x24FF),
              (0x3000, 0x30FF), (0x4E00, 0x4EFF), (0xAC00, 0xACFF), (0xFB00, 0xFB4F), (0xFF00, 0xFFEF), (0x1F600, 0x1F64F)]
    found = ["", " ", "  ", "a", " a", "a ", "\t\n", "\u200b", "▁", " <s>", "<s> x", "x<mask>y", "x  <mask>  y", "<unk><unk>"]
    found += SENTENCES + ODD
    while len(found) < COUNT:
        kind = random.random()
        parts = []
        for _ in range(random.randint(1, 8)):
            roll = random.random()
            if kind < 0.6 and roll < 0.85 or kind >= 0.6 and roll < 0.4:
                word = random.choice(words)
                parts.append(random.choice([word, word, word, word.lower(), word.upper(), word[:3], word[::-1]]))
            elif roll < 0.92:
                parts.append(random.choice(ODD))
            else:
                low, high = random.choice(ranges)
                parts.append("".join(chr(random.randint(low, high)) for _ in range(random.randint(1, 4))))
        text = ""
        for part in parts:
            text += part + (" " if random.random() < 0.8 else random.choice(SPACES + [""]))
        text = text if random.random() < 0.2 else text.strip(" ")
        # Neither what this Unicode has not named yet, nor what a later one may name.
        text = "".join(c for c in text if unicodedata.category(c) != "Cn" or c == "\u0378")
        found.append(text)
    return found


def character_map():
    """Compiled rules for a few hundred characters, some of them whole clusters, in darts-clone's layout."""
    rules = {}
    for low, high in [(0xA0, 0x17F), (0x2000, 0x206F), (0x2100, 0x2188), (0x2460, 0x24FF), (0x3000, 0x3000), (0x3300, 0x33FF),
                      (0xFB00, 0xFB06), (0xFF01, 0xFFEE)]:
        for code in range(low, high + 1):
            normal = unicodedata.normalize("NFKC", chr(code))
            if normal != chr(code):
                rules[chr(code)] = normal
    for code in list(range(1, 32)) + [0x7F, 0x200B, 0xFEFF, 0xAD]:
        rules[chr(code)] = " " if chr(code) in "\t\n\r\x0c" else ""
    for base in "aeiounAEIOU":
        for mark in "\u0300\u0301\u0302\u0303\u0308":
            composed = unicodedata.normalize("NFC", base + mark)
            if len(composed) == 1:
                rules[base + mark] = composed
    # A rule that begins another one's key.
    rules["ｶ"], rules["ｶﾞ"], rules["2"], rules["2\u0301"] = "カ", "ガ", "2", "two"
    pool, offsets = b"", {}
    for text in sorted(set(rules.values())):
        offsets[text] = len(pool)
        pool += text.encode() + b"\0"
    tree = {}
    for key, text in rules.items():
        node = tree
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[-1] = offsets[text]
    units, used = {0: 0}, {0}

    def place(node, at):
        """The unit at `at` gets an offset under which all children find room."""
        keys = [0 if key < 0 else key for key in node]
        base = 1
        while any((base ^ key) in used or base ^ key == at for key in keys):
            base += 1
        offset = at ^ base
        assert offset < 1 << 21
        units[at] |= offset << 10 | (1 << 8 if -1 in node else 0)
        for key in keys:
            used.add(base ^ key)
        for key, child in node.items():
            if key < 0:
                units[base] = child | 1 << 31
            else:
                units[base ^ key] = key
        for key, child in node.items():
            if key >= 0:
                place(child, base ^ key)

    place(tree, 0)
    # A unit that is no child must not look like one.
    data = [units.get(at, 0x80000000) for at in range((max(units) | 255) + 1)]
    array = struct.pack(f"<{len(data)}I", *data)
    return base64.b64encode(struct.pack("<I", len(array)) + array + pool).decode()


def token(index, content, **marks):
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": index, "content": content, **{**plain, **marks}}


def metaspace(scheme="always", split=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


def sequence(kind, *parts):
    return {"type": "Sequence", kind: list(parts)}


def replace(kind, pattern, content):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def variants(charsmap, size):
    compiled = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    specials = [token(0, "<s>"), token(1, "<pad>"), token(2, "</s>"), token(3, "<unk>"), token(size, "<mask>", lstrip=True)]
    marked = specials[:4] + [token(size, "<mask>", rstrip=True, normalized=True), token(size + 1, "newtok", normalized=True),
                             token(size + 2, "SINGLE", single_word=True, special=False)]
    blanks = {"type": "WhitespaceSplit"}
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    right = {"type": "Strip", "strip_left": False, "strip_right": True}
    punctuation = [replace("String", c, f" {c} ") for c in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"]
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": True}
    cased = {**bert, "handle_chinese_chars": False, "lowercase": False}
    frame = {"type": "TemplateProcessing",
             "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                        {"SpecialToken": {"id": "</s>", "type_id": 0}}],
             "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
             "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                                "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}}
    return {
        "xlm-roberta": (compiled, sequence("pretokenizers", blanks, metaspace()), specials, False, frame),
        "t5": (sequence("normalizers", compiled, right, replace("Regex", " {2,}", "▁")), metaspace(), specials, False, None),
        "sentencepiece": (sequence("normalizers", {"type": "Nmt"}, {"type": "NFKC"}, replace("Regex", " {2,}", " ")),
                          metaspace(), specials, False, None),
        "first": ({"type": "NFC"}, metaspace("first"), marked, False, None),
        "first after strip": (strip, sequence("pretokenizers", blanks, metaspace("first", False)), marked, False, None),
        "bytes": (None, metaspace("never"), specials, True, None),
        "whole": (sequence("normalizers", {"type": "Prepend", "prepend": "▁"}, replace("String", " ", "▁")), None, specials,
                  True, None),
        "model2vec": (sequence("normalizers", {"type": "NFKC"}, *punctuation, replace("Regex", "\\s+", " "), right),
                      metaspace(split=False), [], False, None),
        "model2vec of bert": (sequence("normalizers", bert, *punctuation, replace("Regex", "\\s+", " "), right),
                              metaspace(split=False), [], False, None),
        "cased bert": (sequence("normalizers", cased, {"type": "NFD"}), metaspace(), marked, False, None),
        "bare": (sequence("normalizers", {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}),
                 {"type": "Metaspace", "replacement": "▁", "str_rep": "▁", "add_prefix_space": True}, [], False, None),
    }


def hashed(ids):
    value = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value % 2**32:08x}"


def main():
    all_texts = texts()
    trainer = trainers.UnigramTrainer(vocab_size=1000, unk_token="<unk>", show_progress=False,
                                      special_tokens=["<s>", "<pad>", "</s>", "<unk>"])
    trained = Tokenizer(models.Unigram())
    # Marked as Metaspace would; with pieces that go over the ends of words, and words of other cases.
    marked = ["▁" + text.replace(" ", "▁") for text in SENTENCES]
    trained.train_from_iterator(marked + [text.lower() for text in marked] + ["▁" + w for t in SENTENCES for w in t.split()],
                                trainer)
    vocab = json.loads(trained.to_str())["model"]["vocab"]
    known = {piece for piece, _ in vocab}
    # Rare characters are left to the unknown piece and to bytes.
    vocab = [[piece, round(score, 6)] for piece, score in vocab if not set(piece) & set("ўżźňďęɓфщ市館หนังঅ")]
    vocab += [[f"<0x{byte:02X}>", -20.0] for byte in range(256) if f"<0x{byte:02X}>" not in known]
    charsmap = character_map()
    result = {}
    for name, (normalizer, pre_tokenizer, added, falls_back, frame) in variants(charsmap, len(vocab)).items():
        file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
                "pre_tokenizer": pre_tokenizer, "post_processor": frame, "decoder": None,
                "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": falls_back}}
        tokenizer = Tokenizer.from_str(json.dumps(file))
        encoded = [tokenizer.encode(text, add_special_tokens=frame is not None).ids for text in all_texts]
        file["model"]["vocab"] = "VOCAB"
        result[name] = {"tokenizer": file, "hashes": " ".join(map(hashed, encoded)),
                        "ids": {text: ids for text, ids in list(zip(all_texts, encoded))[14:60:6]}}
    text = json.dumps({"vocab": vocab, "variants": result}, ensure_ascii=False)
    write("unigram.json", text.replace(charsmap, "MAP").replace('"vocab": ', f'"map": "{charsmap}", "vocab": ', 1))
    write("texts.json", json.dumps(all_texts, ensure_ascii=True, indent=0))
    if len(sys.argv) > 1:
        tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        write("wordpiece.json", json.dumps(" ".join(hashed(tokenizer.encode(text).ids) for text in all_texts)))


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")


main()
