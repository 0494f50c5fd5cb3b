import Foundation
import WireProtocol

/// What a `tokenizer.json` does to a text before it is split: the steps of its `normalizer`, in order.
struct TextNormaliser: Sendable, Equatable {
    enum Form: String, Sendable, CaseIterable {
        case nfc = "NFC"
        case nfd = "NFD"
        case nfkc = "NFKC"
        case nfkd = "NFKD"
    }

    enum Pattern: Sendable, Equatable {
        case literal([UInt8])
        /// `least` or more blanks in a row; of any kind, or U+0020 alone.
        case blanks(least: Int, ofAnyKind: Bool)
    }

    enum Step: Sendable, Equatable {
        case map(CharacterMap)
        case form(Form)
        /// Character by character, without a rule for the final sigma.
        case lowercase
        case stripMarks
        /// What neural machine translation drops (controls) or takes for a blank.
        case clean
        /// What BERT drops or takes for a blank, and ideographs between blanks.
        case bertClean
        case bertIdeographs
        /// Marks that take no room, after decomposition.
        case bertAccents
        case replace(Pattern, with: [UInt8])
        case strip(left: Bool, right: Bool)
        case prepend(String)
    }

    var steps: [Step] = []

    /// The normalised text, and whether its first character comes from the first one of `text`.
    func apply(_ text: String) -> (text: String, keepsStart: Bool) {
        var (text, keepsStart) = (text, true)
        for step in steps {
            switch step {
            case .map(let map): text = map.apply(text)
            case .form(.nfc): text = text.precomposedStringWithCanonicalMapping
            case .form(.nfd): text = text.decomposedStringWithCanonicalMapping
            case .form(.nfkc):
                // In two steps: Foundation's own form leaves a mark alone that had to be decomposed first.
                text = text.decomposedStringWithCompatibilityMapping.precomposedStringWithCanonicalMapping
            case .form(.nfkd): text = text.decomposedStringWithCompatibilityMapping
            case .lowercase:
                text = Self.mapped(text) { Array($0.properties.lowercaseMapping.unicodeScalars) }
            case .stripMarks:
                if let first = text.unicodeScalars.first, Self.isMark(first) { keepsStart = false }
                text = Self.mapped(text) { Self.isMark($0) ? [] : [$0] }
            case .clean:
                if let first = text.unicodeScalars.first, Self.cleaned(first).isEmpty { keepsStart = false }
                text = Self.mapped(text, Self.cleaned)
            case .bertClean:
                if let first = text.unicodeScalars.first, Self.bertCleaned(first).isEmpty { keepsStart = false }
                text = Self.mapped(text, Self.bertCleaned)
            case .bertIdeographs: text = Self.mapped(text) { ScalarRules.isIdeograph($0) ? [" ", $0, " "] : [$0] }
            case .bertAccents:
                text = text.decomposedStringWithCanonicalMapping
                if text.unicodeScalars.first?.properties.generalCategory == .nonspacingMark { keepsStart = false }
                text = Self.mapped(text) { $0.properties.generalCategory == .nonspacingMark ? [] : [$0] }
            case .replace(.literal(let pattern), let content):
                text = Self.replaced(Array(text.utf8), pattern, content)
            case .replace(.blanks(let least, let ofAnyKind), let content):
                text = Self.replacedBlanks(text, least: least, ofAnyKind: ofAnyKind, content)
            case .strip(let left, let right):
                var scalars = text.unicodeScalars[...]
                if left {
                    let kept = scalars.drop { $0.properties.isWhitespace }
                    if kept.startIndex != scalars.startIndex { keepsStart = false }
                    scalars = kept
                }
                if right {
                    while let last = scalars.last, last.properties.isWhitespace { scalars.removeLast() }
                }
                text = String(scalars)
            case .prepend(let prefix): if !text.isEmpty { text = prefix + text }
            }
        }
        return (text, keepsStart)
    }

    private static func mapped(_ text: String, _ change: (Unicode.Scalar) -> [Unicode.Scalar]) -> String {
        var out = String.UnicodeScalarView()
        for scalar in text.unicodeScalars { out.append(contentsOf: change(scalar)) }
        return String(out)
    }

