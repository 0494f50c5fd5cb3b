import ArgumentParser
import CommandHelp
import PostgreSQL
import ServiceRuntime
import Shortlist
import WireProtocol
import WorkerRuntime

struct ShortlistCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mrl-shortlist",
        abstract: "Holds the heads of the shards it is given and finds shortlists in them.",
        discussion: helpDiscussion(
            """
            Coordinators decide which shards it holds, within --worker-capacity-bytes; it loads them from PostgreSQL
            and follows their changes. Start one more and it takes its share. SIGTERM moves its shards to the others
            first, a second SIGTERM ends it at once.
            """,
            examples: """
                mrl-shortlist --database-url postgresql:///matryoshka
                mrl-shortlist --worker-capacity-bytes 8GiB --worker-threads 4
                mrl-shortlist --config /etc/matryoshka.json --log-format json
                """
        ),
        version: WorkerProcess.version
    )

    @OptionGroup var options: WorkerOptions
    @OptionGroup var holding: HoldingOptions

    func run() {
        runProcess {
            let process = try WorkerProcess(.shortlist, flags: options.flags.merging(holding.flags) { $1 })
            let threads = try process.threads()
            let database = ConnectionSettings(
                url: process.settings[.databaseURL],
                applicationName: "mrl-shortlist"
            )
            try StoreSession.check(database)
            let indexes = IndexCrew(threads: threads.count)
            let host = try ShardHost<HeadShard>(
                database: database,
                capacityBytes: process.settings[.workerCapacityBytes],
                pollMilliseconds: process.settings[.storePollMilliseconds],
                log: process.log,
                makeContext: { try HeadContext($0, $1, indexes) },
                changed: process.stateChanged
            )
            let searcher = ShortlistSearcher(
                table: host.table,
                trainer: Trainer(database: database, log: process.log, learn: learn),
                threads: threads
            )
            // One thread takes all that waits; the others help it to scan.
            let desk = RequestDesk(
                threads: threads.prefix(1),
                creditPerLink: process.creditPerLink,
                take: { queue, now in queue.take(now: now) },
                serve: searcher.serve
            )
            host.start()
            try process.run(desk: desk, host: host)
        }
    }
}
