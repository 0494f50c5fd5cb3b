import FoundationEssentials
import Matryoshka
import Testing
import WireProtocol

extension JSONValue {
    fileprivate var keys: [String] {
        guard case .object(let members) = self else { return [] }
        return members.map(\.key)
    }

    fileprivate var items: [JSONValue] {
        guard case .array(let values) = self else { return [] }
        return values
    }

    fileprivate var text: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    /// The value at a JSON pointer like `#/components/messages/back.map`.
    fileprivate func at(_ pointer: String) -> JSONValue? {
        pointer.split(separator: "/").dropFirst().reduce(Optional(self)) { value, key in value?[String(key)] }
    }

    /// All `$ref` below.
    fileprivate var references: [String] {
        switch self {
        case .object(let members):
            members.flatMap { $0.key == "$ref" ? [$0.value.text ?? ""] : $0.value.references }
        case .array(let values): values.flatMap(\.references)
        default: []
        }
    }
}

@Suite("proto-docs")
struct DocumentationTests {
    @Test("the AsyncAPI document lists exactly the messages of the code")
    func asyncAPI() throws {
        let document = try JSONValue(parsing: ProtoDocs.bytes("asyncapi.json"))
        #expect(document["asyncapi"] == .string("3.0.0"))
        let names =
            FrontRequestType.allCases.map { "request.\($0.rawValue)" }
            + FrontReplyType.allCases.map { "reply.\($0.rawValue)" } + BackType.allCases.map { "back.\($0)" }
        let messages = try #require(document.at("#/components/messages"))
        #expect(messages.keys.sorted() == names.sorted())
        for type in BackType.allCases {
            let binding = try #require(messages["back.\(type)"]?["bindings"]?["x-zmq"])
            #expect(binding["type"] == .integer(Int64(type.rawValue)))
        }
        for server in ["front", "back"] { #expect(document.at("#/servers/\(server)/protocol") == .string("zmq")) }
        let operations = try #require(document["operations"]).keys
        #expect(
            operations.sorted()
                == (FrontRequestType.allCases.map { "request.\($0.rawValue)" } + BackType.allCases.map { "back.\($0)" })
                .sorted()
        )
        let codes = document.at("#/components/schemas/Error/properties/code/enum")?.items.compactMap(\.text)
        #expect(codes == FrontErrorCode.allCases.map(\.rawValue))
        for reference in Set(document.references) {
            #expect(document.at(reference) != nil, "\(reference) leads nowhere")
        }
    }

    @Test("the keys of the golden headers are in the AsyncAPI document", arguments: ["requests", "replies"])
    func keys(folder: String) throws {
        let document = try JSONValue(parsing: ProtoDocs.bytes("asyncapi.json"))
        for name in try GoldenFiles.names(folder) {
            let header = try JSONValue(parsing: GoldenFiles.read(folder, name)[1])
            let type = try #require(header["type"]?.text)
            let pointer = "#/components/messages/\(folder == "requests" ? "request" : "reply").\(type)/payload/allOf"
            var known: [String] = []
            for part in document.at(pointer)?.items ?? [] {
                let schema = part["$ref"]?.text.flatMap { document.at($0) } ?? part
                known += schema["properties"]?.keys ?? []
            }
            for key in header.keys { #expect(known.contains(key), "\(name): \(key)") }
        }
    }

    @Test("the text tells every type, code and limit")
    func text() throws {
        let front = try ProtoDocs.text("front-protocol.md")
        for type in FrontRequestType.allCases { #expect(front.contains("## \(type.rawValue) → ")) }
        for type in FrontReplyType.allCases where type != .error { #expect(front.contains(" → \(type.rawValue)\n")) }
        for code in FrontErrorCode.allCases {
            #expect(front.contains("| \(code.rawValue) | \(code.isRetryable ? "yes" : "no") |"))
        }
        guard case .object(let limits) = FrontLimits.json else { return #expect(Bool(false)) }
        for limit in limits {
            guard case .integer(let value) = limit.value else { continue }
            #expect(front.contains("| \(limit.key) | \(grouped(value)) |"), "\(limit.key)")
        }
        let back = try ProtoDocs.text("back-protocol.md")
        for type in BackType.allCases {
            let name = "\(type)".map { $0.isUppercase ? "_\($0)" : $0.uppercased() }.joined()
            #expect(back.contains("| \(type.rawValue) | \(name) |"), "\(name)")
        }
    }

    /// 16384 → 16,384.
    private func grouped(_ value: Int64) -> String {
        var text = ""
        for (index, digit) in "\(value)".reversed().enumerated() {
            if index > 0, index % 3 == 0 { text.append(",") }
            text.append(digit)
        }
        return String(text.reversed())
    }
}
