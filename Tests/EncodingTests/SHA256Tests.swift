import Encoding
import Testing

@Suite("SHA-256")
struct SHA256Tests {
    @Test(
        "gives the digests of FIPS 180-4",
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
        ]
    )
    func digests(text: String, digest: String) {
        #expect(SHA256.hexadecimal(Array(text.utf8)) == digest)
    }

    @Test("does not depend on where the message is cut")
    func parts() {
        let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0) }
        var whole = SHA256()
        whole.update(bytes)
        var parts = SHA256()
        for (start, end) in [(0, 1), (1, 64), (64, 64), (64, 191), (191, 1000)] {
            parts.update(Array(bytes[start..<end]))
        }
        #expect(parts.finish() == whole.finish())
    }
}
