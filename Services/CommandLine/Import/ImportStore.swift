import DocumentStore
import Matryoshka
import ServiceRuntime

/// Where an import's batches go: one transaction each with the offset after it, so that each is stored once.
///
/// A lost connection is made anew; the offset then tells whether the batch had been committed.
final class ImportStore: @unchecked Sendable {
    // @unchecked: used by one thread at a time, the writer's and after its end the command's.
    private static let patienceSeconds = 60.0

    private let collection: UInt32
    private let source: String
    private let connect: () throws -> Store
    private var store: Store?
    private var hasStored = false
    private var isStored = false

    init(_ store: Store, collection: UInt32, source: String, connect: @escaping () throws -> Store) {
        self.store = store
        self.collection = collection
        self.source = source
        self.connect = connect
    }

    /// Stores a batch, however often the database goes away meanwhile.
    ///
    /// - Throws: ``StartupFailure`` where the database refuses it or stays away.
    func write(_ rows: [UpsertRow], _ offset: Int) throws {
        let giveUpAt = now() + Self.patienceSeconds
        while true {
            do {
                let store = try usable(offset)
                if !isStored {
                    _ = try store.stageAndUpsert(collection: collection, rows: rows, source: (source, Int64(offset)))
                }
                // A hint that makes followers look at once.
                try? store.notifyWritten(collection: collection)
                hasStored = true
                isStored = false
                return
            } catch let error as StoreError where !error.isConnectionLost {
                throw StartupFailure("\(error)")
            } catch {
                guard now() < giveUpAt else { throw StartupFailure("\(error)") }
                if store != nil { Output.note("The database is away; going on when it is back.") }
                store = nil
                pause(milliseconds: 200)
            }
        }
    }

    /// The connection; after a loss a new one, which tells whether the batch up to `offset` was committed.
    private func usable(_ offset: Int) throws -> Store {
        if let store { return store }
        let fresh = try connect()
        // An offset from before this run says nothing of this run's rows.
        isStored = try hasStored && fresh.importOffset(collection: collection, source: source) == Int64(offset)
        store = fresh
        return fresh
    }
}
