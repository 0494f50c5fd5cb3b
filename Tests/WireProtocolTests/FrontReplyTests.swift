import Matryoshka
import Testing
import WireProtocol

@Suite("Replies")
struct FrontReplyTests {
    @Test("of more than 8 MiB become an error with the same id")
    func tooLarge() throws {
        let payload = "{\"a\":\"" + String(repeating: "a", count: 1_000_000) + "\"}"
        let documents = (0..<9).map { StoredDocument(id: "\($0)", text: nil, payload: payload, version: 1) }
        let reply = FrontReply(id: "7", body: .documents(documents, missing: [], dimensions: 0, vectors: []))
        let frames = reply.encode()
        #expect(frames.reduce(0) { $0 + $1.count } < 1_000)
        let decoded = try FrontReply.decode(frames)
        #expect(decoded.id == "7")
        guard case .error(let error) = decoded.body else { return #expect(Bool(false)) }
        #expect(error.code == .tooLarge)
    }

    @Test("are complete only if every shard and every stage was")
    func completeness() throws {
        func isComplete(_ reply: SearchReply) throws -> JSONValue? {
            try JSONValue(parsing: FrontReply(id: "", body: .search(reply)).encode()[1])["coverage"]?["complete"]
        }
        var reply = GoldenMessages.searchReply
        #expect(try isComplete(reply) == .bool(true))
        reply.degraded = ["rerank_skipped"]
        #expect(try isComplete(reply) == .bool(false))
        #expect(try isComplete(GoldenMessages.partialReply) == .bool(false))
    }

    @Test("count the shards by their reasons")
    func coverage() throws {
        let header = try JSONValue(parsing: FrontReply(id: "", body: .search(GoldenMessages.partialReply)).encode()[1])
        #expect(header["coverage"]?["shards"]?.jsonText == #"{"total":64,"ok":61,"failed":2,"timed_out":1}"#)
    }

    @Test("keep each hit on its line whatever its payload looks like")
    func lines() throws {
        var reply = GoldenMessages.partialReply
        reply.hits = [[Hit(id: "a\nb", score: 1, payload: "{\n \"a\" : \"x\\ny\"\r\n}"), Hit(id: "c", score: 0.5)]]
        let frames = FrontReply(id: "", body: .search(reply)).encode()
        #expect(frames[2].count { $0 == 0x0A } == 2)
        guard case .search(let decoded) = try FrontReply.decode(frames).body else { return #expect(Bool(false)) }
        #expect(decoded.hits[0].map(\.id) == ["a\nb", "c"])
        #expect(decoded.hits[0][0].payload == #"{"a":"x\ny"}"#)
    }

    @Test("of a write can be stored and read back")
    func stored() throws {
        for (_, message) in GoldenMessages.replies {
            guard case .write(let reply) = message.body else { continue }
            #expect(WriteReply(storedText: reply.storedText) == reply)
        }
        #expect(WriteReply(storedText: "") == nil)
        #expect(WriteReply(storedText: "{}") == nil)
    }

    @Test("of a newer server keep what can be known of them")
    func newer() throws {
        func decode(_ header: String) throws -> FrontReply {
            try FrontReply.decode([FrontCodec.magic, Array(header.utf8)])
        }
        let error = try decode(
            #"{"type":"error","id":"1","code":"TOO_HOT","message":"wait","retryable":true,"mood":"bad"}"#
        )
        guard case .error(let fault) = error.body else { return #expect(Bool(false)) }
        #expect(fault.code.isRetryable)
        #expect(fault.message == "TOO_HOT: wait")
        let other = try decode(#"{"type":"weather","id":"1","sky":"blue"}"#)
        #expect(other.body == .object(type: "weather", json: .object([.init("sky", .string("blue"))])))
    }
}
