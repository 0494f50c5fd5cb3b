/// Takes the frames of the coordinator's front ROUTER apart.
public enum FrontCodec {
    /// First frame after the prefix.
    public static let magic: [UInt8] = Array("MRL1".utf8)

    /// Splits a message into prefix (routing id first), header and buffers.
    ///
    /// - Returns: nil where no "MRL1" with a header stands after 1 to 4 prefix frames; see ``refusal(of:)``.
    public static func split(
        _ frames: [[UInt8]]
    ) -> (prefix: [[UInt8]], header: [UInt8], buffers: [[UInt8]])? {
        guard let index = magicIndex(frames), frames[index] == magic, index + 1 < frames.count else { return nil }
        return (Array(frames[..<index]), frames[index + 1], Array(frames[(index + 2)...]))
    }

    /// What to answer to frames that ``split(_:)`` cannot read; nil: drop them and count.
    public static func refusal(of frames: [[UInt8]]) -> (prefix: [[UInt8]], error: FrontError)? {
        guard frames.count > 1 else { return nil }
        if let index = magicIndex(frames) {
            let prefix = Array(frames[..<index])
            if frames[index] == magic {
                return (prefix, FrontError(.badFrame, "no header follows the frame MRL1", allowed: frameGrammar))
            }
            let version = Character(Unicode.Scalar(frames[index][3]))
            return (prefix, FrontError(.unsupportedVersion, "version \(version) is not served", allowed: "MRL1"))
        }
        // A REQ socket waits for its empty delimiter.
        let prefix = Array(frames[..<(frames[1].isEmpty ? 2 : 1)])
        return (prefix, FrontError(.badFrame, "no frame MRL1 begins the message", allowed: frameGrammar))
    }

    private static let frameGrammar = "[MRL1][JSON header][buffers…]"

    private static func magicIndex(_ frames: [[UInt8]]) -> Int? {
        guard frames.count > 1 else { return nil }
        // A client chooses what its routing id says, so frame 0 is never the magic.
        return (1...min(FrontLimits.prefixFramesMax, frames.count - 1)).first { isMagic(frames[$0]) }
    }

    static func isMagic(_ frame: [UInt8]) -> Bool {
        frame.count == 4 && frame[..<3].elementsEqual(magic[..<3]) && (0x30...0x39).contains(frame[3])
    }

    /// Header and buffers of a message as a client sees it: behind a REQ's empty frame, or bare.
    static func body(_ frames: [[UInt8]]) throws(FrontError) -> (header: [UInt8], buffers: [[UInt8]]) {
        guard let index = frames.prefix(FrontLimits.prefixFramesMax + 1).firstIndex(where: isMagic),
            index + 1 < frames.count
        else { throw FrontError(.badFrame, "no frame MRL1 with a header", allowed: frameGrammar) }
        guard frames[index] == magic else {
            throw FrontError(.unsupportedVersion, "another version than 1", allowed: "MRL1")
        }
        return (frames[index + 1], Array(frames[(index + 2)...]))
    }
}

/// How the bytes of a buffer are to be read.
enum BufferType: String {
    /// float32, little-endian.
    case float32 = "f32"
    /// unsigned 32-bit integers, little-endian.
    case unsigned32 = "u32"
    /// One JSON value a line.
    case jsonLines = "jsonl"

    var width: Int { self == .jsonLines ? 1 : 4 }
}

/// A buffer with its entry in the header's `buffers`.
struct NamedBuffer {
    var name: String
    var type: BufferType
    var shape: [Int]
    var bytes: [UInt8]

    /// `vectors` of `values.count / width` rows.
    static func floats(_ name: String, _ values: [Float], width: Int) -> NamedBuffer {
        NamedBuffer(name: name, type: .float32, shape: [values.count / max(width, 1), width], bytes: rawBytes(values))
    }

    static func lines(_ name: String, _ writer: JSONWriter, count: Int) -> NamedBuffer {
        NamedBuffer(name: name, type: .jsonLines, shape: [count], bytes: writer.bytes)
    }

    /// One string a line.
    static func strings(_ name: String, _ strings: [String]) -> NamedBuffer {
        var writer = JSONWriter(reserving: strings.reduce(0) { $0 + $1.utf8.count + 3 })
        for string in strings {
            writer.string(string)
            writer.endLine()
        }
        return .lines(name, writer, count: strings.count)
    }

    /// The bytes as plain numbers; a rest that fills none is cut.
    func numbers<T: BitwiseCopyable>(_: T.Type) -> [T] {
        let count = bytes.count / MemoryLayout<T>.stride
        return [T](unsafeUninitializedCapacity: count) { target, filled in
            bytes.withUnsafeBytes { source in
                UnsafeMutableRawBufferPointer(target).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: source[..<(count * MemoryLayout<T>.stride)])
                )
            }
            filled = count
        }
    }

    /// Lines; the line break at the end may be missing.
    var lineCount: Int {
        bytes.withUnsafeBufferPointer { all in
            all.reduce(0) { $0 + ($1 == 0x0A ? 1 : 0) } + (all.last ?? 0x0A == 0x0A ? 0 : 1)
        }
    }

    /// Where the lines are.
    var lineRanges: [Range<Int>] {
        var ranges: [Range<Int>] = []
        var first = 0
        while first < bytes.count {
            let end = bytes[first...].firstIndex(of: 0x0A) ?? bytes.count
            ranges.append(first..<end)
            first = end + 1
        }
        return ranges
    }
}

func rawBytes<T: BitwiseCopyable>(_ values: [T]) -> [UInt8] { values.withUnsafeBytes { [UInt8]($0) } }

/// Frames of a message from its header (open, without `buffers`) and its buffers.
func makeFrames(_ header: consuming JSONWriter, _ buffers: [NamedBuffer]) -> [[UInt8]] {
    if !buffers.isEmpty {
        header.key("buffers")
        header.beginArray()
        for buffer in buffers {
            header.beginObject()
            header.member("name", buffer.name)
            header.member("dtype", buffer.type.rawValue)
            header.member("shape", .array(buffer.shape.map { .integer(Int64($0)) }))
            header.member("nbytes", buffer.bytes.count)
            header.endObject()
        }
        header.endArray()
    }
    header.endObject()
    return [FrontCodec.magic, header.bytes] + buffers.map(\.bytes)
}
