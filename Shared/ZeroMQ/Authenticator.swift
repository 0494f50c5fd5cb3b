import CPlatform
import CZeroMQ
import Glibc
import Logging
import ServiceRuntime

/// How the CURVE handshakes of a context went.
public struct AuthenticationReport: Sendable, Hashable {
    /// Clients let in.
    public var allowed = 0
    /// Clients whose key is not on the list.
    public var refused = 0
    /// Clients told to come back because the list could not be read.
    public var deferred = 0
    /// Why a list cannot be read at the moment, nil when all can.
    public var problem: String?
}

/// The ZAP handler of a context (RFC 27): one thread that answers the handshakes of all CURVE sockets.
///
/// Without it the library would admit every key; every CURVE socket therefore enforces its domain, so that with this
/// thread gone nobody gets in.
final class Authenticator: @unchecked Sendable {
    // @unchecked: the fields below are only touched under the lock, the socket only by the thread.
    private let context: UnsafeMutableRawPointer
    private let lock = Lock()
    private var lists: [String: AllowList] = [:]
    private var thread: ServiceThread?
    private var wakeUp: Int32 = -1
    private var isStopping = false
    private var current = AuthenticationReport()
    /// Refused keys that the log has told of: each once, and not without end.
    private var toldKeys: Set<[UInt8]> = []
    private static let toldKeysMax = 256

    init(context: UnsafeMutableRawPointer) {
        self.context = context
    }

    var report: AuthenticationReport { lock.withLock { current } }

    /// Makes sure that the thread answers for the domain; called before the socket binds.
    func admit(domain: String, allowListFile: String) throws(ZeroMQError) {
        guard !domain.isEmpty, domain.utf8.count < 255 else {
            throw .invalidKey(reason: "the name of an allow-list must have 1 to 254 bytes")
        }
        try lock.withLock { () throws(ZeroMQError) in
            if let known = lists[domain] {
                guard known.path == allowListFile else {
                    throw .invalidKey(
                        reason: "the allow-list name \(domain) stands for \(known.path), not for \(allowListFile) too"
                    )
                }
            } else {
                let list = AllowList(path: allowListFile)
                lists[domain] = list
                if let problem = list.problem { current.problem = problem }
            }
            if thread == nil { try start() }
        }
    }

    /// Ends the thread; handshakes fail from now on.
    func stop() {
        let running = lock.withLock {
            isStopping = true
            if wakeUp >= 0 { platform_eventfd_signal(wakeUp) }
            defer { thread = nil }
            return thread
        }
        running?.join()
        lock.withLock {
            if wakeUp >= 0 { close(wakeUp) }
            wakeUp = -1
        }
    }

    private func start() throws(ZeroMQError) {
        // Bound here, so that the handler is there when this returns; handed over once, with the thread's start as fence.
        guard let socket = zmq_socket(context, ZMQ_REP) else {
            throw .failed(operation: "opening the authentication socket", code: zmq_errno())
        }
        var zero: Int32 = 0
        zmq_setsockopt(socket, ZMQ_LINGER, &zero, MemoryLayout<Int32>.size)
        guard zmq_bind(socket, "inproc://zeromq.zap.01") == 0 else {
            let code = zmq_errno()
            zmq_close(socket)
            throw .failed(operation: "binding the authentication socket", code: code)
        }
        let descriptor = platform_eventfd()
        guard descriptor >= 0 else {
            zmq_close(socket)
            throw .failed(operation: "eventfd", code: -descriptor)
        }
        wakeUp = descriptor
        nonisolated(unsafe) let handed = socket
        // The context joins this thread before it goes, and the thread touches nothing of it afterwards.
        thread = ServiceThread(name: "zap") { [unowned self] in run(handed, wakeUp: descriptor) }
    }

    private func run(_ socket: UnsafeMutableRawPointer, wakeUp: Int32) {
        defer { zmq_close(socket) }
        let input = Int16(ZMQ_POLLIN)
        var items = [
            zmq_pollitem_t(socket: nil, fd: wakeUp, events: input, revents: 0),
            zmq_pollitem_t(socket: socket, fd: 0, events: input, revents: 0),
        ]
        while true {
            let count = zmq_poll(&items, 2, -1)
            if count < 0 && zmq_errno() != EINTR { return }
            if lock.withLock({ isStopping }) { return }
            guard count > 0, items[1].revents != 0 else { continue }
            guard let request = receiveFrames(socket) else { continue }
            for (index, frame) in answer(request).enumerated() {
                _ = frame.withUnsafeBytes { bytes in
                    zmq_send(socket, bytes.baseAddress, bytes.count, index < 5 ? ZMQ_SNDMORE : 0)
                }
            }
        }
    }

