import Coordination
import DocumentStore
import Logging
import Matryoshka
import ServiceRuntime
import WireProtocol
import ZeroMQ

extension CoordinatorService {
    /// Left before a deadline for the answer itself.
    private static let answerMicroseconds: UInt64 = 50_000

    func begin(_ request: CollectionsRequest, _ key: UInt64) {
        let job: @Sendable (Store) throws -> Void
        var answered = ""
        var field: String?
        var isNew = false
        switch request {
        case .list:
            finish(key, .object(type: "collections", json: .object([.init("collections", collectionsJSON)])))
            return
        case .create(let wanted):
            do {
                let definition = try definition(wanted)
                try refuseUnfitting(definition)
                answered = definition.name
                isNew = true
                let model = registry.workers(of: .encoder).compactMap(\.registration.model)
                    .first { $0.id == definition.model }
                job = {
                    // Its encoder's registration may still be on the way.
                    if let model { try $0.registerModel(ModelRecord(model)) }
                    _ = try $0.createCollection(definition)
                }
            } catch {
                fail(key, error)
                return
            }
        case .drop(let name):
            answered = name
            // An alias is not dropped with what it points to.
            field = "name"
            job = { try $0.dropCollection(name) }
        case .alias(let name, let collection):
            answered = name
            if collection == nil { field = "name" }
            job = { try $0.setAlias(name, collection: collection) }
        case .configure(let name, let change):
            do {
                let record = try resolve(name, field: "name")
                let shape = record.shape
                try refuseUnfitting(change, storedHeadWidth: shape.storedHeadWidth)
                let next = change.applied(to: record.targetShape ?? shape)
                try refuseSigns(
                    holdsSigns: next.holdsSigns,
                    index: next.index.kind,
                    next.storedHeadWidth,
                    asked: change
                )
                answered = shape.name
                field = "name"
                job = { _ = try $0.configure(shape.name, change) }
            } catch {
                fail(key, error)
                return
            }
        }
        let (name, waits, place) = (answered, isNew, field)
        let passage = WritePassage()
        running[key]?.passage = passage
        guardDeadline(key) {
            passage.close()
                ? .databaseIsSilent(Self.outcomeUnknown)
                : .databaseIsSilent("the change was not sent, nothing was changed")
        }
        let queued = changes.run(
            {
                guard passage.begin() else { throw WriteAbandoned() }
                try job($0)
            }
        ) { [self] result in
            switch result {
            case .failure(let error):
                var refusal = storeError(error, after: passage, outcome: Self.outcomeUnknown)
                if refusal.code == .unknownCollection {
                    if let place { refusal.field = place }
                    refusal.allowed = knownNames
                }
                fail(key, refusal)
            case .success:
                dropGuard(key)
                guardDeadline(key) { .databaseIsSilent("the change was made; list the collections to see it") }
                refreshCollections { [self] in
                    dropGuard(key)
                    if waits { answerOnceServed(name, key) } else { answer(name, key) }
                }
            }
        }
        if !queued {
            fail(key, FrontError(.overloaded, "too many changes wait for the database", retryAfterMilliseconds: 200))
        }
    }

    private static let outcomeUnknown = "it is unknown whether the change was made; list the collections to see"

    private func answer(_ name: String, _ key: UInt64) {
        let info = names[name].flatMap { collections[$0] }.map { collectionJSON($0) } ?? .null
        finish(
            key,
            .object(type: "collections", json: .object([.init("name", .string(name)), .init("collection", info)]))
        )
    }

    /// Answers a `create` when its shards are ready at the workers that run, or shortly before the deadline: a search
    /// right after it would find no shard otherwise.
    private func answerOnceServed(_ name: String, _ key: UInt64) {
        guard let request = running[key] else { return }
        let isServed =
            names[name].flatMap { collections[$0] }.map { record in
                [WorkerRole.shortlist, .rerank].allSatisfy { role in
                    let holding = Holding(
                        collection: record.shape.collection,
                        generation: record.shape.generation,
                        role: role
                    )
                    return !registry.workers(of: role).contains { !$0.isDraining }
                        || directory.readyShardCount(holding) + (placement.withoutRoom[holding]?.count ?? 0)
                            >= Slots.shardCount
                }
            } ?? true
        guard !isServed, now + Self.answerMicroseconds < request.deadline else { return answer(name, key) }
        _ = loop.schedule(afterMicroseconds: 10_000) { [self] in answerOnceServed(name, key) }
    }

