import WireProtocol

/// How a `tokenizer.json` cuts a normalised text before its pieces are looked up: the steps of its `pre_tokenizer`.
struct TextSplitter: Sendable, Equatable {
    /// Where Metaspace puts its mark.
    enum Mark: String, Sendable, CaseIterable {
        case always
        /// Before what begins the text, not after an added token.
        case first
        case never
    }

    enum Step: Sendable, Equatable {
        /// At white space, which goes.
        case blanks
        /// Spaces become `replacement`; each begins a stretch where `splits`.
        case metaspace(replacement: [UInt8], mark: Mark, splits: Bool)
    }

    /// A part of the text, which is looked up alone.
    struct Stretch: Equatable {
        /// UTF-8.
        var bytes: [UInt8]
        /// Whether its first character is the first of the text.
        var startsText: Bool
    }

    var steps: [Step] = []

    /// Cuts a text; none of the stretches is empty.
    func split(_ text: String, startsText: Bool) -> [Stretch] {
        var stretches = text.isEmpty ? [] : [Stretch(bytes: Array(text.utf8), startsText: startsText)]
        for step in steps {
            switch step {
            case .blanks: stretches = stretches.flatMap(Self.atBlanks)
            case .metaspace(let replacement, let mark, let splits):
                stretches = stretches.flatMap { Self.marked($0, replacement, mark, splits) }
            }
        }
        return stretches
    }

    private static func atBlanks(_ stretch: Stretch) -> [Stretch] {
        var parts: [Stretch] = []
        var isOpen = false
        var isFirst = stretch.startsText
        for scalar in String(decoding: stretch.bytes, as: UTF8.self).unicodeScalars {
            if scalar.properties.isWhitespace {
                isOpen = false
            } else {
                if !isOpen { parts.append(Stretch(bytes: [], startsText: isFirst)) }
                isOpen = true
                parts[parts.count - 1].bytes += UTF8.encode(scalar)!
            }
            isFirst = false
        }
        return parts
    }

    private static func marked(_ stretch: Stretch, _ mark: [UInt8], _ place: Mark, _ splits: Bool) -> [Stretch] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(stretch.bytes.count + 16)
        for byte in stretch.bytes {
            if byte == UInt8(ascii: " ") { bytes += mark } else { bytes.append(byte) }
        }
        let isWanted = place == .always || (place == .first && stretch.startsText)
        if isWanted, !bytes.starts(with: mark) { bytes = mark + bytes }
        guard splits else { return [Stretch(bytes: bytes, startsText: stretch.startsText)] }
        var parts: [Stretch] = []
        var start = 0
        for at in bytes.indices where at > start && bytes[at] == mark[0] && bytes[at...].starts(with: mark) {
            parts.append(Stretch(bytes: Array(bytes[start..<at]), startsText: stretch.startsText && parts.isEmpty))
            start = at
        }
        parts.append(Stretch(bytes: Array(bytes[start...]), startsText: stretch.startsText && parts.isEmpty))
        return parts
    }
}

extension TextSplitter {
    /// Reads the member `pre_tokenizer`; nil is none.
    static func read(_ value: JSONValue?, path: String) throws(ModelError) -> TextSplitter {
        guard let value else { return TextSplitter() }
        var part = try ConfigurationFile(value, path: path)
        var steps: [Step] = []
        switch try part.text("type") ?? "null" {
        case "Sequence":
            guard case .array(let items) = part.value("pretokenizers") else {
                throw .malformed(path: path, reason: "\"pretokenizers\" is no list")
            }
            for (index, item) in items.enumerated() { steps += try read(item, path: "\(path)[\(index)]").steps }
        case "WhitespaceSplit": steps = [.blanks]
        case "Metaspace":
            let replacement = try part.text("replacement") ?? "▁"
            guard replacement.unicodeScalars.count == 1 else {
                throw .malformed(path: path, reason: "\"replacement\" is \"\(replacement)\", one character is expected")
            }
            try part.require("str_rep", .string(replacement))
            // Older files say whether, newer ones where.
            let isMarked = try part.flag("add_prefix_space", default: true)
            let scheme = try part.text("prepend_scheme") ?? (isMarked ? "always" : "never")
            guard let mark = Mark(rawValue: scheme) else {
                throw .unsupported(
                    path: path,
                    reason: "\"prepend_scheme\" is \"\(scheme)\", this build runs always, first and never"
                )
            }
            guard isMarked || mark == .never else {
                throw .malformed(path: path, reason: "\"add_prefix_space\" contradicts \"prepend_scheme\"")
            }
            let splits = try part.flag("split", default: true)
            steps = [.metaspace(replacement: Array(replacement.utf8), mark: mark, splits: splits)]
        case let type:
            throw .unsupported(
                path: path,
                reason: "\"type\" is \"\(type)\", this build runs Sequence, WhitespaceSplit and Metaspace"
            )
        }
        try part.finish()
        return TextSplitter(steps: steps)
    }
}
