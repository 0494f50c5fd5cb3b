import ArgumentParser
import CommandHelp
import Glibc
import Matryoshka
import PostgreSQL
import Reranking
import ServiceRuntime
import WireProtocol
import WorkerRuntime

struct RerankCommandLine: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mrl-rerank",
        abstract: "Holds full vectors of the shards it is given and scores candidates with them.",
        discussion: helpDiscussion(
            """
            Coordinators decide which shards are its own. Those that fit --worker-capacity-bytes it holds in memory. Of
            the others it reads the rows that are asked for from PostgreSQL, all that a request misses at once, and
            keeps the latest in mapped files of --rerank-cache-bytes. It also scans its shards for plans that no
            shortlist can start; what is not in memory passes by from PostgreSQL for that, which takes its time. The first
            exact search of a collection has its rows in memory coded in such files too, a quarter of their size and
            more: the next ones read the codes, and score only the rows that these cannot rule out.
            SIGTERM moves its shards to the others first, a second SIGTERM ends it at once.
            """,
            examples: """
                mrl-rerank --database-url postgresql:///matryoshka
                mrl-rerank --worker-capacity-bytes 16GiB --worker-threads 2
                mrl-rerank --worker-capacity-bytes 1GiB --rerank-cache-bytes 200GiB \\
                  --rerank-cache-directory /mnt/nvme
                mrl-rerank --config /etc/matryoshka.json --log-format json
                """
        ),
        version: WorkerProcess.version
    )

    @OptionGroup var options: WorkerOptions
    @OptionGroup var holding: HoldingOptions
    @Option(SettingKey.rerankCacheBytes.setting) var rerankCacheBytes: String?
    @Option(SettingKey.rerankCacheDirectory.setting) var rerankCacheDirectory: String?

    private var flags: [String: String] {
        let own = [
            SettingKey.rerankCacheBytes.setting.name: rerankCacheBytes,
            SettingKey.rerankCacheDirectory.setting.name: rerankCacheDirectory,
        ]
        return options.flags.merging(holding.flags) { $1 }.merging(own.compactMapValues { $0 }) { $1 }
    }

    func run() {
        runProcess {
            let process = try WorkerProcess(.rerank, flags: flags)
            let threads = try process.threads()
            let database = ConnectionSettings(url: process.settings[.databaseURL], applicationName: "mrl-rerank")
            try StoreSession.check(database)
            let cache = VectorCache(
                directory: process.settings[.rerankCacheDirectory],
                byteLimit: process.settings[.rerankCacheBytes]
            )
            if cache.byteLimit > 0, access(cache.directory, W_OK) != 0 {
                throw StartupFailure(
                    "rerank.cache_directory: \(cache.directory) is not a folder that can be written to"
                )
            }
            let host = try ShardHost<VectorShard>(
                database: database,
                capacityBytes: process.settings[.workerCapacityBytes],
                pollMilliseconds: process.settings[.storePollMilliseconds],
                log: process.log,
                makePartial: { VectorShard(shape: $0, cache: cache) },
                changed: process.stateChanged
            )
            let reranker = Reranker(
                table: host.table,
                reader: RowReader(database),
                crew: ScanCrew(threads),
                passing: PassingScan(database),
                bounds: BoundsKeeper(table: host.table, cache: cache, log: process.log)
            )
            let desk = RequestDesk(
                threads: threads,
                creditPerLink: process.creditPerLink,
                take: { queue, now in Reranker.take(from: &queue, now: now, threads: threads.count) },
                serve: reranker.serve
            )
            host.start()
            try process.run(desk: desk, host: host)
        }
    }
}