    private static func isMark(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark: true
        default: false
        }
    }

    private static func cleaned(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        switch scalar.value {
        case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: []
        case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD: [" "]
        default: [scalar]
        }
    }

    private static func bertCleaned(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        if scalar.properties.isWhitespace, scalar.value < 0x0B || scalar == "\r" || scalar.value > 0x1F,
            scalar.value != 0x85
        {
            return [" "]
        }
        return ScalarRules.isOther(scalar) || scalar == "\u{FFFD}" ? [] : [scalar]
    }

    /// Byte by byte: equal text in another normal form is no match.
    private static func replaced(_ bytes: [UInt8], _ pattern: [UInt8], _ content: [UInt8]) -> String {
        var out: [UInt8] = []
        var at = 0
        while at < bytes.count {
            if bytes[at] == pattern[0], bytes[at...].starts(with: pattern) {
                out += content
                at += pattern.count
            } else {
                out.append(bytes[at])
                at += 1
            }
        }
        return String(decoding: out, as: UTF8.self)
    }

    private static func replacedBlanks(_ text: String, least: Int, ofAnyKind: Bool, _ content: [UInt8]) -> String {
        var out = String.UnicodeScalarView()
        var run: [Unicode.Scalar] = []
        let content = Array(String(decoding: content, as: UTF8.self).unicodeScalars)
        func flush() {
            out.append(contentsOf: run.isEmpty || run.count < least ? run : content)
            run.removeAll(keepingCapacity: true)
        }
        for scalar in text.unicodeScalars {
            if ofAnyKind ? scalar.properties.isWhitespace : scalar == " " {
                run.append(scalar)
            } else {
                flush()
                out.append(scalar)
            }
        }
        flush()
        return String(out)
    }
}

extension TextNormaliser {
    /// Reads the member `normalizer`; nil is none.
    static func read(_ value: JSONValue?, path: String) throws(ModelError) -> TextNormaliser {
        guard let value else { return TextNormaliser() }
        var part = try ConfigurationFile(value, path: path)
        var steps: [Step] = []
        switch try part.text("type") ?? "null" {
        case "Sequence":
            guard case .array(let items) = part.value("normalizers") else {
                throw .malformed(path: path, reason: "\"normalizers\" is no list")
            }
            for (index, item) in items.enumerated() {
                steps += try read(item, path: "\(path)[\(index)]").steps
            }
        case "Precompiled":
            // SentencePiece writes an empty map where it was trained without rules.
            guard let text = try part.text("precompiled_charsmap"), !text.isEmpty else { break }
            guard let map = CharacterMap(base64: text) else {
                throw .malformed(path: path, reason: "\"precompiled_charsmap\" is no compiled map")
            }
            steps = [.map(map)]
        case "Lowercase": steps = [.lowercase]
        case "StripAccents": steps = [.stripMarks]
        case "Nmt": steps = [.clean]
        case "Replace":
            let content = try part.text("content") ?? ""
            steps = [.replace(try pattern(part.value("pattern"), path: path), with: Array(content.utf8))]
        case "Strip":
            let left = try part.flag("strip_left", default: true)
            steps = [.strip(left: left, right: try part.flag("strip_right", default: true))]
        case "BertNormalizer":
            let lowers = try part.flag("lowercase", default: true)
            if try part.flag("clean_text", default: true) { steps.append(.bertClean) }
            if try part.flag("handle_chinese_chars", default: true) { steps.append(.bertIdeographs) }
            if try part.flag("strip_accents", default: lowers) { steps.append(.bertAccents) }
            if lowers { steps.append(.lowercase) }
        case "Prepend": steps = [.prepend(try part.text("prepend") ?? "")]
        case let type:
            guard let form = Form(rawValue: type) else {
                throw .unsupported(
                    path: path,
                    reason: "\"type\" is \"\(type)\", this build runs Sequence, Precompiled, NFC, NFD, NFKC, NFKD, "
                        + "Lowercase, StripAccents, Nmt, BertNormalizer, Replace, Strip and Prepend"
                )
            }
            steps = [.form(form)]
        }
        try part.finish()
        return TextNormaliser(steps: steps)
    }

    private static func pattern(_ value: JSONValue?, path: String) throws(ModelError) -> Pattern {
        if case .string(let text) = value?["String"], !text.isEmpty { return .literal(Array(text.utf8)) }
        guard case .string(let text) = value?["Regex"] else {
            throw .malformed(path: path, reason: "\"pattern\" holds neither a text \"String\" nor \"Regex\"")
        }
        let ofAnyKind = text.hasPrefix("\\s")
        if ofAnyKind || text.hasPrefix(" ") {
            let count = text.dropFirst(ofAnyKind ? 2 : 1)
            if count.isEmpty || count == "+" {
                // A single blank: each one is replaced, which runs of blanks cannot say.
                if count == "+" { return .blanks(least: 1, ofAnyKind: ofAnyKind) }
                if !ofAnyKind { return .literal([UInt8(ascii: " ")]) }
            }
            if count.hasPrefix("{"), count.hasSuffix(",}"), let least = Int(count.dropFirst().dropLast(2)), least > 0 {
                return .blanks(least: least, ofAnyKind: ofAnyKind)
            }
        }
        throw .unsupported(
            path: path,
            reason: "\"pattern.Regex\" is \"\(text.prefix(80))\", this build runs runs of blanks alone, such as "
                + "\" {2,}\" and \"\\s+\""
        )
    }
}
