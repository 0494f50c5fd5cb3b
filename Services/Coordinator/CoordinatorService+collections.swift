import Coordination
import DocumentStore
import Logging
import Matryoshka
import ServiceRuntime
import WireProtocol
import ZeroMQ

extension CoordinatorService {
    func begin(_ request: CollectionsRequest, _ key: UInt64) {
        guardDeadline(key) { .databaseIsSilent("a change may still be made") }
        let job: @Sendable (Store) throws -> Void
        var answered = ""
        switch request {
        case .list:
            finish(key, .object(type: "collections", json: .object([.init("collections", collectionsJSON)])))
            return
        case .create(let wanted):
            do {
                try refuseUnserved(wanted.residency, rotation: wanted.rotation)
                let definition = try definition(wanted)
                answered = definition.name
                job = { _ = try $0.createCollection(definition) }
            } catch {
                fail(key, error)
                return
            }
        case .drop(let name):
            answered = name
            job = { try $0.dropCollection(name) }
        case .alias(let name, let collection):
            answered = name
            job = { try $0.setAlias(name, collection: collection) }
        case .configure(let name, let change):
            do {
                try refuseUnserved(change)
                let shape = try resolve(name).shape
                answered = shape.name
                job = { _ = try $0.configure(shape.name, change) }
            } catch {
                fail(key, error)
                return
            }
        }
        let name = answered
        control.run(job) { [self] result in
            switch result {
            case .failure(let error): fail(key, storeError(error))
            case .success:
                refreshCollections { [self] in
                    let info = names[name].flatMap { collections[$0] }.map { collectionJSON($0) } ?? .null
                    finish(
                        key,
                        .object(
                            type: "collections",
                            json: .object([.init("name", .string(name)), .init("collection", info)])
                        )
                    )
                }
            }
        }
    }

    private func refuseUnserved(_ change: ResidencyChange, rotation: Rotation = .none) throws(FrontError) {
        if change.index == .hnsw {
            throw FrontError(.unsupported, field: "index", "hnsw is not served", allowed: "flat, ivf")
        }
        if change.holdsSigns == true {
            throw FrontError(.unsupported, field: "resident_signs", "sign bits are not held", allowed: "false")
        }
        if rotation != .none {
            throw FrontError(.unsupported, field: "rotation", "rotations are not learnt", allowed: "none")
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
            isMatryoshka: wanted.isMatryoshka ?? (smallest != nil),
            similarity: wanted.similarity,
            storedHeadWidth: wanted.storedHeadWidth,
            rotation: wanted.rotation,
            residency: wanted.residency
        )
    }
}
