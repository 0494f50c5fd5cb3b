public import ArgumentParser
import FoundationEssentials
public import Learning
import ServiceRuntime

/// Which sizes are trained, and how much each counts.
struct NestingOptions: ParsableArguments {
    enum Spacing: String, ExpressibleByArgument, CaseIterable {
        case log, uniform
    }

    @Option(help: "Full size D of the vectors (default: the encoder's; of a static model 256).") var dimensions: Int?
    @Option(
        help: ArgumentHelp("Sizes to train, ascending, the last one D; instead of --spacing.", valueName: "8,16,…")
    )
    var nesting: String?
    @Option(help: "Sizes that double from the smallest (log), or lie equally far apart (uniform).")
    var spacing = Spacing.log
    @Option(help: "The smallest size.") var smallest = 8
    @Option(help: "How many sizes uniform spacing has (default: as many as log).") var sizes: Int?
    @Option(
        help: ArgumentHelp("Weight of each size in the loss, c_m (default: 1 each).", valueName: "2,1,…")
    )
    var weights: String?

    /// The nesting that the options ask for, on vectors of `width` numbers where they do not say D.
    func nesting(width: Int) throws -> Nesting {
        let named = try nesting.map { try numbers("--nesting", $0, Int.init) }
        let full = dimensions ?? named?.last ?? width
        guard (1...4096).contains(full) else { throw ValidationError("--dimensions is \(full), allowed are 1 to 4096") }
        let sizes: [Int]
        if let named {
            guard named.last == full, named[0] > 0, zip(named, named.dropFirst()).allSatisfy({ $0 < $1 }) else {
                throw ValidationError("--nesting must ascend from 1 or more and end with the full size, \(full)")
            }
            sizes = named
        } else {
            guard smallest >= 1 else { throw ValidationError("--smallest is \(smallest), allowed are 1 to \(full)") }
            let log = Nesting.doubling(from: min(smallest, full), to: full)
            switch spacing {
            case .log: sizes = log.sizes
            case .uniform:
                let count = self.sizes ?? log.sizes.count
                guard smallest < full, (2...full - smallest + 1).contains(count) else {
                    throw ValidationError(
                        "--sizes is \(count), allowed are 2 to \(max(2, full - smallest + 1)) from \(smallest) to \(full)"
                    )
                }
                sizes = Nesting.uniform(from: smallest, to: full, count: count).sizes
            }
        }
        let weights = try weights.map { try numbers("--weights", $0, Float.init) }
        if let weights, weights.count != sizes.count {
            throw ValidationError("--weights has \(weights.count) numbers for the \(sizes.count) sizes \(list(sizes))")
        }
        guard let nesting = Nesting(sizes: sizes, weights: weights) else {
            throw ValidationError("--weights are finite and above 0")
        }
        return nesting
    }

    func validate() throws {
        if sizes != nil, spacing != .uniform { throw ValidationError("--sizes goes with --spacing uniform") }
        if nesting != nil, spacing != .log { throw ValidationError("give --nesting or --spacing, not both") }
        // Else the encoder tells the width.
        if dimensions != nil || nesting != nil { _ = try nesting(width: 1) }
    }

    private func numbers<Number>(_ option: String, _ text: String, _ read: (String) -> Number?) throws -> [Number] {
        try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
            guard let number = read(part.filter { $0 != " " }) else {
                throw ValidationError("\(option): \"\(part)\" is not a number")
            }
            return number
        }
    }
}

/// Sizes as `8, 16, 32`.
func list(_ sizes: [Int]) -> String { sizes.map(String.init).joined(separator: ", ") }

/// How long and how fast a run learns, and where it keeps what it has learnt so far.
struct RunOptions: ParsableArguments {
    enum Rule: String, ExpressibleByArgument, CaseIterable {
        case adam, sgd
    }

    /// What holds where nothing is said.
    struct Defaults {
        var epochs: Int
        var batch: Int
        var rate: Float
        var weightDecay: Float = 0
        var patience: Int? = 2
    }

    @Option(help: "Passes over the data, at most (default: static 4, adapter 6, classifier 12).") var epochs: Int?
    @Option(help: "Pairs or texts in a batch; of pairs a multiple of 8 (default: 512, 256, 128).") var batch: Int?
    @Option(
        name: [.customLong("lr"), .customLong("learning-rate")],
        help: "Peak of the rate (default: 0.05, 0.001, 0.002; a classifier's own table 0.05)."
    )
    var rate: Float?
    @Option(help: "Share of the steps in which the rate rises to its peak.") var warmUp: Float = 0.1
    @Option(help: "How it falls to 0 after that: linear, cosine or none.") var decay = LearningRate.Decay.linear
    @Option(help: "adam, or sgd with --momentum; a table of tokens learns with adam.") var optimiser = Rule.adam
    @Option(help: "Momentum of sgd.") var momentum: Float = 0.9
    @Option(help: "Share of each number that a step takes away, times the rate (default: 0; of a classifier 0.01).")
    var weightDecay: Float?
    @Option(
        help: """
            Epochs without a lower validation loss after which the run ends, and the one with the lowest is kept (default: \
            2; of static models none: all epochs run and the last is kept).
            """
    )
    var patience: Int?
    @Option(help: "Start of the random numbers; the same gives the same model.") var seed: UInt64 = 1
    @Option(help: ArgumentHelp("Keep in DIR how far the run came, after each epoch.", valueName: "DIR"))
    var checkpoint: String?
    @Option(help: ArgumentHelp("Keep it every so many steps too.", valueName: "steps")) var checkpointSteps: Int?
    @Flag(help: "Go on from the checkpoint, to the same bits as an uninterrupted run.") var resume = false

