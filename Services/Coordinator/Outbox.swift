/// Replies that a client's full queue did not take, kept for a while and bounded in bytes.
///
/// A client that never reads loses its replies, never the coordinator its memory.
struct Outbox {
    private struct Entry {
        var frames: [[UInt8]]
        var bytes: Int
        var until: UInt64
    }

    static let bytesPerClientMax = 16 << 20
    static let bytesMax = 128 << 20
    /// A client that leaves so much unread is asked to read before it asks for more.
    static let unreadBytesMax = 1 << 20

    private var clients: [[UInt8]: [Entry]] = [:]
    private(set) var bytes = 0
    private(set) var dropped = 0

    var isEmpty: Bool { clients.isEmpty }

    /// Whether replies of the client already wait: a new one goes behind them.
    func holds(_ client: [UInt8]) -> Bool { clients[client] != nil }

    /// The client does not read what it asked for.
    func isClogged(_ client: [UInt8]) -> Bool {
        (clients[client]?.reduce(0) { $0 + $1.bytes } ?? 0) > Self.unreadBytesMax
    }

    /// Keeps a reply, or drops and counts it.
    mutating func add(_ frames: [[UInt8]], client: [UInt8], now: UInt64) {
        let size = frames.reduce(0) { $0 + $1.count }
        let own = clients[client]?.reduce(0) { $0 + $1.bytes } ?? 0
        guard own + size <= Self.bytesPerClientMax, bytes + size <= Self.bytesMax else {
            dropped += 1
            return
        }
        clients[client, default: []].append(Entry(frames: frames, bytes: size, until: now + 10_000_000))
        bytes += size
    }

    /// Counts a reply that nobody was there to take.
    mutating func drop() { dropped += 1 }

    enum Attempt { case sent, later, gone }

    /// Tries again, in order for each client.
    mutating func flush(now: UInt64, _ send: ([[UInt8]]) -> Attempt) {
        for (client, entries) in clients {
            var left = entries[...]
            while let entry = left.first {
                let attempt: Attempt = entry.until <= now ? .gone : send(entry.frames)
                if attempt == .later { break }
                if attempt == .gone { dropped += 1 }
                bytes -= entry.bytes
                left = left.dropFirst()
            }
            clients[client] = left.isEmpty ? nil : Array(left)
        }
    }
}
