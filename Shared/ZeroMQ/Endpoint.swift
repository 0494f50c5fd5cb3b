import CPlatform
import Glibc

/// Whether an endpoint can be reached from beyond loopback and ipc, and so needs CURVE; false also for what is none.
public func isReachableFromElsewhere(_ endpoint: String) -> Bool {
    (try? Endpoint(endpoint))?.dangerWithoutCurve != nil
}

/// An endpoint that was checked for safety before the library sees it.
enum Endpoint: Equatable {
    case inproc
    case ipc(path: String)
    case tcp(host: String, port: Int)

    /// Longest path that fits `sockaddr_un` with its terminating zero.
    static let pathBytesMax = 107

    init(_ text: String) throws(ZeroMQError) {
        func invalid(_ reason: String) -> ZeroMQError { .invalidEndpoint(endpoint: text, reason: reason) }
        guard let separator = text.range(of: "://"), !text.utf8.contains(0) else {
            throw invalid("it must look like ipc:///path, tcp://127.0.0.1:7000 or inproc://name")
        }
        let rest = String(text[separator.upperBound...])
        switch text[..<separator.lowerBound] {
        case "inproc":
            guard !rest.isEmpty, rest.utf8.count < 256 else { throw invalid("the name must have 1 to 255 bytes") }
            self = .inproc
        case "ipc":
            guard rest.hasPrefix("/") else { throw invalid("the path must begin with /") }
            guard !rest.hasSuffix("/") else { throw invalid("the path must name a socket, not a folder") }
            guard rest.utf8.count <= Self.pathBytesMax else {
                throw invalid("the path has \(rest.utf8.count) bytes, the system allows \(Self.pathBytesMax)")
            }
            self = .ipc(path: rest)
        case "tcp":
            guard let colon = rest.lastIndex(of: ":") else { throw invalid("the port is missing") }
            let host = String(rest[..<colon])
            guard let port = Int(rest[rest.index(after: colon)...]), 1...65_535 ~= port else {
                throw invalid("the port must be a number from 1 to 65535")
            }
            guard !host.isEmpty, !host.contains(";"), !host.contains(where: \.isWhitespace) else {
                throw invalid("the host must be one address")
            }
            self = .tcp(host: host, port: port)
        case let scheme:
            throw invalid("the transport \(scheme) is not one of ipc, tcp and inproc")
        }
    }

    /// Nil where no other machine can be reached by it, else why not.
    var dangerWithoutCurve: String? {
        guard case .tcp(let host, _) = self else { return nil }
        if host == "[::1]" { return nil }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false).map { part in
            part.allSatisfy { ("0"..."9").contains($0) } && part.count <= 3 ? Int(part) : nil
        }
        if parts.count == 4, parts[0] == 127, parts.allSatisfy({ ($0 ?? 256) < 256 }) { return nil }
        if host == "localhost" { return "a name may resolve to any address, write 127.0.0.1" }
        return "it is not loopback; give CURVE keys, or use 127.0.0.1 or ipc"
    }

    /// Whether the library must be told to speak IPv6 (it then still speaks IPv4): literals, and names under CURVE.
    var needsIPv6: Bool {
        guard case .tcp(let host, _) = self, host != "*" else { return false }
        return host.hasPrefix("[") || host.contains { $0.isLetter }
    }

    /// Makes the folder and refuses a path that a live process listens on: the library would silently take it over.
    static func prepareToBind(path: String, endpoint: String) throws(ZeroMQError) {
        func invalid(_ reason: String) -> ZeroMQError { .invalidEndpoint(endpoint: endpoint, reason: reason) }
        let folder = path[..<path.lastIndex(of: "/")!]
        if !folder.isEmpty {
            let code = platform_make_private_folder(String(folder))
            if code != 0 { throw invalid("cannot make its folder: \(errorText(-code))") }
        }
        let state = platform_probe_unix_socket(path)
        guard state >= 0 else { throw invalid("cannot look at it: \(errorText(-state))") }
        switch UInt32(state) {
        case PLATFORM_SOCKET_LIVE.rawValue: throw .addressInUse(endpoint: endpoint)
        case PLATFORM_SOCKET_NOT_A_SOCKET.rawValue: throw invalid("a file that is no socket stands there")
        default: break
        }
    }
}

extension StringProtocol {
    /// Where `text` occurs first.
    fileprivate func range(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
