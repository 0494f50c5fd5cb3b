import ArgumentParser
import CommandHelp
import Evaluation
import Matryoshka
import ServiceRuntime
import WireProtocol

/// `mrl plan`.
struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Work out what a collection will need.",
        discussion: helpDiscussion(
            examples: """
                mrl plan capacity --documents 1e9 --dimensions 768 --qps 1000
                """
        ),
        subcommands: [Capacity.self]
    )

    /// Machines, memory, rate and cost.
    struct Capacity: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Machines, memory, queries a second and cost for your own numbers.",
            discussion: helpDiscussion(
                """
                Cores for the scan are the greater of two:
                  throughput  queries a second · scanned rows
                            · (row ns + dimension ns · m) / utilisation
                  latency     1.5 · scanned rows · (time of one row in a single scan)
                            / (p50 − hops − rerank)
                Cores for rerank and for the processes themselves come on top. Memory is documents · (H · bytes a number
                + overhead) for heads, and documents · (4 · D + overhead) for the vectors that are held. The greater of
                cores and memory decides the machines. Rates are those measured for deploy/capacity.md: measure your own
                with deploy/benchmark and give them here.
                """,
                examples: """
                    mrl plan capacity --documents 1e9 --dimensions 768 --qps 1000 --p50 50 \\
                      --cores 64 --memory 512 --price 3
                    mrl plan capacity --documents 2e7 --dimensions 512 --resident 32 \\
                      --plan 32:400,512:10 --qps 200 --json
                    mrl plan capacity --documents 1e9 --dimensions 768 --probed 0.02 \\
                      --cached 0.1 --qps 1000 --price 3
                    mrl plan capacity --documents 1e9 --dimensions 768 --qps 1000 --kernels amx
                    mrl plan capacity --documents 1e9 --dimensions 768 \\
                      --plan 64:1000:bit,64:100,768:10
                    """
            )
        )

        @Option(help: "Documents, for example 1e9.") var documents: Double
        @Option(help: "Full size D of the vectors.") var dimensions: Int
        @Option(help: "H, dimensions that shortlist workers hold.") var resident = 64
        @Option(help: "Precision of what they hold: int8 or float32.") var precision = "int8"
        @Option(help: "Sign bits of a row held beside; default: W where the plan begins with bits, else 0.")
        var signBits: Int?
        @Option(help: "Stages, dimensions:keep[:precision],…; default: H:200,D:10.") var plan: PlanArgument?
        @Option(help: "Queries a second at the peak.") var qps = 100.0
        @Option(help: "Latency that half of the queries stay below, in milliseconds.") var p50 = 50.0
        @Option(help: "Cores of one machine.") var cores = 32.0
        @Option(help: "Memory of one machine for rows, in GB.") var memory = 128.0
        @Option(help: "Price of one machine an hour, in any currency.") var price = 1.0
        @Option(help: "Share of the rows that a query scans; less than 1 with an index.") var probed = 1.0
        @Option(help: "Share of the full vectors that rerank workers hold in memory.") var cached = 1.0
        @Option(help: "Copies of each shard.") var replicas = 1.0

        @Option(help: "Kernels whose rates are meant: vnni or amx, as a worker's log tells.")
        var kernels = CapacityPlan.Kernels.vnni.rawValue
        @Option(help: "Memory that a scan reads, GB a second and core.") var scanGbps: Double?
        @Option(help: "Core time of a batched scan, nanoseconds per query and row.") var rowNs: Double?
        @Option(help: "And so much per dimension.") var dimensionNs: Double?
        @Option(help: "Core time to rerank a candidate, microseconds.") var candidateUs: Double?
        @Option(help: "And so much per dimension.") var candidateDimensionUs: Double?
        @Option(help: "Core time of a query beside scan and rerank, microseconds.") var queryUs: Double?
        @Option(help: "Core time of asking one worker more, microseconds.") var workerUs: Double?
        @Option(help: "Latency of an empty search, milliseconds.") var hopsMs: Double?
        @Option(help: "Bytes a document beside its head.") var headOverhead: Double?
        @Option(help: "Bytes a document beside its full vector.") var vectorOverhead: Double?
        @Option(help: "Share of the cores' time that may be used.") var utilisation: Double?
        @Flag(help: "Print JSON.") var json = false

        func validate() throws {
            let positive = [
                ("documents", documents), ("qps", qps), ("p50", p50), ("cores", cores), ("memory", memory),
                ("replicas", replicas),
            ]
            for (name, value) in positive where !(value > 0 && value < 1e15) {
                throw ValidationError("--\(name) is \(value); allowed: above 0, below 1e15")
            }
            guard price >= 0, price < 1e9 else { throw ValidationError("--price is \(price); it must not be negative") }
            guard probed > 0, probed <= 1 else {
                throw ValidationError("--probed is \(probed); allowed: above 0, to 1")
            }
            guard (0...1).contains(cached) else { throw ValidationError("--cached is \(cached); allowed: 0 to 1") }
            if let utilisation, !(utilisation > 0 && utilisation <= 1) {
                throw ValidationError("--utilisation is \(utilisation); allowed: above 0, to 1")
            }
            guard ["int8", "float32"].contains(precision) else {
                throw ValidationError("--precision is \(precision); allowed: int8, float32")
            }
            guard CapacityPlan.Kernels(rawValue: kernels) != nil else {
                throw ValidationError("--kernels is \(kernels); allowed: vnni, amx")
            }
            guard (1...65_536).contains(dimensions) else {
                throw ValidationError("--dimensions is \(dimensions); allowed: 1 to 65536")
            }
            guard resident >= 1, resident <= dimensions else {
                throw ValidationError("--resident is \(resident); allowed: 1 to --dimensions (\(dimensions))")
            }
            if let first = plan?.plan.stages.first {
                let held = first.precision == .bit ? storedBits : resident
                guard (1...max(1, held)).contains(first.dimensions) else {
                    throw ValidationError("the plan's first stage must have 1 to \(held) dimensions, those held")
                }
            }
            if let signBits, !(0...128).contains(signBits) {
                throw ValidationError("--sign-bits is \(signBits); allowed: 0 to 128")
            }
            let overrides = [
                ("scan-gbps", scanGbps), ("row-ns", rowNs), ("dimension-ns", dimensionNs),
                ("candidate-us", candidateUs),
                ("candidate-dimension-us", candidateDimensionUs), ("query-us", queryUs), ("worker-us", workerUs),
                ("hops-ms", hopsMs), ("head-overhead", headOverhead), ("vector-overhead", vectorOverhead),
            ]
            for case (let name, let value?) in overrides where !(value >= 0 && value < 1e12) {
                throw ValidationError("--\(name) is \(value); it must not be negative")
            }
            if scanGbps == 0 { throw ValidationError("--scan-gbps is 0; it must be above 0") }
        }

        func run() throws {
            let stages = plan?.plan.stages ?? [Stage(dimensions: resident, keep: 200)]
            let first = stages[0]
            // Those that shortlist workers score themselves.
            let held = stages.prefix { $0.precision == .bit || $0.dimensions <= resident }
            let demand = CapacityPlan.Demand(
                documents: documents,
                dimensions: dimensions,
                residentWidth: resident,
                residentBytes: precision == "int8" ? 1 : 4,
                signBits: storedBits,
                scanDimensions: first.dimensions,
                scansSigns: first.precision == .bit,
                keep: held.last?.keep ?? first.keep,
                queriesPerSecond: qps,
                latencyMilliseconds: p50,
                probedShare: probed,
                cachedShare: cached,
                replicas: replicas
            )
            let machine = CapacityPlan.Machine(cores: cores, memoryBytes: memory * 1e9, pricePerHour: price)
            guard let plan = CapacityPlan(demand, on: machine, rates: rates) else {
                throw StartupFailure(
                    "hops and rerank alone take more than \(fixed(p50, 1)) ms: ask for a longer p50, or fewer candidates"
                )
            }
            if json { Output.json(object(plan)) } else { show(plan, demand) }
        }

        /// Sign bits are those of the stored head.
        private var storedBits: Int {
            signBits ?? (plan?.plan.stages.first?.precision == .bit ? min(128, dimensions) : 0)
        }

        private var rates: CapacityPlan.Rates {
            var rates = CapacityPlan.Rates(kernels: CapacityPlan.Kernels(rawValue: kernels) ?? .vnni)
            if let scanGbps { rates.scanBytesPerSecond = scanGbps * 1e9 }
            if let rowNs { rates.batchedNanosecondsPerRow = rowNs }
            if let dimensionNs { rates.batchedNanosecondsPerDimension = dimensionNs }
            if let candidateUs { rates.rerankMicrosecondsPerCandidate = candidateUs }
            if let candidateDimensionUs { rates.rerankMicrosecondsPerDimension = candidateDimensionUs }
            if let queryUs { rates.queryMicroseconds = queryUs }
            if let workerUs { rates.workerMicroseconds = workerUs }
            if let hopsMs { rates.hopsMilliseconds = hopsMs }
            if let headOverhead { rates.headOverheadBytes = headOverhead }
            if let vectorOverhead { rates.vectorOverheadBytes = vectorOverhead }
            if let utilisation { rates.utilisation = utilisation }
            return rates
        }

        private func object(_ plan: CapacityPlan) -> JSONValue {
            .object([
                .init("machines", .integer(Int64(plan.machines))), .init("bound", .string(plan.bound.rawValue)),
                .init("shortlist_workers", .integer(Int64(plan.shortlistWorkers))),
                .init("rerank_workers", .integer(Int64(plan.rerankWorkers))),
                .init("throughput_cores", .number(plan.throughputCores)),
                .init("latency_cores", .number(plan.latencyCores)), .init("other_cores", .number(plan.otherCores)),
                .init("head_bytes", .number(plan.headBytes)), .init("vector_bytes", .number(plan.vectorBytes)),
                .init("stored_vector_bytes", .number(plan.storedVectorBytes)),
                .init("sustained_per_second", .number(plan.sustainedPerSecond)),
                .init("p50_ms", .number(plan.latencyMilliseconds)), .init("price_per_hour", .number(plan.pricePerHour)),
                .init("cost_per_million", .number(plan.costPerMillion)),
            ])
        }

        private func show(_ plan: CapacityPlan, _ demand: CapacityPlan.Demand) {
            func gigabytes(_ bytes: Double) -> String { fixed(bytes / 1e9, bytes < 1e10 ? 2 : 0) + " GB" }
            let first = "\(demand.scanDimensions)\(demand.scansSigns ? " sign bits" : " dimensions")"
            var table = Table(["what", "value", "from"])
            table.add(["machines", grouped(plan.machines), "decided by \(plan.bound.rawValue)"])
            table.add(["shortlist workers", grouped(plan.shortlistWorkers), "one a core that scans"])
            table.add(["rerank workers", grouped(plan.rerankWorkers), "\(demand.keep) candidates a query"])
            table.add(["cores for the rate", fixed(plan.throughputCores, 1), "scans of \(first), batched"])
            table.add(["cores for the latency", fixed(plan.latencyCores, 1), "scans of \(first), one at a time"])
            table.add(["cores beside scans", fixed(plan.otherCores, 1), "rerank, coordinators, hops"])
            table.add(["memory of heads", gigabytes(plan.headBytes), "all replicas"])
            table.add(["memory of vectors", gigabytes(plan.vectorBytes), "the share held, all replicas"])
            table.add(["vectors on disk", gigabytes(plan.storedVectorBytes), "PostgreSQL, one copy"])
            table.add(["queries a second", fixed(plan.sustainedPerSecond, 0), "sustained"])
            table.add(["p50", fixed(plan.latencyMilliseconds, 1) + " ms", "at the rate asked for"])
            table.add(["price an hour", fixed(plan.pricePerHour, 2), "all machines"])
            table.add(["cost of a million queries", fixed(plan.costPerMillion, 2), "at the rate asked for"])
            Output.line(table.text)
        }
    }
}
