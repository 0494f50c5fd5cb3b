import WireProtocol

/// A worker that speaks the back protocol over a real socket and does what a test says.
final class FakeWorker {
    let socket: TestClient
    var registration: Register
    var incarnation: UInt64 = 0
    /// What its beats tell.
    var progressAge = 0

    init(_ endpoint: String, _ role: WorkerRole, credit: Int = 4, model: ModelReport? = nil) throws {
        socket = try TestClient(endpoint)
        registration = Register(
            role: role,
            host: "fake",
            pid: 1,
            process: .random(),
            build: "t",
            capacityBytes: 1 << 30,
            credit: credit,
            model: model
        )
    }

    /// Registers under `incarnation` (0: a new one); what it is answered with.
    @discardableResult
    func register(seconds: Double = 3) throws -> BackBody? {
        try send(.register(registration))
        let end = now() + seconds
        while now() < end, let message = try next(seconds: end - now()) {
            switch message.body {
            case .registered(let answer):
                incarnation = answer.incarnation
                return message.body
            case .reject: return message.body
            default: continue
            }
        }
        return nil
    }

    func beat(shards: [ShardReport] = []) throws {
        try send(
            .heartbeat(
                Heartbeat(
                    inFlight: 0,
                    progressAgeMilliseconds: progressAge,
                    shards: shards,
                    residentBytes: 0,
                    answered: 0,
                    draining: false,
                    databaseReachable: true
                )
            )
        )
    }

    func send(_ body: BackBody, request: UInt64 = 0) throws {
        let header = BackHeader(type: body.type, request: request, incarnation: incarnation)
        try socket.post(frames: BackMessage(body, header).encode())
    }

    /// The next message of any kind.
    func next(seconds: Double) throws -> BackMessage? {
        try socket.nextFrames(seconds: seconds).map { try BackMessage.decode(frames: $0) }
    }

    /// The next message of a type; others are passed over, and beats are sent meanwhile.
    func next(_ type: BackType, seconds: Double = 3) throws -> BackMessage? {
        let end = now() + seconds
        while now() < end {
            if let message = try next(seconds: 0.1) {
                if message.header.type == type { return message }
            } else if incarnation != 0 {
                try beat()
            }
        }
        return nil
    }
}
