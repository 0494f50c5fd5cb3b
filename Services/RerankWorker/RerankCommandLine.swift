import ArgumentParser
import PostgreSQL
import Reranking
import ServiceRuntime
import WireProtocol
import WorkerRuntime

struct RerankCommandLine: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mrl-rerank",
        abstract: "Holds full vectors of the shards it is given and scores candidates with them.",
        discussion: """
            Coordinators decide which shards it holds, within --worker-capacity-bytes. Rows that it does not hold it
            reads from PostgreSQL, as it does payloads. It also scans its shards for plans that no shortlist can start.
            SIGTERM moves its shards to the others first, a second SIGTERM ends it at once.

            Examples:
              mrl-rerank --database-url postgresql:///matryoshka
              mrl-rerank --worker-capacity-bytes 16GiB --worker-threads 2
              mrl-rerank --config /etc/matryoshka.json --log-format json
            """,
        version: WorkerProcess.version
    )

    @OptionGroup var options: WorkerOptions
    @OptionGroup var holding: HoldingOptions

    func run() {
        runProcess {
            let process = try WorkerProcess(.rerank, flags: options.flags.merging(holding.flags) { $1 })
            let database = ConnectionSettings(url: process.settings[.databaseURL], applicationName: "mrl-rerank")
            try StoreSession.check(database)
            let host = try ShardHost<VectorShard>(
                database: database,
                capacityBytes: process.settings[.workerCapacityBytes],
                pollMilliseconds: process.settings[.storePollMilliseconds],
                log: process.log,
                changed: process.stateChanged
            )
            let threads = process.settings[.workerThreads]
            let reranker = Reranker(table: host.table, reader: RowReader(database))
            let desk = RequestDesk(
                threads: threads,
                creditPerLink: process.creditPerLink,
                take: { queue, now in Reranker.take(from: &queue, now: now, threads: threads) },
                serve: reranker.serve
            )
            host.start()
            try process.run(desk: desk, host: host)
        }
    }
}
