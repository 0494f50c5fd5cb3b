#if canImport(Glibc)
import Glibc
#endif

/// How many machines a collection needs, from rates measured on one core.
///
/// Two bounds on the cores that scan, and one on memory; the greatest decides:
///
///     throughput  cores = rate · scanned · batched(m) / utilisation
///     latency     cores = 1.5 · scanned · single(m) / (p50 − fixed)
///     memory      bytes = documents · (heads + vectors)
///
/// `scanned` is documents · probed share, m the dimensions of the first stage. A query that arrives waits for half of
/// the scan that runs, then is scanned with all that came meanwhile: 1.5 scans. Reranking and the processes' own work
/// are added as core time a query.
public struct CapacityPlan: Sendable, Hashable {
    /// What is to be held and answered.
    public struct Demand: Sendable, Hashable {
        /// Documents held.
        public var documents: Double
        /// Full size D.
        public var dimensions: Int
        /// H, dimensions held by the shortlist workers.
        public var residentWidth: Int
        /// Bytes of a held number: 1 for int8, 4 for float32.
        public var residentBytes: Double
        /// Sign bits of a row, held beside its numbers; 0: none.
        public var signBits: Int
        /// Dimensions of the first stage, m ≤ H.
        public var scanDimensions: Int
        /// Whether the first stage scans sign bits.
        public var scansSigns: Bool
        /// Candidates that go to the rerank workers.
        public var keep: Int
        /// Queries a second at the peak.
        public var queriesPerSecond: Double
        /// The latency that half of the queries stay below, in milliseconds.
        public var latencyMilliseconds: Double
        /// Share of the rows that a query scans: 1 without an index.
        public var probedShare: Double
        /// Share of the full vectors that rerank workers hold in memory.
        public var cachedShare: Double
        /// Copies of each shard.
        public var replicas: Double

        /// Makes a demand.
        public init(
            documents: Double,
            dimensions: Int,
            residentWidth: Int,
            residentBytes: Double = 1,
            signBits: Int = 0,
            scanDimensions: Int,
            scansSigns: Bool = false,
            keep: Int,
            queriesPerSecond: Double,
            latencyMilliseconds: Double,
            probedShare: Double = 1,
            cachedShare: Double = 1,
            replicas: Double = 1
        ) {
            self.documents = documents
            self.dimensions = dimensions
            self.residentWidth = residentWidth
            self.residentBytes = residentBytes
            self.signBits = signBits
            self.scanDimensions = scanDimensions
            self.scansSigns = scansSigns
            self.keep = keep
            self.queriesPerSecond = queriesPerSecond
            self.latencyMilliseconds = latencyMilliseconds
            self.probedShare = probedShare
            self.cachedShare = cachedShare
            self.replicas = replicas
        }
    }

    /// What can be hired.
    public struct Machine: Sendable, Hashable {
        /// Cores of one machine.
        public var cores: Double
        /// Memory of one machine for rows, in bytes.
        public var memoryBytes: Double
        /// Price of one machine an hour, in any currency.
        public var pricePerHour: Double

        /// Makes a machine.
        public init(cores: Double, memoryBytes: Double, pricePerHour: Double) {
            self.cores = cores
            self.memoryBytes = memoryBytes
            self.pricePerHour = pricePerHour
        }
    }

    /// Which kernels scan, as a worker's log tells.
    public enum Kernels: String, Sendable, Hashable, CaseIterable {
        /// AVX-512 VNNI, without tiles.
        case vnni
        /// AMX-int8: batches are cheaper, single scans are not.
        case amx
    }

