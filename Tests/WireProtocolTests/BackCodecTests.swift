import Matryoshka
import Testing
import WireProtocol

@Suite("Back messages")
struct BackCodecTests {
    private func frames(_ name: String) throws -> [[UInt8]] {
        try #require(GoldenMessages.back.first { $0.name == name }).message.encode()
    }

    private func error(_ frames: [[UInt8]]) -> BackDecodeError? {
        do {
            _ = try BackMessage.decode(frames: frames)
            return nil
        } catch {
            return error
        }
    }

    @Test("have two frames, a header of 96 bytes and known words in it")
    func headers() throws {
        let good = try frames("cancel")
        #expect(good[0].count == BackHeader.byteCount)
        #expect(error([]) == .frameCount(got: 0))
        #expect(error(good + [[]]) == .frameCount(got: 3))
        #expect(error([Array(good[0].dropLast()), []]) == .badHeader("header has 95 bytes"))
        func changed(_ byte: Int, _ value: UInt8) -> BackDecodeError? {
            var header = good[0]
            header[byte] = value
            return error([header, []])
        }
        #expect(changed(0, 0) == .badHeader("wrong magic"))
        #expect(changed(4, 2) == .unsupportedVersion(2))
        #expect(changed(5, 99) == .unknownType(99))
        #expect(changed(6, 1) == .badHeader("unknown flags"))
        #expect(changed(64, 1) == .badHeader("payload of 1 bytes is announced and 0 are there"))
        #expect(changed(95, 1) == .badHeader("a reserved byte is not 0"))
    }

    @Test("a rerank names its rotation, and a rotation without a number is refused")
    func rotation() throws {
        let golden = try #require(GoldenMessages.back.first { $0.name == "rerank" }).message
        guard case .rerank(var command) = golden.body else { return }
        command.rotation = 7
        let frames = BackMessage(header: golden.header, body: .rerank(command)).encode()
        #expect(try BackMessage.decode(frames: frames).body == .rerank(command))
        #expect(golden.body != .rerank(command))
        var broken = frames
        // Behind five counts and the flags.
        broken[1][24] = 0
        #expect(error(broken) == .badPayload("a rotation without a number"))
    }

    @Test("refuse every shorter and every longer payload", arguments: GoldenMessages.back.map(\.name))
    func lengths(name: String) throws {
        let good = try frames(name)
        func resized(_ payload: [UInt8]) -> [[UInt8]] {
            var header = good[0]
            for byte in 0..<8 { header[64 + byte] = UInt8(payload.count >> (8 * byte) & 255) }
            return [header, payload]
        }
        for count in 0..<good[1].count where !(count == 0 && name == "heartbeat") {
            #expect(throws: BackDecodeError.self) { try BackMessage.decode(frames: resized(Array(good[1][..<count]))) }
        }
        #expect(throws: BackDecodeError.self) { try BackMessage.decode(frames: resized(good[1] + [0])) }
    }

    @Test("refuse shapes that no worker could hold")
    func shapes() throws {
        for (width, resident) in [(0, 0), (9, 2), (4, 5), (4, 0)] {
            var shape = GoldenMessages.shape
            shape.storedHeadWidth = width
            shape.residentWidth = resident
            let map = ShardAssignments(epoch: 1, collections: [.init(shape: WireShape(shape), shards: [])])
            #expect(throws: BackDecodeError.self) { try BackMessage.decode(frames: BackMessage(.map(map)).encode()) }
        }
    }

    @Test("keep columns of 200 candidates to the bit")
    func columns() throws {
        var random = SplitMix(state: 5)
        let columns = CandidateColumns(
            ids: (0..<200).map { _ in Int64(bitPattern: random.next()) },
            versions: (0..<200).map { _ in UInt32(random.next() & 0xFFFF_FFFF) },
            shards: (0..<200).map { _ in UInt16(random.next() & 63) },
            scores: (0..<2).map { _ in (0..<200).map { _ in Float.random(in: -1...1, using: &random) } }
        )
        let message = BackMessage(
            .hits(Hits(shards: [], results: [columns], queuedMicroseconds: 0, computeMicroseconds: 0))
        )
        #expect(try BackMessage.decode(frames: message.encode()) == message)
    }

    @Test("of registration pass over keys that they do not know")
    func unknownKeys() throws {
        let json = #"{"code":"FENCED","message":"m","advice":"rest"}"#
        var frames = BackMessage(.reject(Reject(code: "", message: ""))).encode()
        frames[1] = Array(json.utf8)
        frames[0][64] = UInt8(frames[1].count)
        #expect(try BackMessage.decode(frames: frames).body == .reject(Reject(code: "FENCED", message: "m")))
    }

    @Test("keep numbers of 64 bits")
    func wideNumbers() throws {
        for number: UInt64 in [0, 9_007_199_254_740_993, UInt64(Int64.max)] {
            let message = BackMessage(
                .registered(
                    Registered(incarnation: number, heartbeatMilliseconds: 1, leaseMilliseconds: 1, coordinator: "c")
                )
            )
            #expect(try BackMessage.decode(frames: message.encode()) == message)
        }
    }

    @Test("refuse numbers that nobody gives out, with which sums would overflow")
    func impossibleNumbers() {
        var beat = Heartbeat(
            inFlight: 0,
            progressAgeMilliseconds: 0,
            shards: [GoldenMessages.report],
            residentBytes: 0,
            answered: 0,
            draining: false,
            databaseReachable: true
        )
        var broken: [BackMessage] = []
        beat.shards[0].rows = .max
        broken.append(BackMessage(.heartbeat(beat)))
        beat.shards[0].rows = 1
        beat.shards[0].shard = 64
        broken.append(BackMessage(.heartbeat(beat)))
        beat.shards[0].shard = 1
        beat.shards[0].generation = .max
        broken.append(BackMessage(.heartbeat(beat)))
        beat.shards = []
        beat.answered = .max
        broken.append(BackMessage(.heartbeat(beat)))
        let columns = CandidateColumns(ids: [1], versions: [1], shards: [64], scores: [[1]])
        broken.append(
            BackMessage(.hits(Hits(shards: [], results: [columns], queuedMicroseconds: 0, computeMicroseconds: 0)))
        )
        broken.append(BackMessage(.whoAreYou, BackHeader(type: .whoAreYou, incarnation: .max)))
        broken.append(BackMessage(.whoAreYou, BackHeader(type: .whoAreYou, epoch: .max)))
        broken.append(
            BackMessage(
                .registered(
                    Registered(incarnation: 1, heartbeatMilliseconds: 1, leaseMilliseconds: .max, coordinator: "c")
                )
            )
        )
        for message in broken {
            #expect(throws: BackDecodeError.self) { try BackMessage.decode(frames: message.encode()) }
        }
    }
}