    private func receiveFrames(_ socket: UnsafeMutableRawPointer) -> [[UInt8]]? {
        var frames: [[UInt8]] = []
        var message = zmq_msg_t()
        zmq_msg_init(&message)
        defer { zmq_msg_close(&message) }
        repeat {
            while zmq_msg_recv(&message, socket, 0) < 0 {
                if zmq_errno() != EINTR { return nil }
            }
            frames.append(bytes(of: &message))
        } while zmq_msg_more(&message) != 0
        return frames
    }

    private func tell(_ key: [UInt8], _ domain: String) {
        guard toldKeys.count < Self.toldKeysMax, toldKeys.insert(key).inserted else { return }
        Logger(label: "zap").warning(
            "refused a key that is not on the list",
            metadata: ["key": "\(encodeKey(key))", "list": "\(lists[domain]?.path ?? domain)"]
        )
    }

    /// The six frames of the reply: 300 makes the client try again, 400 is final.
    private func answer(_ request: [[UInt8]]) -> [[UInt8]] {
        let identifier = request.count > 1 ? request[1] : []
        func reply(_ status: String, _ text: String, user: String = "") -> [[UInt8]] {
            [Array("1.0".utf8), identifier, Array(status.utf8), Array(text.utf8), Array(user.utf8), []]
        }
        guard request.count == 7, request[5] == Array("CURVE".utf8), request[6].count == 32 else {
            lock.withLock { current.refused += 1 }
            return reply("400", "CURVE with a known key is needed")
        }
        let domain = String(decoding: request[2], as: UTF8.self)
        return lock.withLock {
            let verdict = lists[domain]?.verdict(on: request[6]) ?? .unknown
            current.problem = lists.values.compactMap(\.problem).first
            switch verdict {
            case .allowed:
                current.allowed += 1
                return reply("200", "OK", user: encodeKey(request[6]))
            case .unknown:
                current.refused += 1
                tell(request[6], domain)
                return reply("400", "this key is not on the allow-list of this socket")
            case .unreadable:
                current.deferred += 1
                return reply("300", "the allow-list cannot be read")
            }
        }
    }
}

/// The public keys of one file, read again when the file changes.
struct AllowList {
    enum Verdict {
        case allowed, unknown, unreadable
    }

    private struct Stamp: Equatable {
        var modified: Int64 = -1
        var size: Int64 = -1
    }

    let path: String
    private(set) var problem: String?
    private var keys: Set<[UInt8]>?
    private var stamp = Stamp()
    private var loggedProblem: String?

    /// Reads the list; a problem is told by ``problem`` at first, and by the log once somebody wants to be let in.
    init(path: String) {
        self.path = path
        refresh()
    }

    mutating func verdict(on key: [UInt8]) -> Verdict {
        refresh()
        if let problem, problem != loggedProblem {
            Logger(label: "zap").error("nobody is admitted", metadata: ["reason": "\(problem)"])
        }
        loggedProblem = problem
        guard let keys else { return .unreadable }
        return keys.contains(key) ? .allowed : .unknown
    }

    /// One stat per handshake; the file is only read when it changed.
    private mutating func refresh() {
        var now = Stamp()
        var mode: UInt32 = 0
        let code = platform_stat_file(path, &now.modified, &now.size, &mode)
        guard code == 0 else { return fail("cannot read the allow-list \(path): \(errorText(-code))", at: Stamp()) }
        // A file that could not be read is tried again each time: its permissions change no stamp.
        if now == stamp && keys != nil { return }
        do {
            keys = try Self.parse(readSmallFile(path), path: path)
            stamp = now
            problem = nil
        } catch {
            fail("\(error)", at: now)
        }
    }

    private mutating func fail(_ reason: String, at now: Stamp) {
        keys = nil
        stamp = now
        problem = reason
    }

    static func parse(_ text: String, path: String) throws(ZeroMQError) -> Set<[UInt8]> {
        var keys: Set<[UInt8]> = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            guard let word = line.split(whereSeparator: \.isWhitespace).first else { continue }
            // '#' is a digit of Z85, but too large a one to begin a key.
            if word.hasPrefix("#") { continue }
            guard let key = decodeKey(String(word)) else {
                throw .invalidKey(reason: "line \(index + 1) of the allow-list \(path) does not begin with a key")
            }
            keys.insert(key)
        }
        return keys
    }
}