    /// Measured on one core; the defaults are those of `deploy/capacity.md`.
    public struct Rates: Sendable, Hashable {
        /// Memory that a single scan reads, bytes a second and core.
        public var scanBytesPerSecond: Double
        /// Core time of a batched scan: nanoseconds per query and row, whatever the dimensions.
        public var batchedNanosecondsPerRow: Double
        /// And so much more per dimension.
        public var batchedNanosecondsPerDimension: Double
        /// Core time of a scan of sign bits: nanoseconds per query and row, whatever the bits.
        public var signNanosecondsPerRow: Double
        /// And so much more per bit.
        public var signNanosecondsPerDimension: Double
        /// Core time to rerank one candidate, microseconds, and per dimension.
        public var rerankMicrosecondsPerCandidate: Double
        /// So much more for each dimension of the full vector.
        public var rerankMicrosecondsPerDimension: Double
        /// Core time of a query in all processes beside scan and rerank, microseconds.
        public var queryMicroseconds: Double
        /// Core time of asking one worker more, microseconds.
        public var workerMicroseconds: Double
        /// Latency of the hops of an empty search, milliseconds.
        public var hopsMilliseconds: Double
        /// Bytes a document beside its head: id, version, norm or scale, spare room.
        public var headOverheadBytes: Double
        /// Bytes a document beside its full vector: id, version, external id, spare room.
        public var vectorOverheadBytes: Double
        /// Share of the cores' time that may be used at the peak.
        public var utilisation: Double

        /// Makes rates.
        public init(
            scanBytesPerSecond: Double = 11e9,
            batchedNanosecondsPerRow: Double = 0.09,
            batchedNanosecondsPerDimension: Double = 0.0057,
            signNanosecondsPerRow: Double = 0.31,
            signNanosecondsPerDimension: Double = 0.005,
            rerankMicrosecondsPerCandidate: Double = 0.10,
            rerankMicrosecondsPerDimension: Double = 0.00085,
            queryMicroseconds: Double = 380,
            workerMicroseconds: Double = 15,
            hopsMilliseconds: Double = 1.2,
            headOverheadBytes: Double = 16,
            vectorOverheadBytes: Double = 60,
            utilisation: Double = 0.7
        ) {
            self.scanBytesPerSecond = scanBytesPerSecond
            self.batchedNanosecondsPerRow = batchedNanosecondsPerRow
            self.batchedNanosecondsPerDimension = batchedNanosecondsPerDimension
            self.signNanosecondsPerRow = signNanosecondsPerRow
            self.signNanosecondsPerDimension = signNanosecondsPerDimension
            self.rerankMicrosecondsPerCandidate = rerankMicrosecondsPerCandidate
            self.rerankMicrosecondsPerDimension = rerankMicrosecondsPerDimension
            self.queryMicroseconds = queryMicroseconds
            self.workerMicroseconds = workerMicroseconds
            self.hopsMilliseconds = hopsMilliseconds
            self.headOverheadBytes = headOverheadBytes
            self.vectorOverheadBytes = vectorOverheadBytes
            self.utilisation = utilisation
        }

        /// The rates measured with such kernels.
        public init(kernels: Kernels) {
            switch kernels {
            case .vnni: self.init()
            case .amx: self.init(batchedNanosecondsPerDimension: 0.00225)
            }
        }
    }

    /// What decides the number of machines.
    public enum Bound: String, Sendable {
        case throughput, latency, memory
    }

    /// Cores that the queries a second need for the scan.
    public let throughputCores: Double
    /// Cores that the latency needs for the scan.
    public let latencyCores: Double
    /// Cores for reranking and for the processes' own work, at the queries a second asked for.
    public let otherCores: Double
    /// Memory of the heads, all replicas.
    public let headBytes: Double
    /// Memory of the full vectors that are held, all replicas.
    public let vectorBytes: Double
    /// Disk of PostgreSQL for the vectors alone, one copy.
    public let storedVectorBytes: Double
    /// Machines in all.
    public let machines: Int
    /// What decides their number.
    public let bound: Bound
    /// Shortlist workers, one for each core that scans.
    public let shortlistWorkers: Int
    /// Rerank workers.
    public let rerankWorkers: Int
    /// What the machines can answer at that utilisation, a second.
    public let sustainedPerSecond: Double
    /// The expected latency at the rate asked for, in milliseconds.
    public let latencyMilliseconds: Double
    /// Price of a million queries at the rate asked for.
    public let costPerMillion: Double
    /// Price of the machines an hour.
    public let pricePerHour: Double

