import Matryoshka
import Testing

@testable import WireProtocol

/// A float32 buffer with its entry in the header.
private func vectors(_ values: [Float], _ shape: String, dtype: String = "f32") -> (entry: String, bytes: [UInt8]) {
    (#"{"name":"vectors","dtype":"\#(dtype)","shape":\#(shape)}"#, rawBytes(values))
}

private func decode(_ header: String, _ buffers: [[UInt8]] = []) throws(FrontError) -> FrontRequest {
    try FrontRequest.decode(header: Array(header.utf8), buffers: buffers)
}

/// A header that must be refused, and how.
struct Refusal: CustomTestStringConvertible {
    var header: String
    var code: FrontErrorCode
    var field: String?
    var buffers: [[UInt8]] = []

    init(_ header: String, _ code: FrontErrorCode, _ field: String?, _ buffers: [[UInt8]] = []) {
        self.header = header
        self.code = code
        self.field = field
        self.buffers = buffers
    }

    var testDescription: String { "\(code.rawValue) \(field ?? "") \(header.prefix(120))" }

    static func search(_ rest: String, _ code: FrontErrorCode, _ field: String) -> Refusal {
        Refusal(#"{"type":"search","collection":"c","text":"t",\#(rest)}"#, code, field)
    }

    static func search(
        _ buffer: (entry: String, bytes: [UInt8]),
        _ code: FrontErrorCode,
        _ field: String,
        rest: String = ""
    ) -> Refusal {
        Refusal(
            #"{"type":"search","collection":"c","buffers":[\#(buffer.entry)]\#(rest)}"#,
            code,
            field,
            [buffer.bytes]
        )
    }

    static func upsert(_ lines: String, _ field: String, _ code: FrontErrorCode = .badHeader) -> Refusal {
        Refusal(
            #"{"type":"upsert","collection":"c","buffers":[{"name":"documents","dtype":"jsonl"}]}"#,
            code,
            field,
            [Array(lines.utf8)]
        )
    }

    static let envelope: [Refusal] = [
        Refusal("", .badFrame, "header"), Refusal("{", .badHeader, "header"), Refusal("[]", .badHeader, "header"),
        Refusal("{\"type\":\"\u{1}\"}", .badHeader, "header"),
        Refusal(#"{"type":"hello","type":"hello"}"#, .badHeader, "header"),
        Refusal("{\"x-a\":\"" + String(repeating: "a", count: 16_384) + "\"}", .tooLarge, "header"),
        Refusal("{}", .badHeader, "type"), Refusal(#"{"type":1}"#, .badHeader, "type"),
        Refusal(#"{"type":"train"}"#, .unsupported, "type"),
        Refusal(#"{"type":"hello","id":7}"#, .badHeader, "id"),
        Refusal(#"{"type":"hello","id":"\#(String(repeating: "a", count: 65))"}"#, .badHeader, "id"),
        Refusal(#"{"type":"hello","client":7}"#, .badHeader, "client"),
        Refusal(#"{"type":"hello","client":"\#(String(repeating: "a", count: 65))"}"#, .badHeader, "client"),
        Refusal(#"{"type":"hello","client":"a\u0000"}"#, .badHeader, "client"),
        Refusal(#"{"type":"hello","collection":"c"}"#, .badHeader, "collection"),
        Refusal(#"{"type":"hello","deadline_ms":0}"#, .badHeader, "deadline_ms"),
        Refusal(#"{"type":"hello","deadline_ms":60001}"#, .badHeader, "deadline_ms"),
        Refusal(#"{"type":"hello","deadline_ms":1.5}"#, .badHeader, "deadline_ms"),
        Refusal(#"{"type":"hello","traceparent":"00-0-0-00"}"#, .badHeader, "traceparent"),
        Refusal(
            #"{"type":"hello","traceparent":"00-00000000000000000000000000000000-0000000000000001-00"}"#,
            .badHeader,
            "traceparent"
        ),
        Refusal(#"{"type":"hello"}"#, .badFrame, "buffers", [[1]]),
        Refusal(#"{"type":"hello","buffers":[{"name":"a","dtype":"f32","shape":[1]}]}"#, .badFrame, "buffers"),
        Refusal(#"{"type":"hello","buffers":{}}"#, .badHeader, "buffers"),
        Refusal(
            #"{"type":"hello","buffers":[{"name":"a","dtype":"jsonl"}]}"#,
            .badHeader,
            "buffers[0].name",
            [Array("1".utf8)]
        ),
        Refusal(
            #"{"type":"hello","buffers":[1,1,1,1,1,1,1,1,1]}"#,
            .badFrame,
            "buffers",
            Array(repeating: [], count: 9)
        ),
    ]

    static let searches: [Refusal] = [
        Refusal(#"{"type":"search","text":"t"}"#, .badHeader, "collection"),
        Refusal(#"{"type":"search","collection":"","text":"t"}"#, .badHeader, "collection"),
        Refusal(#"{"type":"search","collection":"c"}"#, .badHeader, "text"),
        Refusal(#"{"type":"search","collection":"c","text":""}"#, .badHeader, "text"),
        Refusal(#"{"type":"search","collection":"c","texts":[]}"#, .badHeader, "texts"),
        Refusal(#"{"type":"search","collection":"c","texts":["a",1]}"#, .badHeader, "texts[1]"),
        Refusal(#"{"type":"search","collection":"c","texts":["a","\u0000"]}"#, .badHeader, "texts[1]"),
        Refusal(
            #"{"type":"search","collection":"c","texts":[\#(Array(repeating: "\"a\"", count: 257).joined(separator: ","))]}"#,
            .tooLarge,
            "texts"
        ),
        .search(#""texts":["t"]"#, .badHeader, "text"), .search(#""recall_target":0.9"#, .unsupported, "recall_target"),
        .search(#""ef":0"#, .badHeader, "ef"), .search(#""ef":65537"#, .badHeader, "ef"),
        .search(#""ef":"many""#, .badHeader, "ef"),
        .search(#""filter":{}"#, .unsupported, "filter"), .search(#""K":1"#, .badHeader, "K"),
        .search(#""k":0"#, .badPlan, "k"), .search(#""k":10001"#, .badPlan, "k"),
        .search(#""k":123456789012345678901234567890"#, .badPlan, "k"), .search(#""k":"1""#, .badHeader, "k"),
        .search(#""k":1.5"#, .badHeader, "k"), .search(#""min_coverage":1.01"#, .badHeader, "min_coverage"),
        .search(#""min_coverage":-0.1"#, .badHeader, "min_coverage"),
        .search(#""min_coverage":"1""#, .badHeader, "min_coverage"),
        .search(#""with_payload":1"#, .badHeader, "with_payload"), .search(#""explain":"y""#, .badHeader, "explain"),
        .search(#""plan":{}"#, .badPlan, "plan"), .search(#""plan":[]"#, .badPlan, "plan"),
        .search(#""plan":[\#(Array(repeating: "[1,1]", count: 17).joined(separator: ","))]"#, .badPlan, "plan"),
        .search(#""plan":[[16]]"#, .badPlan, "plan[0]"), .search(#""plan":[16,10]"#, .badPlan, "plan[0]"),
        .search(#""plan":[[16,10,"int8",1]]"#, .badPlan, "plan[0]"),
        .search(#""plan":[[0,10]]"#, .badPlan, "plan[0].dimensions"),
        .search(#""plan":[["16",10]]"#, .badPlan, "plan[0].dimensions"),
        .search(#""plan":[[16,65537],[32,10]]"#, .badPlan, "plan[0].keep"),
        .search(#""plan":[[16,100],[32,10001]]"#, .badPlan, "plan[1].keep"),
        .search(#""plan":[[16,0]]"#, .badPlan, "plan[0].keep"),
        .search(#""plan":[[16,10,"int4"]]"#, .badPlan, "plan[0].precision"),
        .search(#""plan":[{"dimensions":16}]"#, .badPlan, "plan[0].keep"),
        .search(#""plan":[{"dimensions":16,"keep":1,"dims":2}]"#, .badPlan, "plan[0].dims"),
        .search(#""plan":[[16,100],[32,10]],"k":9"#, .badPlan, "k"),
        .search(vectors([1, 2], "[1,2]"), .unsupported, "filter", rest: #","filter":{}"#),
        .search(vectors([1, 2], "[1,3]"), .badFrame, "buffers[0].shape"),
        .search(vectors([1, 2], "[4294967295,4294967295]"), .badFrame, "buffers[0].shape"),
        .search(vectors([1, 2], "[9223372036854775807,2]"), .badHeader, "buffers[0].shape"),
        .search(vectors([1, 2], "[-1,2]"), .badHeader, "buffers[0].shape"),
        .search(vectors([1, 2], "[]"), .badHeader, "buffers[0].shape"),
        .search(vectors([1, 2], "[1,1,2]"), .badHeader, "buffers[0].shape"),
        .search(vectors([1, 2], #"[1,2],"nbytes":9"#), .badFrame, "buffers[0].nbytes"),
        .search(vectors([1, 2], #"[1,2],"order":"F""#), .badHeader, "buffers[0].order"),
        .search(vectors([1, 2], "[1,4]", dtype: "f16"), .badDtype, "buffers[0].dtype"),
        .search(vectors([1, 2], "[8]", dtype: "i8"), .badDtype, "buffers[0].dtype"),
        .search(vectors([1, 2], "[1]", dtype: "jsonl"), .badDtype, "buffers[0].dtype"),
        .search(vectors([], "[0,4]"), .badHeader, "vectors"), .search(vectors([], "[4,0]"), .badDimension, "vectors"),
        .search(vectors(Array(repeating: 1, count: 257), "[257,1]"), .tooLarge, "vectors"),
        .search(vectors([1, 2, .nan, 4], "[2,2]"), .nonFinite, "vectors[1]"),
        .search(vectors([1, -.infinity], "[1,2]"), .nonFinite, "vectors[0]"),
        .search(vectors([1, 2, 0, -0.0], "[2,2]"), .zeroVector, "vectors[1]"),
        .search(vectors([1e-30, 1e-30], "[2]"), .zeroVector, "vectors[0]"),
        .search(vectors([1e30, 1e30], "[2]"), .nonFinite, "vectors[0]"),
        .search(
            vectors(Array(repeating: 1, count: 256), "[256,1]"),
            .tooLarge,
            "plan",
            rest: #","plan":[[1,4000],[2,10]]"#
        ),
        .search(vectors(Array(repeating: 1, count: 256), "[256,1]"), .tooLarge, "k", rest: #","k":4000"#),
    ]

    static let others: [Refusal] = [
        Refusal(#"{"type":"cancel"}"#, .badHeader, "target"),
        Refusal(#"{"type":"encode","texts":["a"]}"#, .badHeader, "role"),
        Refusal(#"{"type":"encode","texts":["a"],"role":"x"}"#, .badHeader, "role"),
        Refusal(#"{"type":"encode","role":"query"}"#, .badHeader, "texts"),
        Refusal(#"{"type":"encode","role":"query","text":"a","texts":["a"]}"#, .badHeader, "texts"),
        Refusal(#"{"type":"encode","role":"query","texts":"a"}"#, .badHeader, "texts"),
        Refusal(#"{"type":"classify"}"#, .badHeader, "texts"),
        Refusal(#"{"type":"classify","text":"a","threshold":1.5}"#, .badHeader, "threshold"),
        Refusal(#"{"type":"classify","text":"a","threshold":"1"}"#, .badHeader, "threshold"),
        Refusal(#"{"type":"classify","text":"a","collection":"c"}"#, .badHeader, "collection"),
        Refusal(#"{"type":"delete","collection":"c"}"#, .badHeader, "ids"),
        Refusal(#"{"type":"delete","collection":"c","ids":[""]}"#, .badHeader, "ids[0]"),
        Refusal(
            #"{"type":"delete","collection":"c","ids":["\#(String(repeating: "a", count: 513))"]}"#,
            .tooLarge,
            "ids[0]"
        ),
        Refusal(#"{"type":"delete","collection":"c","ids":["a"],"wait":"long"}"#, .badHeader, "wait"),
        Refusal(
            #"{"type":"delete","collection":"c","ids":["a"],"idempotency_key":"\#(String(repeating: "a", count: 65))"}"#,
            .badHeader,
            "idempotency_key"
        ),
        Refusal(
            #"{"type":"get","collection":"c","ids":[\#(Array(repeating: "\"a\"", count: 1_001).joined(separator: ","))]}"#,
            .tooLarge,
            "ids"
        ),
        Refusal(
            #"{"type":"get","collection":"c","ids":["a"],"buffers":[{"name":"ids","dtype":"jsonl","shape":[1]}]}"#,
            .badHeader,
            "ids",
            [Array("\"a\"".utf8)]
        ),
        Refusal(
            #"{"type":"get","collection":"c","buffers":[{"name":"ids","dtype":"jsonl","shape":[2]}]}"#,
            .badFrame,
            "buffers[0].shape",
            [Array("\"a\"\n".utf8)]
        ),
        Refusal(
            #"{"type":"get","collection":"c","buffers":[{"name":"ids","dtype":"jsonl"}]}"#,
            .badHeader,
            "ids[1]",
            [Array("\"a\"\n\n\"b\"\n".utf8)]
        ),
        Refusal(
            #"{"type":"get","collection":"c","buffers":[{"name":"ids","dtype":"jsonl"}]}"#,
            .tooLarge,
            "ids",
            [Array(repeating: 0x0A, count: 10_001)]
        ),
        Refusal(#"{"type":"collections"}"#, .badHeader, "action"),
        Refusal(#"{"type":"collections","action":"grow"}"#, .badHeader, "action"),
        Refusal(#"{"type":"collections","action":"list","name":"a"}"#, .badHeader, "name"),
        Refusal(#"{"type":"collections","action":"create"}"#, .badHeader, "name"),
        Refusal(#"{"type":"collections","action":"create","name":"1a"}"#, .badHeader, "name"),
        Refusal(#"{"type":"collections","action":"create","name":"A"}"#, .badHeader, "name"),
        Refusal(#"{"type":"collections","action":"create","name":"a","dimensions":0}"#, .badHeader, "dimensions"),
        Refusal(
            #"{"type":"collections","action":"create","name":"a","similarity":"l2"}"#,
            .badHeader,
            "similarity"
        ),
        Refusal(
            #"{"type":"collections","action":"create","name":"a","resident_precision":"bit"}"#,
            .unsupported,
            "resident_precision"
        ),
        Refusal(#"{"type":"collections","action":"create","name":"a","index":"tree"}"#, .badHeader, "index"),
        Refusal(#"{"type":"collections","action":"create","name":"a","index":"hnsw","m":1}"#, .badHeader, "m"),
        Refusal(#"{"type":"collections","action":"configure","name":"a","m":129}"#, .badHeader, "m"),
        Refusal(
            #"{"type":"collections","action":"create","name":"a","index":"hnsw","ef_construction":1}"#,
            .badHeader,
            "ef_construction"
        ),
        Refusal(
            #"{"type":"collections","action":"configure","name":"a","ef_construction":2001}"#,
            .badHeader,
            "ef_construction"
        ),
        Refusal(#"{"type":"collections","action":"configure","name":"a","ef":10}"#, .badHeader, "ef"),
        Refusal(#"{"type":"collections","action":"alias","name":"a"}"#, .badHeader, "collection"),
        Refusal(#"{"type":"collections","action":"configure","name":"a"}"#, .badHeader, "resident_width"),
    ]

    static let writes: [Refusal] = [
        Refusal(#"{"type":"upsert","collection":"c"}"#, .badHeader, "documents"),
        Refusal(#"{"type":"upsert","collection":"c","documents":[]}"#, .badHeader, "documents"),
        Refusal(#"{"type":"upsert","collection":"c","documents":[1]}"#, .badHeader, "documents[0]"),
        Refusal(
            #"{"type":"upsert","collection":"c","documents":[{"id":"a","text":"t"}],"on_error":"stop"}"#,
            .badHeader,
            "on_error"
        ),
        Refusal(
            #"{"type":"upsert","collection":"c","documents":[{"id":"a"}],"buffers":[\#(vectors([1, 2, 3, 4], "[2,2]").entry)]}"#,
            .badHeader,
            "vectors",
            [vectors([1, 2, 3, 4], "[2,2]").bytes]
        ),
        .upsert("", "documents"), .upsert("{\"id\":\"a\",\"text\":\"t\"}\n{", "documents[1]"),
        .upsert(#"{"text":"t"}"#, "documents[0].id"), .upsert(#"{"id":7,"text":"t"}"#, "documents[0].id"),
        .upsert(#"{"id":"","text":"t"}"#, "documents[0].id"),
        .upsert(#"{"id":"\u0000","text":"t"}"#, "documents[0].id"),
        .upsert("{\"id\":\"\(String(repeating: "é", count: 257))\",\"text\":\"t\"}", "documents[0].id", .tooLarge),
        .upsert(#"{"id":"a"}"#, "documents[0].text"), .upsert(#"{"id":"a","text":""}"#, "documents[0].text"),
        .upsert(#"{"id":"a","text":"a\u0000b"}"#, "documents[0].text"),
        .upsert(#"{"id":"a","text":"t","payload":[]}"#, "documents[0].payload"),
        .upsert(#"{"id":"a","text":"t","payload":{"a":"\u0000"}}"#, "documents[0].payload"),
        .upsert(#"{"id":"a","text":"t","payload":{"a":1,"a":2}}"#, "documents[0]"),
        .upsert(#"{"id":"a","text":"t","id":"b"}"#, "documents[0]"),
        .upsert(#"{"id":"a","vector":0}"#, "documents[0].vector"),
        .upsert(#"{"id":"a","vector":-1}"#, "documents[0].vector"),
        .upsert(#"{"id":"a","text":"t","colour":1}"#, "documents[0].colour"),
        .upsert(#"{"id":"a","text":"t"} {}"#, "documents[0]"),
        .upsert(String(repeating: "{}\n", count: 10_001), "documents", .tooLarge),
    ]
}

@Suite("Requests")
struct FrontRequestTests {
    @Test(
        "are refused with code and field",
        arguments: Refusal.envelope + Refusal.searches + Refusal.others + Refusal.writes
    )
    func refused(_ refusal: Refusal) {
        let error = #expect(throws: FrontError.self) { try decode(refusal.header, refusal.buffers) }
        #expect(error?.code == refusal.code, "\(error?.message ?? "")")
        #expect(error?.field == refusal.field, "\(error?.message ?? "")")
    }

    @Test("need no id, may carry keys of their own, and get defaults")
    func defaults() throws {
        let request = try decode(#"{"type":"search","collection":"c","text":"t","x-team":{"a":[1]},"model":null}"#)
        #expect(request.id == "")
        #expect(request.deadlineMilliseconds == 1_000)
        guard case .search(let search) = request.body else { return #expect(Bool(false)) }
        #expect(search == SearchRequest(collection: "c", query: .texts(["t"])))
        #expect(try decode(#"{"type":"get","collection":"c","ids":["a"]}"#).deadlineMilliseconds == 10_000)
        #expect(try decode(#"{"type":"hello"}"#).body == .hello)
    }

    @Test(
        "take plans in three forms",
        arguments: [
            #"[[16,200],[32,10,"float32"]]"#,
            #"[{"dimensions":16,"keep":200},{"dimensions":32,"keep":10,"precision":"float32"}]"#,
            #"[[16,200,null],{"keep":10,"precision":"float32","dimensions":32}]"#,
        ]
    )
    func plans(text: String) throws {
        guard
            case .search(let search) = try decode(#"{"type":"search","collection":"c","text":"t","plan":\#(text)}"#)
                .body
        else { return #expect(Bool(false)) }
        #expect(
            search.plan
                == Plan(stages: [
                    Stage(dimensions: 16, keep: 200), Stage(dimensions: 32, keep: 10, precision: .float32),
                ])
        )
        #expect(search.k == 10)
    }

    @Test("take a vector with a shape of one size")
    func flatShape() throws {
        let (entry, bytes) = vectors([1, 2], "[2]")
        let request = try decode(#"{"type":"search","collection":"c","buffers":[\#(entry)]}"#, [bytes])
        guard case .search(let search) = request.body else { return #expect(Bool(false)) }
        #expect(search.query == .vectors(values: [1, 2], count: 1, width: 2))
    }

    @Test("skip bad documents where they may, under their index")
    func skipping() throws {
        let lines = """
            {"id":"a","text":"t"}
            {"id":""}
            broken
            {"id":"b","text":"u","payload": {"n":1.00}}
            """
        let request = try decode(
            #"{"type":"upsert","collection":"c","on_error":"skip","buffers":[{"name":"documents","dtype":"jsonl"}]}"#,
            [Array(lines.utf8)]
        )
        guard case .upsert(let upsert) = request.body else { return #expect(Bool(false)) }
        #expect(upsert.documents.map(\.id) == ["a", "b"])
        #expect(upsert.documents.map(\.index) == [0, 3])
        #expect(upsert.documents[1].payload == #"{"n":1.00}"#, "the text as it came")
        #expect(upsert.refused.map(\.index) == [1, 2])
        #expect(upsert.refused.map(\.error.field) == ["documents[1].id", "documents[2]"])
        #expect(upsert.bodyHash == "", "nothing to be compared without a key")
    }

    @Test("name rows of the vectors buffer by document")
    func vectorRows() throws {
        let (entry, bytes) = vectors([1, 2, 3, 4], "[2,2]")
        let request = try decode(
            #"{"type":"upsert","collection":"c","documents":[{"id":"a","vector":1},{"id":"b","text":"t"}],"buffers":[\#(entry)]}"#,
            [bytes]
        )
        guard case .upsert(let upsert) = request.body else { return #expect(Bool(false)) }
        #expect(upsert.documents.map(\.vectorIndex) == [1, nil])
        #expect(upsert.width == 2)
        #expect(upsert.vectors == [1, 2, 3, 4])
    }

    @Test("hash the body, not the delivery")
    func hashes() throws {
        func hash(_ header: String) throws -> String {
            guard case .delete(let delete) = try decode(header).body else { return "" }
            return delete.bodyHash
        }
        let first = try hash(#"{"type":"delete","id":"1","collection":"c","ids":["a"],"idempotency_key":"k"}"#)
        let again = try hash(
            #"{"idempotency_key":"k","ids":["a"],"collection":"c","type":"delete","id":"2","deadline_ms":5,"client":"c","x-try":2}"#
        )
        let other = try hash(#"{"type":"delete","id":"1","collection":"c","ids":["b"],"idempotency_key":"k"}"#)
        #expect(first == again)
        #expect(first != other)
        var fnv = FNV()
        fnv.add(Array("a".utf8))
        #expect(fnv.text == "d228cb696f1a8caf78912b704e4a8964", "the published FNV-1a 128 of \"a\"")
    }

    @Test("send long lists as buffers")
    func longLists() throws {
        let ids = (0..<1_000).map { "document-\($0)" }
        let request = FrontRequest(
            id: "1",
            deadlineMilliseconds: 1_000,
            body: .get(GetRequest(collection: "c", ids: ids))
        )
        let frames = request.encode()
        #expect(frames.count == 3)
        #expect(try FrontRequest.decode(header: frames[1], buffers: [frames[2]]) == request)
    }

    @Test("lend their id to the error even when they are broken")
    func peeking() {
        func peek(_ header: String) -> String { FrontRequest.peek(header: Array(header.utf8)).id }
        #expect(peek(#"{"type":"x","id":"7"}"#) == "7")
        #expect(peek(#"{"id":"7","type":oops"#) == "7")
        #expect(peek(#"{"id":"7","id":"8"}"#) == "7")
        #expect(peek(#"{"id":7}"#) == "")
        #expect(peek("") == "")
        #expect(peek("{\"id\":\"7\",\"a\":\"" + String(repeating: "a", count: 20_000) + "\"}") == "7")
    }

    @Test("that are searches are known as such, with their collection, even when they are broken")
    func peekingSearch() {
        func peek(_ header: String) -> FrontRequest.Peek { FrontRequest.peek(header: Array(header.utf8)) }
        let broken = peek(#"{"type":"search","id":"7","collection":"docs","k":oops}"#)
        #expect(broken == FrontRequest.Peek(id: "7", type: "search", collection: "docs"))
        #expect(broken.isSearch)
        #expect(!peek(#"{"type":"upsert","collection":"docs"}"#).isSearch)
        #expect(peek(#"{"type":7,"collection":[]}"#) == FrontRequest.Peek())
    }
}

@Suite("Frames of the front ROUTER")
struct FrontCodecTests {
    private let id: [UInt8] = [0, 1, 2, 3, 4]
    private let magic = FrontCodec.magic
    private let header = Array("{}".utf8)

    @Test("keep every frame before the magic as prefix")
    func prefixes() throws {
        let prefixes: [[[UInt8]]] = [
            [id], [id, []], [id, [1, 2, 3, 4], []], [id, [1], [2], [3]], [magic], [magic, []],
        ]
        for prefix in prefixes {
            let parts = try #require(FrontCodec.split(prefix + [magic, header, [9]]))
            #expect(parts.prefix == prefix)
            #expect(parts.header == header)
            #expect(parts.buffers == [[9]])
        }
    }

    @Test("are refused with an answer where one can arrive")
    func refusals() throws {
        #expect(FrontCodec.split([]) == nil)
        #expect(FrontCodec.refusal(of: []) == nil)
        #expect(FrontCodec.refusal(of: [id]) == nil)

        let version = try #require(FrontCodec.refusal(of: [id, [], Array("MRL2".utf8), header]))
        #expect(FrontCodec.split([id, [], Array("MRL2".utf8), header]) == nil)
        #expect(version.prefix == [id, []])
        #expect(version.error.code == .unsupportedVersion)

        let bare = try #require(FrontCodec.refusal(of: [id, magic]))
        #expect(FrontCodec.split([id, magic]) == nil)
        #expect(bare.error.code == .badFrame)

        let request = try #require(FrontCodec.refusal(of: [id, [], header]))
        #expect(request.prefix == [id, []])
        #expect(request.error.code == .badFrame)
        #expect(FrontCodec.refusal(of: [id, header])?.prefix == [id])
        #expect(FrontCodec.split([id, [1], [2], [3], [4], magic, header]) == nil, "five frames of prefix")
    }
}