    func validate() throws {
        if let epochs { try check("--epochs", epochs, 1...100_000) }
        if let batch { try check("--batch", batch, 1...65_536) }
        if let rate, !(rate > 0 && rate.isFinite) { throw ValidationError("--lr must be above 0") }
        guard (0...1).contains(warmUp) else { throw ValidationError("--warm-up must be 0 to 1") }
        guard momentum >= 0, momentum < 1 else { throw ValidationError("--momentum must be 0 to below 1") }
        if let weightDecay, !(weightDecay >= 0 && weightDecay.isFinite) {
            throw ValidationError("--weight-decay must be 0 or more")
        }
        if let patience { try check("--patience", patience, 1...100_000) }
        if let checkpointSteps { try check("--checkpoint-steps", checkpointSteps, 1...Int.max) }
        if checkpoint == nil, resume || checkpointSteps != nil {
            throw ValidationError("--resume and --checkpoint-steps go with --checkpoint DIR")
        }
    }

    private func check(_ option: String, _ value: Int, _ range: ClosedRange<Int>) throws {
        guard range.contains(value) else {
            let end = range.upperBound == .max ? "or more" : "to \(range.upperBound)"
            throw ValidationError("\(option) is \(value), allowed are \(range.lowerBound) \(end)")
        }
    }

    func run(_ defaults: Defaults) -> RunSettings {
        RunSettings(
            epochs: epochs ?? defaults.epochs,
            batch: batch ?? defaults.batch,
            rate: LearningRate(peak: rate ?? defaults.rate, warmUp: warmUp, decay: decay),
            patience: patience ?? defaults.patience,
            seed: seed
        )
    }

    func optimiser(_ defaults: Defaults) -> Optimiser {
        Optimiser(
            rule: optimiser == .adam ? .adam : .sgd(momentum: momentum),
            weightDecay: weightDecay ?? defaults.weightDecay
        )
    }

    /// Batches of pairs are whole lanes; a table learns with Adam alone.
    func checkPairs(isTable: Bool) throws {
        if let batch, batch % 8 != 0 { throw ValidationError("--batch is \(batch), of pairs it is a multiple of 8") }
        if isTable { try checkTable() }
    }

    func checkTable() throws {
        if optimiser != .adam { throw ValidationError("--optimiser \(optimiser): a table of tokens learns with adam") }
    }
}

extension LearningRate.Decay: ExpressibleByArgument {}
extension TrainingMethod: ExpressibleByArgument {}

/// What is trained on frozen vectors.
struct ShapeOptions: ParsableArguments {
    enum Shape: String, ExpressibleByArgument, CaseIterable {
        case linear, hidden, residual, none
    }

    @Option(help: "linear, hidden (one layer of rectified units), residual (a stack); of a classifier none too.")
    var shape: Shape?
    @Option(help: "Units of the hidden layer (default: 2 D).") var units: Int?
    @Option(help: "Blocks of the residual stack.") var blocks = 2

    func validate() throws {
        if let units, !(1...65_536).contains(units) {
            throw ValidationError("--units is \(units), allowed are 1 to 65536")
        }
        guard (1...64).contains(blocks) else { throw ValidationError("--blocks is \(blocks), allowed are 1 to 64") }
        if units != nil, shape != .hidden { throw ValidationError("--units goes with --shape hidden") }
    }

    func adapter(_ shape: Shape, dimensions: Int) -> AdapterShape {
        switch shape {
        case .linear: .linear
        case .hidden: .hidden(units: units ?? 2 * dimensions)
        case .residual: .residual(blocks: blocks)
        case .none: .none
        }
    }
}

/// What decides when a run ends, and which of its epochs is kept.
enum ValidationChoice: ExpressibleByArgument {
    /// Of the training file, 0 to below 1.
    case share(Double)
    case file(String)

    init?(argument: String) {
        guard let share = Double(argument) else {
            self = .file(argument)
            return
        }
        guard (0..<1).contains(share) else { return nil }
        self = .share(share)
    }
}

/// Where the result goes.
struct ResultOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The directory to make.", valueName: "DIR")) var output: String
    @Option(help: "Name for people (default: the directory's).") var name: String?
    @Flag(help: "Train again where the result is there already.") var force = false
    @Flag(help: "Print the record and the figures as JSON.") var json = false

    /// The name, with what tells several results of one run apart.
    func name(_ suffix: String = "") -> String { (name ?? fileName(output)) + suffix }
}

/// A whole file; files to learn from are small beside what is learnt.
func trainingData(_ path: String) throws -> Data {
    guard let data = FileManager.default.contents(atPath: path) else {
        throw StartupFailure("\(path) is missing or unreadable")
    }
    return data
}
