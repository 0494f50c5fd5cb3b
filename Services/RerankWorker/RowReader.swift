import DocumentStore
import Matryoshka
import PostgreSQL
import ServiceRuntime
import VectorMath
import WireProtocol
import WorkerRuntime

/// Reads single rows and payloads on a thread and a connection of its own, so that what is held serves on meanwhile.
final class RowReader: @unchecked Sendable {
    // Unchecked: the session is only used by jobs of `thread`.
    let payloads = PayloadCache(byteLimit: 64 << 20)
    let rotations = RotationCache()
    private let thread = SerialThread(name: "read")
    private let session: StoreSession

    init(_ settings: ConnectionSettings) {
        var settings = settings
        // A search cannot wait for long; a slow database is as good as none.
        settings.connectTimeoutSeconds = 2
        settings.statementTimeoutMilliseconds = 2_000
        settings.silenceTimeoutMilliseconds = 500
        session = StoreSession(settings)
    }

    /// Runs `job` on the reading thread.
    func async(_ job: @escaping @Sendable (RowReader) -> Void) { thread.async { job(self) } }

    /// Rows by id, those that are gone left out, and the server that they are from; nil where the store cannot be read.
    ///
    /// On the reading thread; one query.
    func rows(
        _ shape: CollectionShape,
        ids: Set<Int64>,
        shards: Set<UInt16>
    ) -> (byID: [Int64: VectorRow], primary: String)? {
        guard !ids.isEmpty else { return ([:], "") }
        let found = try? session.use { try $0.fetchVectors(shape, ids: ids.sorted(), shards: shards.sorted()) }
        guard let found else { return nil }
        return (Dictionary(found.rows.map { ($0.id, $0) }) { first, _ in first }, found.primary)
    }

    /// Reads a rotation into the cache, on the reading thread; false where there is none, or no store.
    func readRotation(_ number: UInt32, dimensions: Int) -> Bool {
        if rotations.known(number) != nil { return true }
        guard let artefact = try? session.use({ try $0.artefact(number) }), artefact.subject == .rotation,
            let rotation = VectorRotation(axes: artefact.values, dimensions: dimensions)
        else { return false }
        rotations.put(number, rotation)
        return true
    }

    /// Reads payloads into the cache, on the reading thread.
    ///
    /// - Returns: What was read by id.
    func payloads(
        _ shape: CollectionShape,
        _ rows: [(id: Int64, version: UInt32)]
    ) throws(PayloadFault) -> [Int64: String?] {
        guard !rows.isEmpty else { return [:] }
        let found: [Int64: String?]
        do {
            found = try session.use {
                try $0.fetchPayloads(shape, ids: rows.map(\.id), bytesMax: FrontLimits.replyBytesMax)
            }
        } catch StoreError.tooLarge {
            throw .tooLarge
        } catch {
            throw .storeIsDown
        }
        for row in rows {
            if let payload = found[row.id] { payloads.put(shape.collection, row.id, row.version, payload) }
        }
        return found
    }
}

/// Rotations of collections that searches came by of; their numbers are never used again.
final class RotationCache: Sendable {
    private static let limit = 64
    private let lock = Lock()
    // Guarded by the lock.
    nonisolated(unsafe) private var byNumber: [UInt32: VectorRotation] = [:]

    func known(_ number: UInt32) -> VectorRotation? { lock.withLock { byNumber[number] } }

    func put(_ number: UInt32, _ rotation: VectorRotation) {
        lock.withLock {
            if byNumber.count >= Self.limit, let oldest = byNumber.keys.min() { byNumber[oldest] = nil }
            byNumber[number] = rotation
        }
    }
}

/// Why payloads cannot be given.
enum PayloadFault: Error {
    case storeIsDown
    /// More than a reply can hold.
    case tooLarge
}

/// Payloads of one answer, counted, so that it never takes more memory than a reply can hold.
struct PayloadCount {
    private var bytes = 0

    mutating func add(_ payload: String?) throws(PayloadFault) {
        bytes += payload?.utf8.count ?? 0
        if bytes > FrontLimits.replyBytesMax { throw .tooLarge }
    }
}

/// Payloads read lately, within a bound of bytes: the older half is dropped when the newer one is full.
final class PayloadCache: @unchecked Sendable {
    // Unchecked: guarded by the lock.
    private struct Key: Hashable {
        var collection: UInt32
        var id: Int64
        var version: UInt32
    }

    private let lock = Lock()
    private let halfLimit: Int
    private var young: [Key: String?] = [:]
    private var old: [Key: String?] = [:]
    private var youngBytes = 0

    init(byteLimit: Int) { halfLimit = byteLimit / 2 }

    /// Nil where it is not here; a document without a payload is here as nil within.
    func payload(_ collection: UInt32, _ id: Int64, _ version: UInt32) -> String?? {
        let key = Key(collection: collection, id: id, version: version)
        return lock.withLock {
            if let found = young[key] { return .some(found) }
            guard let found = old[key] else { return nil }
            add(key, found)
            return .some(found)
        }
    }

    func put(_ collection: UInt32, _ id: Int64, _ version: UInt32, _ payload: String?) {
        lock.withLock { add(Key(collection: collection, id: id, version: version), payload) }
    }

    private func add(_ key: Key, _ payload: String?) {
        let bytes = 64 + (payload?.utf8.count ?? 0)
        if youngBytes + bytes > halfLimit {
            old = young
            young = [:]
            youngBytes = 0
        }
        if young.updateValue(payload, forKey: key) == nil { youngBytes += bytes }
    }
}
