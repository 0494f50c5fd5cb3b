import Testing
import WireProtocol

@Suite("Golden frames")
struct GoldenFrameTests {
    @Test("back messages decode to the fixed values and encode to the same bytes", arguments: GoldenMessages.back)
    func back(name: String, message: BackMessage) throws {
        if GoldenFiles.isRecording { try GoldenFiles.write("back", name, message.encode()) }
        let frames = try GoldenFiles.read("back", name)
        let decoded = try BackMessage.decode(frames: frames)
        #expect(decoded == message)
        #expect(decoded.encode() == frames)
    }

    @Test("requests decode to the fixed values and encode to the same bytes", arguments: GoldenMessages.requests)
    func requests(name: String, message: FrontRequest) throws {
        if GoldenFiles.isRecording { try GoldenFiles.write("requests", name, message.encode()) }
        let frames = try GoldenFiles.read("requests", name)
        let routed = [[0, 1, 2, 3, 4]] + frames
        let parts = try #require(FrontCodec.split(routed))
        #expect(parts.prefix == [[0, 1, 2, 3, 4]])
        var decoded = try FrontRequest.decode(header: parts.header, buffers: parts.buffers)
        #expect(decoded.encode() == frames)
        #expect(FrontRequest.peek(header: parts.header).id == message.id)
        switch decoded.body {
        case .upsert(var upsert) where upsert.idempotencyKey != nil:
            #expect(upsert.bodyHash.utf8.count == 32)
            upsert.bodyHash = ""
            decoded.body = .upsert(upsert)
        case .delete(var delete):
            #expect(delete.bodyHash.utf8.count == 32)
            delete.bodyHash = ""
            decoded.body = .delete(delete)
        default: break
        }
        #expect(decoded == message)
    }

    @Test("replies decode to the fixed values and encode to the same bytes", arguments: GoldenMessages.replies)
    func replies(name: String, message: FrontReply) throws {
        if GoldenFiles.isRecording { try GoldenFiles.write("replies", name, message.encode()) }
        let frames = try GoldenFiles.read("replies", name)
        let decoded = try FrontReply.decode(frames)
        #expect(decoded == message)
        #expect(decoded.encode() == frames)
        #expect(try FrontReply.decode([[]] + frames) == message, "a REQ's empty frame stands before it")
    }

    @Test("every message type has a file, and every file a message", .enabled(if: !GoldenFiles.isRecording))
    func isComplete() throws {
        #expect(Set(GoldenMessages.back.map(\.message.header.type)) == Set(BackType.allCases))
        #expect(Set(GoldenMessages.requests.map(\.message.body.type)) == Set(FrontRequestType.allCases))
        var types: Set<FrontReplyType> = []
        var codes: Set<FrontErrorCode> = []
        for (_, reply) in GoldenMessages.replies {
            guard case .object(let members) = try JSONValue(parsing: reply.encode()[1]) else { continue }
            guard case .string(let type)? = JSONValue.object(members)["type"] else { continue }
            types.insert(try #require(FrontReplyType(rawValue: type)))
            if case .error(let error) = reply.body { codes.insert(error.code) }
        }
        #expect(types == Set(FrontReplyType.allCases))
        #expect(codes == Set(FrontErrorCode.allCases))

        #expect(try GoldenFiles.names("back") == GoldenMessages.back.map(\.name).sorted())
        #expect(try GoldenFiles.names("requests") == GoldenMessages.requests.map(\.name).sorted())
        #expect(try GoldenFiles.names("replies") == GoldenMessages.replies.map(\.name).sorted())
    }
}
