import CPlatform
import CZeroMQ
import Glibc

/// A CURVE key pair as Z85 text, 40 characters each.
public struct CurveKeyPair: Sendable, Hashable {
    /// What others may know.
    public let publicKey: String
    /// What nobody else may know.
    public let secretKey: String

    /// Draws a new pair.
    public static func generate() throws(ZeroMQError) -> CurveKeyPair {
        var publicText = [CChar](repeating: 0, count: 41)
        var secretText = publicText
        guard zmq_curve_keypair(&publicText, &secretText) == 0 else {
            throw .failed(operation: "making a CURVE key pair", code: zmq_errno())
        }
        return CurveKeyPair(publicKey: text(publicText), secretKey: text(secretText))
    }

    private init(publicKey: String, secretKey: String) {
        self.publicKey = publicKey
        self.secretKey = secretKey
    }

    /// Takes a secret key and computes its public key.
    public init(secretKey: String) throws(ZeroMQError) {
        guard decodeKey(secretKey) != nil else {
            throw .invalidKey(reason: "the CURVE secret key is not 40 characters of Z85")
        }
        var publicText = [CChar](repeating: 0, count: 41)
        guard zmq_curve_public(&publicText, secretKey) == 0 else {
            throw .failed(operation: "computing a CURVE public key", code: zmq_errno())
        }
        self.init(publicKey: text(publicText), secretKey: secretKey)
    }

    /// Reads the secret key from a file that its owner alone may read.
    public init(secretKeyFile path: String) throws(ZeroMQError) {
        var modified: Int64 = 0
        var size: Int64 = 0
        var mode: UInt32 = 0
        let code = platform_stat_file(path, &modified, &size, &mode)
        guard code == 0 else {
            throw .invalidKey(reason: "cannot read the CURVE secret key file \(path): \(errorText(-code))")
        }
        guard mode & 0o077 == 0 else {
            throw .invalidKey(reason: "the CURVE secret key file \(path) is open to others: chmod 600 it")
        }
        try self.init(secretKey: try readKeyFile(path))
    }

    /// Writes the secret key to a new file with mode 0600.
    public func write(secretKeyFile path: String) throws(ZeroMQError) {
        let bytes = Array((secretKey + "\n").utf8)
        let code = platform_write_new_private_file(path, bytes, bytes.count)
        if code != 0 { throw .invalidKey(reason: "cannot write the key file \(path): \(errorText(-code))") }
    }

    /// A public key given as Z85 text, or as the path of a file that holds it.
    public static func publicKey(textOrFile: String) throws(ZeroMQError) -> String {
        if decodeKey(textOrFile) != nil { return textOrFile }
        let key = try readKeyFile(textOrFile)
        guard decodeKey(key) != nil else {
            throw .invalidKey(reason: "the file \(textOrFile) does not hold a CURVE public key")
        }
        return key
    }
}

/// What a binding socket needs to admit known clients only.
public struct CurveServerOptions: Sendable, Hashable {
    /// The server's own secret key.
    public var secretKey: String
    /// File of admitted public keys, one a line.
    ///
    /// Anything may follow a key after a blank; lines that begin with `#` are comments. It is read again when it
    /// changes; while it cannot be read nobody gets in. Connections that exist stay.
    public var allowListFile: String
    /// Name of the list within the context; sockets with other lists need other names.
    public var domain: String

    /// Bundles the options.
    public init(secretKey: String, allowListFile: String, domain: String = "matryoshka") {
        self.secretKey = secretKey
        self.allowListFile = allowListFile
        self.domain = domain
    }
}

/// What a connecting socket needs.
public struct CurveClientOptions: Sendable, Hashable {
    /// The client's own pair, whose public key is on the server's list.
    public var keys: CurveKeyPair
    /// The public key of the server; nobody else is talked to.
    public var serverPublicKey: String

    /// Bundles the options.
    public init(keys: CurveKeyPair, serverPublicKey: String) {
        self.keys = keys
        self.serverPublicKey = serverPublicKey
    }
}

/// Which side of CURVE a socket is; a socket cannot be both.
public enum CurveOptions: Sendable, Hashable {
    /// It admits clients.
    case server(CurveServerOptions)
    /// It connects to one server key.
    case client(CurveClientOptions)
}

/// The 32 bytes of a Z85 key, nil where the text is none.
func decodeKey(_ text: String) -> [UInt8]? {
    guard text.utf8.count == 40, !text.utf8.contains(0) else { return nil }
    var bytes = [UInt8](repeating: 0, count: 32)
    // zmq_z85_decode does not look at bytes outside printable ASCII before it indexes its table.
    guard text.utf8.allSatisfy({ 0x21...0x7D ~= $0 }), zmq_z85_decode(&bytes, text) != nil else { return nil }
    return bytes
}

func encodeKey(_ bytes: [UInt8]) -> String {
    precondition(bytes.count == 32)
    var characters = [CChar](repeating: 0, count: 41)
    zmq_z85_encode(&characters, bytes, 32)
    return text(characters)
}

private func text(_ characters: [CChar]) -> String {
    String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

private func readKeyFile(_ path: String) throws(ZeroMQError) -> String {
    guard let content = try? readSmallFile(path), let word = content.split(whereSeparator: \.isWhitespace).first else {
        throw .invalidKey(reason: "cannot read a CURVE key from the file \(path)")
    }
    return String(word)
}

/// The text of a file of at most 1 MiB.
func readSmallFile(_ path: String) throws(ZeroMQError) -> String {
    var bytes: UnsafeMutablePointer<UInt8>?
    let count = platform_read_file(path, 1 << 20, &bytes)
    guard count >= 0 else { throw .failed(operation: "reading \(path)", code: Int32(-count)) }
    defer { free(bytes) }
    return String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
}