    /// What PostgreSQL would refuse too, but in the words of the request.
    private func refuseUnfitting(_ definition: CollectionDefinition) throws(FrontError) {
        let dimensions = definition.dimensions
        let head = definition.storedHeadWidth ?? min(dimensions, 128)
        for (field, value) in [("smallest_dimensions", definition.smallestDimensions), ("stored_head_width", head)] {
            guard !(1...dimensions).contains(value) else { continue }
            throw FrontError(
                .badHeader,
                field: field,
                "\(field) is \(value), the collection has \(dimensions) dimensions",
                allowed: "1 to \(dimensions)"
            )
        }
        if definition.rotation != .none, dimensions > CollectionShape.rotatedDimensionsMax {
            throw FrontError(
                .unsupported,
                field: "rotation",
                "rotations are learnt for at most \(CollectionShape.rotatedDimensionsMax) dimensions, not \(dimensions)",
                allowed: "none"
            )
        }
        let change = definition.residency
        try refuseUnfitting(change, storedHeadWidth: head)
        try refuseSigns(holdsSigns: change.holdsSigns ?? false, index: change.index ?? .flat, head, asked: change)
    }

    private func refuseSigns(
        holdsSigns: Bool,
        index: CollectionIndex.Kind,
        _ head: Int,
        asked: ResidencyChange
    ) throws(FrontError) {
        guard holdsSigns else { return }
        if index == .hnsw {
            throw FrontError(
                .unsupported,
                field: asked.index == .hnsw ? "index" : "resident_signs",
                "a graph is walked by the resident score alone: it has no use for sign bits",
                allowed: asked.index == .hnsw ? "flat, ivf, or resident_signs false" : "false"
            )
        }
        if head > CollectionShape.signWidthMax {
            throw FrontError(
                .unsupported,
                field: "resident_signs",
                "sign bits are held of heads of at most \(CollectionShape.signWidthMax) dimensions, not \(head)",
                allowed: "false"
            )
        }
    }

    private func refuseUnfitting(_ change: ResidencyChange, storedHeadWidth head: Int) throws(FrontError) {
        for (field, value) in [("resident_width", change.width), ("coarse_dimensions", change.coarseDimensions)] {
            guard let value, !(1...head).contains(value) else { continue }
            throw FrontError(
                .badHeader,
                field: field,
                "\(field) is \(value), the stored head width is \(head)",
                allowed: "1 to \(head)"
            )
        }
    }

    private func definition(_ wanted: CreateCollection) throws(FrontError) -> CollectionDefinition {
        let models = registry.workers(of: .encoder).compactMap(\.registration.model)
        var model = wanted.model.flatMap { id in models.first { $0.id == id || $0.name == id } }
        if wanted.model == nil, let only = models.first,
            wanted.dimensions == nil || wanted.dimensions == only.dimensions
        {
            model = only
        }
        if let asked = wanted.model, model == nil, wanted.dimensions == nil {
            throw FrontError(
                .modelMismatch,
                field: "model",
                "no running encoder has the model \(asked)",
                allowed: models.isEmpty ? "start mrl-encoder first" : models.map(\.id).joined(separator: ", ")
            )
        }
        guard let dimensions = wanted.dimensions ?? model?.dimensions else {
            throw FrontError(
                .badDimension,
                field: "dimensions",
                "no dimensions are given and no encoder is running to tell them",
                allowed: "1 to \(FrontLimits.dimensionsMax)"
            )
        }
        if let model, model.dimensions != dimensions {
            throw FrontError(
                .modelMismatch,
                field: "dimensions",
                "the model makes \(model.dimensions) dimensions",
                allowed: "\(model.dimensions)"
            )
        }
        let smallest = wanted.smallestDimensions ?? model?.smallestDimensions
        return CollectionDefinition(
            name: wanted.name,
            model: model?.id ?? wanted.model,
            dimensions: dimensions,
            smallestDimensions: smallest,
            isMatryoshka: wanted.isMatryoshka ?? (smallest.map { $0 < dimensions } ?? false),
            similarity: wanted.similarity,
            storedHeadWidth: wanted.storedHeadWidth,
            rotation: wanted.rotation,
            residency: wanted.residency
        )
    }
}
