import Glibc
import ServiceRuntime
import Testing

@testable import ZeroMQ

/// A private folder that goes away with its last reference.
final class TemporaryFolder {
    let path: String

    init() {
        var template = Array("/tmp/mrlzmq-XXXXXX".utf8CString)
        path = String(cString: mkdtemp(&template))
    }

    deinit {
        for name in ["a.sock", "b.sock", "deep/er/a.sock", "list", "list2", "key", "plain"] {
            unlink(path + "/" + name)
        }
        for name in ["/deep/er", "/deep", ""] { rmdir(path + name) }
    }

    func endpoint(_ name: String = "a.sock") -> String { "ipc://\(path)/\(name)" }

    func write(_ text: String, to name: String, mode: mode_t = 0o600) {
        let file = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, mode)
        _ = text.withCString { Glibc.write(file, $0, strlen($0)) }
        close(file)
        chmod("\(path)/\(name)", mode)
    }

    func mode(of name: String) -> mode_t {
        var status = stat()
        stat("\(path)/\(name)", &status)
        return status.st_mode & 0o777
    }
}

private let nextPort = Counter(20_000 + Int(getpid()) % 5_000)

/// A port nobody listens on, below the range that outgoing connections take theirs from.
func freePort() -> Int {
    var port = nextPort.next()
    while !isFree(port) { port = nextPort.next() }
    return port
}

private func isFree(_ port: Int) -> Bool {
    let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(file) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(file, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
    }
}

final class Counter: @unchecked Sendable {
    private let lock = Lock()
    private var count: Int
    init(_ start: Int = 0) { count = start }
    func next() -> Int {
        lock.withLock {
            count += 1
            return count
        }
    }
    var value: Int { lock.withLock { count } }
}

/// Tries every millisecond until it answers, at most this long.
func eventually<Result>(within seconds: Double = 5, _ attempt: () throws -> Result?) rethrows -> Result? {
    let deadline = EventLoop.nowMicroseconds() + UInt64(seconds * 1e6)
    while true {
        if let result = try attempt() { return result }
        if EventLoop.nowMicroseconds() > deadline { return nil }
        usleep(1_000)
    }
}

extension Socket {
    func received(within seconds: Double = 5) throws -> ReceivedMessage? {
        try eventually(within: seconds) { try receive() }
    }

    /// Sends as soon as the connection stands.
    func sendEventually(_ frames: [[UInt8]], within seconds: Double = 5) throws -> Bool {
        try eventually(within: seconds) { try send(frames) == .sent ? true : nil } ?? false
    }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
