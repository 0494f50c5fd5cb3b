import Testing

@testable import WireProtocol

@Suite("JSON")
struct JSONTests {
    private func parse(_ text: String) throws -> JSONValue { try JSONValue(parsing: Array(text.utf8)) }

    @Test(
        "reads what RFC 8259 allows",
        arguments: [
            ("null", JSONValue.null), (" true ", .bool(true)), ("\r\n\tfalse", .bool(false)), ("0", .integer(0)),
            ("-0", .number(-0.0)), ("-12", .integer(-12)), ("9223372036854775807", .integer(.max)),
            ("-9223372036854775808", .integer(.min)), ("9223372036854775808", .number(9_223_372_036_854_775_808)),
            ("123456789012345678901234567890", .number(1.2345678901234568e29)),
            ("1.5", .number(1.5)), ("1e3", .number(1_000)), ("-2.5E-1", .number(-0.25)), ("1E+2", .number(100)),
            (#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#, .string("a\"\\/\u{8}\u{c}\n\r\té😀")),
            (#""é€😀""#, .string("é€😀")), ("[]", .array([])), ("{}", .object([])),
            (
                #"{"a":[1,{"b":null}],"c":""}"#,
                .object([
                    .init("a", .array([.integer(1), .object([.init("b", .null)])])), .init("c", .string("")),
                ])
            ),
            // Equal for Swift, not in bytes.
            ("{\"é\":1,\"e\u{301}\":2}", .object([.init("é", .integer(1)), .init("e\u{301}", .integer(2))])),
        ]
    )
    func reads(text: String, value: JSONValue) throws { #expect(try parse(text) == value) }

    @Test(
        "refuses everything else",
        arguments: [
            ("", 0), ("  ", 2), ("nul", 0), ("truE", 0), ("01", 0), ("-", 1), ("+1", 0), ("1.", 2), (".5", 0),
            ("1e", 2), ("1e999", 0), ("NaN", 0), ("[1,]", 3), ("[1 2]", 3), ("[", 1), ("{", 1), ("{a:1}", 1),
            (#"{"a" 1}"#, 5), (#"{"a":1,}"#, 7), (#"{"a":1"#, 6), (#"{"a":1,"a":2}"#, 11), ("1 2", 2),
            ("\"a", 2), ("\"a\u{1}\"", 2), ("\"\t\"", 1), (#""\x""#, 2), (#""\u12g4""#, 5), (#""\ud800""#, 1),
            (#""\ud800A""#, 1), (#""\udc00""#, 1), (#""\u12"#, 3), ("'a'", 0), ("[1]]", 3),
            ("{\"b\":1,\"a\":[1,{\"x\":tru}]}", 19),
        ]
    )
    func refuses(text: String, offset: Int) {
        let error = #expect(throws: JSONError.self) { try parse(text) }
        #expect(error?.offset == offset, "\(error?.message ?? "")")
    }

    @Test(
        "refuses bytes that are no UTF-8",
        arguments: [
            [0x22, 0xFF, 0x22], [0x22, 0xC3, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22],
            [0x22, 0xF4, 0x90, 0x80, 0x80, 0x22], [0x22, 0x5C, 0x6E, 0xFF, 0x22], [0xFF], [0xEF, 0xBB, 0xBF, 0x31],
        ] as [[UInt8]]
    )
    func badText(bytes: [UInt8]) { #expect(throws: JSONError.self) { try JSONValue(parsing: bytes) } }

    @Test("nests to its limit and no deeper")
    func depth() throws {
        let limit = JSONParser.depthMax
        func nest(_ levels: Int) -> String {
            String(repeating: "[", count: levels) + String(repeating: "]", count: levels)
        }
        _ = try parse(nest(limit))
        #expect(throws: JSONError.self) { try parse(nest(limit + 1)) }
        #expect(throws: JSONError.self) { try parse(String(repeating: "[", count: 1_000_000)) }
        #expect(throws: JSONError.self) { try parse(String(repeating: #"{"a":"#, count: 100_000)) }
        // Neighbours do not add up.
        _ = try parse("[" + Array(repeating: "[[]]", count: 1_000).joined(separator: ",") + "]")
    }

    @Test("finds a repeated key among many")
    func manyKeys() throws {
        let members = (0..<1_000).map { "\"k\($0)\":\($0)" }
        _ = try parse("{" + members.joined(separator: ",") + "}")
        #expect(throws: JSONError.self) { try parse("{" + (members + ["\"k17\":0"]).joined(separator: ",") + "}") }
    }

    @Test("keys that are alike to readers but not in their bytes are different, and many of them cost no more")
    func canonicallyEqualKeys() throws {
        // Each key spells one word of é with other choices of composed and decomposed letters.
        let count = 1 << 13
        let members = (0..<count).map { number in
            let word = (0..<13).map { number >> $0 & 1 == 0 ? "\u{E9}" : "e\u{301}" }.joined()
            return "\"\(word)\":\(number)"
        }
        let start = ContinuousClock.now
        let value = try JSONValue(parsing: Array("{\(members.joined(separator: ","))}".utf8))
        guard case .object(let parsed) = value else { return #expect(Bool(false)) }
        #expect(parsed.count == count)
        // Compared one with another, they take a minute; no machine is so slow that a linear pass takes ten seconds.
        #expect(start.duration(to: .now) < .seconds(10))
        #expect(throws: JSONError.self) {
            try JSONValue(parsing: Array("{\(members.joined(separator: ",")),\(members[7])}".utf8))
        }
    }

    @Test("writes what it reads")
    func writes() throws {
        let text = #"{"a":[1,-2,1.5,null,true,"\u0000\u001f\"\\\n€"],"b":{},"c":[]}"#
        let value = try parse(text)
        #expect(value.jsonText == text)
        #expect(JSONValue.number(.nan).jsonText == "null")
        #expect(JSONValue.integer(.min).jsonText == "-9223372036854775808")
    }

    @Test("floats come back to the bit")
    func floats() throws {
        var random = SplitMix(state: 1)
        var samples: [Float] = [
            0, -0.0, 1, .leastNonzeroMagnitude, .leastNormalMagnitude, .greatestFiniteMagnitude, 0.1,
        ]
        for _ in 0..<20_000 {
            samples.append(Float.random(in: -1...1, using: &random))
            let any = Float(bitPattern: UInt32.random(in: 0...UInt32.max, using: &random))
            if any.isFinite { samples.append(any) }
        }
        for sample in samples {
            var writer = JSONWriter()
            writer.number(sample)
            guard case .number(let value) = try JSONValue(parsing: writer.bytes) else {
                Issue.record("\(sample) is no number")
                continue
            }
            #expect(Float(value).bitPattern == sample.bitPattern)
        }
    }
}

/// A small seeded generator, so that failures repeat.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
