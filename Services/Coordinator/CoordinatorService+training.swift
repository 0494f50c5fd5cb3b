import Coordination
import DocumentStore
import Logging
import Matryoshka
import WireProtocol

extension CoordinatorService {
    /// A training that a worker was asked for, or the pause after one that failed.
    struct Training {
        var generation: UInt32
        /// nil: it failed; not again before `notBefore`.
        var worker: UInt64?
        var notBefore: UInt64
    }

    private static let trainingMicroseconds: UInt64 = 3_600_000_000
    private static let pauseAfterFailureMicroseconds: UInt64 = 5_000_000

    /// Names a worker for what an asked-for form of a collection still has to learn.
    func train() {
        guard isLeader else { return }
        for record in collections.values {
            renew(record)
            guard let target = record.targetShape, let subject = target.missing else { continue }
            let number = target.collection
            if let last = trainings[number] {
                let isRunning = last.worker.map { registry.workers[$0] != nil } ?? false
                if isRunning && last.generation == target.generation { continue }
                if last.worker == nil && last.notBefore > now { continue }
            }
            let holding = Holding(
                collection: number,
                generation: record.shape.generation,
                role: .shortlist
            )
            guard directory.rows(holding) >= target.rowsToLearn(subject) else { continue }
            let candidates = registry.workers(of: .shortlist).filter { !$0.isDraining }
            guard let worker = candidates.min(by: { $0.inFlight < $1.inFlight })?.incarnation else { continue }
            trainings[number] = Training(generation: target.generation, worker: worker, notBefore: 0)
            log.info(
                "training",
                metadata: [
                    "collection": "\(target.name)", "subject": "\(subject.rawValue)", "worker": "\(worker)",
                    "generation": "\(target.generation)",
                ]
            )
            let command = TrainCommand(subject: subject, shape: WireShape(target))
            dispatch(
                BackMessage(.train(command), BackHeader(type: .train, collection: number)),
                to: worker,
                owner: .training(number),
                deadline: now + Self.trainingMicroseconds
            )
        }
    }

    /// Asks for new lists where a collection has outgrown those in use.
    private func renew(_ record: CollectionRecord) {
        guard record.targetShape == nil, record.shape.index.kind == .ivf, let learnt = record.rowsLearnt else { return }
        let shape = record.shape
        let holding = Holding(collection: shape.collection, generation: shape.generation, role: .shortlist)
        guard directory.rows(holding) >= 2 * max(learnt, 256), !control.isUnderWay(.lists(shape.collection))
        else { return }
        log.info("the collection has doubled since its lists were learnt", metadata: ["collection": "\(shape.name)"])
        control.run(
            .lists(shape.collection),
            { _ = try $0.configure(shape.name, ResidencyChange(retrains: true)) },
            then: { [self] _ in refreshCollections {} }
        )
    }

    func trainingEnded(_ collection: UInt32, _ result: Result<Trained, FrontError>) {
        switch result {
        case .success: trainings[collection] = nil
        case .failure(let error):
            log.warning("training failed", metadata: ["collection": "\(collection)", "reason": "\(error.message)"])
            trainings[collection]?.worker = nil
            trainings[collection]?.notBefore = now + Self.pauseAfterFailureMicroseconds
        }
        refreshCollections { [self] in train() }
    }
}

extension CollectionShape {
    /// What has to be learnt next before workers can load it.
    fileprivate var missing: TrainCommand.Subject? {
        if rotation != .none && learntRotation == 0 { return .rotation }
        return index.isTrained ? nil : .centroids
    }

    /// Rows that must be there to learn from.
    fileprivate func rowsToLearn(_ subject: TrainCommand.Subject) -> Int {
        switch subject {
        case .rotation: dimensions
        case .centroids: max(256, index.lists)
        }
    }
}
