import Encoding
import Evaluation
import FoundationEssentials
import Learning
import VectorMath

/// What a run cost on this machine: beside the model, not part of its identity.
struct TrainingCosts: Encodable {
    var preparationCPUSeconds = 0.0
    var trainingCPUSeconds = 0.0
    var coreType = BLAS.coreType

    enum CodingKeys: String, CodingKey {
        case preparationCPUSeconds = "preparation_cpu_seconds"
        case trainingCPUSeconds = "training_cpu_seconds"
        case coreType = "blas_core_type"
    }

    /// By name, as a model directory takes it.
    var file: [String: String] { get throws { ["costs.json": try jsonText(self) + "\n"] } }
}

/// JSON for people: sorted, indented.
func jsonText(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}

extension TrainingRecord {
    /// What all trainings have.
    init(
        _ method: TrainingMethod,
        objective: String,
        nesting: Nesting,
        run: RunSettings,
        optimiser: Optimiser,
        history: TrainingHistory,
        data: String
    ) {
        self.init(
            method: method.rawValue,
            corpus: data,
            epochs: run.epochs,
            batch: run.batch,
            learningRate: Double(run.rate.peak),
            seed: run.seed,
            bestEpoch: history.bestEpoch,
            trainingLoss: history.trainingLoss,
            validationLoss: history.validationLoss
        )
        self.objective = objective
        if nesting.weights.contains(where: { $0 != 1 }) { weights = nesting.weights }
        self.optimiser =
            switch optimiser.rule {
            case .adam: optimiser.weightDecay > 0 ? "adamw" : "adam"
            case .sgd(let momentum): "sgd, momentum \(momentum)"
            }
        warmUp = Double(run.rate.warmUp)
        decay = run.rate.decay.rawValue
        weightDecay = Double(optimiser.weightDecay)
        patience = run.patience
    }

    static let contrastive = "symmetric InfoNCE over renormalised prefixes"
    static let softmax = "softmax cross-entropy at each size"
}

/// A model that was made.
struct TrainedModel: Encodable {
    var id: String
    var directory: String
    var record: TrainingRecord
}

/// Known-item search by vectors in memory.
struct KnownItemFigures: Encodable {
    struct Row: Encodable {
        var search: String
        var reciprocalRank: Double
        var hitRate: Double

        enum CodingKeys: String, CodingKey {
            case search
            case reciprocalRank = "mrr_at_10"
            case hitRate = "recall_at_10"
        }

        init(_ search: String, _ ranks: [Int?]) {
            self.search = search
            reciprocalRank = Metrics.meanReciprocalRank(ranks, at: 10)
            hitRate = Metrics.hitRate(ranks, at: 10)
        }
    }

    var part: String
    var queries: Int
    var documents: Int
    var rows: [Row] = []

    /// Rows as a table.
    var text: String {
        var table = Table(["dimensions or plan", "MRR@10 %", "found in 10 %"])
        for row in rows {
            table.add([row.search, fixed(row.reciprocalRank * 100, 1), fixed(row.hitRate * 100, 1)])
        }
        return "known-item search, \(grouped(queries)) queries of the \(part) part among \(grouped(documents)) "
            + "documents, ties count against us:\n\(table.text)"
    }
}