    /// Works the plan out; nil where no number of cores reaches the latency.
    public init?(_ demand: Demand, on machine: Machine, rates: Rates = Rates()) {
        let scanned = demand.documents * demand.probedShare
        let m = Double(demand.scanDimensions)
        let batched =
            demand.scansSigns
            ? rates.signNanosecondsPerRow + rates.signNanosecondsPerDimension * m
            : rates.batchedNanosecondsPerRow + rates.batchedNanosecondsPerDimension * m
        let batchedSeconds = scanned * batched * 1e-9
        let scannedBytes = demand.scansSigns ? m / 8 : m * demand.residentBytes
        let singleSeconds = scanned * max(scannedBytes / rates.scanBytesPerSecond, batched * 1e-9)
        let perCandidate =
            rates.rerankMicrosecondsPerCandidate
            + rates.rerankMicrosecondsPerDimension * Double(demand.dimensions)
        let rerankSeconds = Double(demand.keep) * perCandidate * 1e-6
        let fixedSeconds = rates.hopsMilliseconds * 1e-3 + rerankSeconds
        let scanBudget = demand.latencyMilliseconds * 1e-3 - fixedSeconds
        guard scanBudget > 0 else { return nil }

        headBytes =
            demand.documents * demand.replicas
            * (Double(demand.residentWidth) * demand.residentBytes + Double(demand.signBits) / 8
                + rates.headOverheadBytes)
        vectorBytes =
            demand.documents * demand.replicas * demand.cachedShare
            * (Double(demand.dimensions) * 4 + rates.vectorOverheadBytes)
        storedVectorBytes = demand.documents * (Double(demand.dimensions) * 4 + rates.vectorOverheadBytes)
        throughputCores = demand.queriesPerSecond * batchedSeconds / rates.utilisation
        latencyCores = 1.5 * singleSeconds / scanBudget
        let scanCores = max(throughputCores, latencyCores)
        let perQuery = rates.queryMicroseconds * 1e-6 + rerankSeconds
        let fanOut = rates.workerMicroseconds * 1e-6 * scanCores.rounded(.up)
        otherCores = demand.queriesPerSecond * (perQuery + fanOut) / rates.utilisation

        let byCores = ((scanCores + otherCores) / machine.cores).rounded(.up)
        let byMemory = ((headBytes + vectorBytes) / machine.memoryBytes).rounded(.up)
        let count = max(1, byCores, byMemory)
        machines = Int(count)
        bound = byMemory > byCores ? .memory : throughputCores >= latencyCores ? .throughput : .latency

        // Cores that memory or rounding brings along scan too.
        let scanning = max(1, (count * machine.cores - otherCores).rounded(.down))
        shortlistWorkers = Int(scanning)
        rerankWorkers = max(1, Int((demand.queriesPerSecond * rerankSeconds / rates.utilisation).rounded(.up)))
        let coreSecondsPerQuery = batchedSeconds + perQuery + fanOut
        sustainedPerSecond = count * machine.cores * rates.utilisation / coreSecondsPerQuery
        // A scan serves all that arrive while one runs; it takes longer than a single one once they outweigh memory.
        let load = demand.queriesPerSecond * batchedSeconds / scanning
        let scanSeconds = singleSeconds / scanning / max(0.05, min(1, (1 - load) / 0.3))
        latencyMilliseconds = (1.5 * scanSeconds + fixedSeconds) * 1e3
        pricePerHour = count * machine.pricePerHour
        costPerMillion = pricePerHour / 3600 / demand.queriesPerSecond * 1e6
    }
}
