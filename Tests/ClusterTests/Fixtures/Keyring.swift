import FoundationEssentials
import Glibc
import ZeroMQ

/// The CURVE keys and allow-lists of a cluster under test, and its private TCP ports.
final class Keyring {
    let folder: String
    let front: String
    let back: String
    private var pairs: [String: CurveKeyPair] = [:]

    /// Keys of a coordinator, of a client and of a worker, each of the latter on its list.
    init() throws {
        folder = try makePrivateFolder()
        front = "tcp://127.0.0.1:\(try freePort())"
        back = "tcp://127.0.0.1:\(try freePort())"
        for name in ["coordinator", "client", "worker"] { try add(name) }
        try "\(pair("client").publicKey) client\n".write(toFile: list("clients"), atomically: true, encoding: .utf8)
        try "\(pair("worker").publicKey) worker\n".write(toFile: list("workers"), atomically: true, encoding: .utf8)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// `clients` or `workers`.
    func list(_ name: String) -> String { "\(folder)/\(name)" }

    /// Makes a pair that is on no list.
    func add(_ name: String) throws {
        let pair = try CurveKeyPair.generate()
        try pair.write(secretKeyFile: "\(folder)/\(name).secret")
        pairs[name] = pair
    }

    func pair(_ name: String) -> CurveKeyPair { pairs[name]! }

    /// For a client in this process.
    func options(_ name: String) -> CurveClientOptions {
        CurveClientOptions(keys: pair(name), serverPublicKey: pair("coordinator").publicKey)
    }

    /// For a process that connects with that key.
    func settings(_ name: String) -> [String: String] {
        [
            "MRL_CURVE_SECRET_KEY_FILE": "\(folder)/\(name).secret",
            "MRL_CURVE_SERVER_KEY": pair("coordinator").publicKey,
        ]
    }

    var coordinatorSettings: [String: String] {
        [
            "MRL_CURVE_SECRET_KEY_FILE": "\(folder)/coordinator.secret",
            "MRL_CURVE_FRONT_ALLOW_LIST": list("clients"), "MRL_CURVE_BACK_ALLOW_LIST": list("workers"),
        ]
    }
}

/// A listening socket on loopback and its port, below the range that outgoing connections take theirs from.
func listenSomewhere() throws -> (descriptor: Int32, port: UInt16) {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    for port in UInt16(21_100)..<30_000 {
        address.sin_port = port.bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if result == 0 && listen(listener, 4) == 0 { return (listener, port) }
    }
    throw TestFailure("no free port")
}

/// A port that nobody listens on; no two calls give the same.
private func freePort() throws -> UInt16 {
    let taken = handedOut.withLock { handed in
        // Kept open until another one is found, so that the next search goes on behind it.
        var held: [Int32] = []
        defer { for descriptor in held { close(descriptor) } }
        while let (descriptor, port) = try? listenSomewhere() {
            held.append(descriptor)
            if handed.insert(port).inserted { return port as UInt16? }
        }
        return nil
    }
    guard let taken else { throw TestFailure("no free port") }
    return taken
}

private let handedOut = Guarded(Set<UInt16>())
