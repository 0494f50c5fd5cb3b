import Testing
import WireProtocol

@Suite("Broken frames")
struct FuzzTests {
    /// Changes bytes, lengths and frames at random.
    private func mutate(_ frames: [[UInt8]], _ random: inout SplitMix) -> [[UInt8]] {
        var frames = frames
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            guard let frame = frames.indices.randomElement(using: &random) else { return frames }
            let count = frames[frame].count
            switch Int.random(in: 0..<9, using: &random) {
            case 0 where count > 0:
                frames[frame][Int.random(in: 0..<count, using: &random)] = UInt8(random.next() & 255)
            case 1 where count > 0: frames[frame][Int.random(in: 0..<count, using: &random)] ^= 1 << (random.next() & 7)
            case 2 where count > 0: frames[frame].removeLast(Int.random(in: 1...count, using: &random))
            case 3: frames[frame].append(contentsOf: (0..<8).map { _ in UInt8(random.next() & 255) })
            case 4 where count >= 4:
                // Lengths that claim much.
                let at = Int.random(in: 0...(count - 4), using: &random)
                let claim: UInt32 = [.max, 0x7FFF_FFFF, 0x8000_0000, 0x4000_0001, 0].randomElement(using: &random)!
                for byte in 0..<4 { frames[frame][at + byte] = UInt8(truncatingIfNeeded: claim >> (8 * UInt32(byte))) }
            case 5 where count > 0:
                let first = Int.random(in: 0..<count, using: &random)
                frames[frame].removeSubrange(first..<Int.random(in: first...count, using: &random))
            case 6 where count > 1:
                let first = Int.random(in: 0..<count, using: &random)
                let piece = frames[frame][first..<Int.random(in: first..<count, using: &random)]
                frames[frame].insert(contentsOf: Array(piece), at: Int.random(in: 0...count, using: &random))
            case 7: frames.remove(at: frame)
            case 8: frames.insert(frames.randomElement(using: &random)!, at: frame)
            default: break
            }
        }
        return frames
    }

    @Test("back messages never crash, and what decodes encodes to the same bytes")
    func back() throws {
        var random = SplitMix(state: 2)
        var decoded = 0
        for (_, message) in GoldenMessages.back {
            let isBinary = message.header.type.rawValue >= 16 && message.header.type != .failed
            for _ in 0..<1_000 {
                var frames = mutate(message.encode(), &random)
                // Give bodies a chance: a header that fits them.
                if frames.count == 2, frames[0].count == BackHeader.byteCount {
                    for byte in 0..<8 { frames[0][64 + byte] = UInt8(frames[1].count >> (8 * byte) & 255) }
                }
                guard let result = try? BackMessage.decode(frames: frames) else { continue }
                decoded += 1
                if isBinary, result.header.type == message.header.type { #expect(result.encode() == frames) }
            }
        }
        #expect(decoded > 100)
    }

    @Test("requests never crash, and a refusal is a typed error")
    func requests() {
        var random = SplitMix(state: 3)
        var decoded = 0
        for (_, message) in GoldenMessages.requests {
            for _ in 0..<1_000 {
                let frames = [[0, 1, 2, 3, 4]] + mutate(message.encode(), &random)
                guard let parts = FrontCodec.split(frames) else {
                    _ = FrontCodec.refusal(of: frames)
                    continue
                }
                _ = FrontRequest.peek(header: parts.header)
                if let request = try? FrontRequest.decode(header: parts.header, buffers: parts.buffers) {
                    _ = request.encode()
                    decoded += 1
                }
            }
        }
        #expect(decoded > 100)
    }

    @Test("replies never crash a client")
    func replies() {
        var random = SplitMix(state: 4)
        for (_, message) in GoldenMessages.replies {
            for _ in 0..<500 {
                if let reply = try? FrontReply.decode(mutate(message.encode(), &random)) { _ = reply.encode() }
            }
        }
    }

    @Test("random bytes are refused", arguments: [0, 1, 95, 96, 97, 300])
    func noise(count: Int) {
        var random = SplitMix(state: UInt64(count))
        for _ in 0..<200 {
            let bytes = (0..<count).map { _ in UInt8(random.next() & 255) }
            #expect(throws: BackDecodeError.self) { try BackMessage.decode(frames: [bytes, bytes]) }
            #expect(throws: FrontError.self) { try FrontRequest.decode(header: bytes, buffers: []) }
            #expect(throws: FrontError.self) { try FrontReply.decode([bytes]) }
            #expect(FrontCodec.split([bytes, bytes]) == nil)
        }
    }
}
