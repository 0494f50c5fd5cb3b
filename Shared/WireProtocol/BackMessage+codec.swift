import Matryoshka

/// Why frames are no back message.
///
/// The receiver counts and drops them; it never answers.
public enum BackDecodeError: Error, Sendable, Hashable {
    /// A message has two frames.
    case frameCount(got: Int)
    /// The first frame is no header of ours.
    case badHeader(String)
    /// Another version of the protocol.
    case unsupportedVersion(UInt8)
    /// A type that this build does not know.
    case unknownType(UInt8)
    /// The payload does not fit the type.
    case badPayload(String)
}

extension BackHeader {
    /// Bytes of the header frame.
    public static let byteCount = 96
    /// Version that this build speaks.
    public static let version: UInt8 = 1
    /// "MRLB" as the bytes stand on the wire.
    static let magic: UInt32 = 0x424C_524D

    func encode(payloadBytes: Int) -> [UInt8] {
        var writer = ByteWriter(reserving: Self.byteCount)
        writer.write(Self.magic)
        writer.write(Self.version)
        writer.write(type.rawValue)
        writer.write(UInt16(0))
        for field in [request, incarnation, epoch, deadlineMicroseconds, traceHigh, traceLow] { writer.write(field) }
        writer.write(collection)
        writer.write(generation)
        writer.write(UInt64(payloadBytes))
        writer.writeZeros(24)
        return writer.bytes
    }

    static func decode(_ bytes: [UInt8]) throws(BackDecodeError) -> (header: BackHeader, payloadBytes: UInt64) {
        guard bytes.count == byteCount else { throw .badHeader("header has \(bytes.count) bytes") }
        var reader = ByteReader(bytes)
        guard try reader.read(UInt32.self) == magic else { throw .badHeader("wrong magic") }
        let version = try reader.read(UInt8.self)
        guard version == Self.version else { throw .unsupportedVersion(version) }
        let number = try reader.read(UInt8.self)
        guard let type = BackType(rawValue: number) else { throw .unknownType(number) }
        guard try reader.read(UInt16.self) == 0 else { throw .badHeader("unknown flags") }
        let header = BackHeader(
            type: type,
            request: try reader.read(UInt64.self),
            incarnation: try reader.read(UInt64.self),
            epoch: try reader.read(UInt64.self),
            deadlineMicroseconds: try reader.read(UInt64.self),
            traceHigh: try reader.read(UInt64.self),
            traceLow: try reader.read(UInt64.self),
            collection: try reader.read(UInt32.self),
            generation: try reader.read(UInt32.self)
        )
        let payloadBytes = try reader.read(UInt64.self)
        guard bytes[72...].allSatisfy({ $0 == 0 }) else { throw .badHeader("a reserved byte is not 0") }
        guard header.incarnation <= UInt64(Int64.max), header.epoch <= UInt64(Int64.max),
            header.generation <= BackLimits.generationMax
        else { throw .badHeader("a number is beyond what is ever given out") }
        return (header, payloadBytes)
    }
}

extension BackBody {
    /// The type that a header of this body has.
    public var type: BackType {
        switch self {
        case .register: .register
        case .registered: .registered
        case .reject: .reject
        case .whoAreYou: .whoAreYou
        case .heartbeat, .heartbeatReply: .heartbeat
        case .map: .map
        case .drain: .drain
        case .drained: .drained
        case .train: .train
        case .trained: .trained
        case .search: .search
        case .hits: .hits
        case .rerank: .rerank
        case .scores: .scores
        case .fetch: .fetch
        case .documents: .documents
        case .encode: .encode
        case .vectors: .vectors
        case .cancel: .cancel
        case .failed: .failed
        case .classify: .classify
        case .labels: .labels
        }
    }

    fileprivate func encode() -> [UInt8] {
        switch self {
        case .register(let value): value.json.jsonBytes
        case .registered(let value): value.json.jsonBytes
        case .reject(let value): value.json.jsonBytes
        case .heartbeat(let value): value.json.jsonBytes
        case .map(let value): value.json.jsonBytes
        case .train(let value): value.json.jsonBytes
        case .trained(let value): value.json.jsonBytes
        case .failed(let value): value.json.jsonBytes
        case .search(let value): value.encode()
        case .hits(let value): value.encode()
        case .rerank(let value): value.encode()
        case .scores(let value): value.encode()
        case .fetch(let value): value.encode()
        case .documents(let value): value.encode()
        case .encode(let value): value.encode()
        case .vectors(let value): value.encode()
        case .classify(let value): value.encode()
        case .labels(let value): value.encode()
        case .whoAreYou, .heartbeatReply, .drain, .drained, .cancel: []
        }
    }

    fileprivate static func decode(_ type: BackType, _ payload: [UInt8]) throws(BackDecodeError) -> BackBody {
        if payload.isEmpty {
            switch type {
            case .whoAreYou: return .whoAreYou
            case .heartbeat: return .heartbeatReply
            case .drain: return .drain
            case .drained: return .drained
            case .cancel: return .cancel
            default: throw .badPayload("payload is empty")
            }
        }
        var reader = ByteReader(payload)
        let body: BackBody
        switch type {
        case .register: return .register(try Register(json: RecordReader(payload)))
        case .registered: return .registered(try Registered(json: RecordReader(payload)))
        case .reject: return .reject(try Reject(json: RecordReader(payload)))
        case .heartbeat: return .heartbeat(try Heartbeat(json: RecordReader(payload)))
        case .map: return .map(try ShardAssignments(json: RecordReader(payload)))
        case .train: return .train(try TrainCommand(json: RecordReader(payload)))
        case .trained: return .trained(try Trained(json: RecordReader(payload)))
        case .failed: return .failed(try Failed(json: RecordReader(payload)))
        case .search: body = .search(try SearchCommand(&reader))
        case .hits: body = .hits(try Hits(&reader))
        case .rerank: body = .rerank(try RerankCommand(&reader))
        case .scores: body = .scores(try Scores(&reader))
        case .fetch: body = .fetch(try FetchCommand(&reader))
        case .documents: body = .documents(try Documents(&reader))
        case .encode: body = .encode(try EncodeCommand(&reader))
        case .vectors: body = .vectors(try Vectors(&reader))
        case .classify: body = .classify(try ClassifyCommand(&reader))
        case .labels: body = .labels(try Labels(&reader))
        case .whoAreYou, .drain, .drained, .cancel: throw .badPayload("\(payload.count) bytes too many")
        }
        try reader.finish()
        return body
    }
}

extension BackMessage {
    /// Makes a message whose header has the type of its body.
    public init(_ body: BackBody, _ header: BackHeader = BackHeader(type: .cancel)) {
        var header = header
        header.type = body.type
        self.init(header: header, body: body)
    }

    /// The two frames of the message.
    public func encode() -> [[UInt8]] {
        precondition(header.type == body.type, "header says \(header.type), body is \(body.type)")
        let payload = body.encode()
        return [header.encode(payloadBytes: payload.count), payload]
    }

    /// Number of the request that a message is about whose rest may be unreadable; nil where it has none.
    public static func request(of header: [UInt8]) -> UInt64? {
        guard let header = try? BackHeader.decode(header).header, header.request != 0 else { return nil }
        return header.request
    }

    /// Reads the two frames of a message (without routing id).
    public static func decode(frames: [[UInt8]]) throws(BackDecodeError) -> BackMessage {
        guard frames.count == 2 else { throw .frameCount(got: frames.count) }
        let (header, payloadBytes) = try BackHeader.decode(frames[0])
        guard payloadBytes == UInt64(frames[1].count) else {
            throw .badHeader("payload of \(payloadBytes) bytes is announced and \(frames[1].count) are there")
        }
        return BackMessage(header: header, body: try BackBody.decode(header.type, frames[1]))
    }
}

extension Precision {
    fileprivate var wireNumber: UInt8 {
        switch self {
        case .bit: 0
        case .int8: 1
        case .float16: 2
        case .float32: 3
        }
    }

    fileprivate init(wireNumber: UInt8) throws(BackDecodeError) {
        switch wireNumber {
        case 0: self = .bit
        case 1: self = .int8
        case 2: self = .float16
        case 3: self = .float32
        default: throw .badPayload("precision \(wireNumber) is unknown")
        }
    }
}

private let stepBytes = 12

extension ByteWriter {
    fileprivate mutating func write(_ steps: [ResolvedPlan.Step]) {
        for step in steps {
            write(count: step.dimensions)
            write(count: step.keep)
            write(step.precision.wireNumber)
            writeZeros(3)
        }
    }

    fileprivate mutating func write(_ columns: CandidateColumns) {
        let count = columns.count
        precondition(
            columns.versions.count == count && columns.shards.count == count
                && columns.scores.allSatisfy { $0.count == count },
            "columns differ in length"
        )
        write(count: count)
        write(count: columns.scores.count)
        writeColumn(columns.ids)
        writeColumn(columns.versions)
        for scores in columns.scores { writeColumn(scores) }
        writeColumn(columns.shards)
    }

    fileprivate mutating func write(_ documents: [FetchedDocument]) {
        for document in documents {
            write(document.id)
            write(count: document.externalID.utf8.count)
            write(document.payload.map { UInt32($0.utf8.count) } ?? noPayload)
            writeText(document.externalID)
            if let payload = document.payload { writeText(payload) }
        }
    }
}

/// Length that stands for "no payload".
private let noPayload = UInt32.max
private let columnsBytes = 8
private let documentBytes = 16

extension ByteReader {
    fileprivate mutating func readSteps(_ count: Int) throws(BackDecodeError) -> [ResolvedPlan.Step] {
        guard (1...SearchLimits.stagesMax).contains(count) else { throw .badPayload("a plan of \(count) steps") }
        try need(count, of: stepBytes)
        var steps: [ResolvedPlan.Step] = []
        steps.reserveCapacity(count)
        for _ in 0..<count {
            let dimensions = try readInt()
            let keep = try readInt()
            let precision = try Precision(wireNumber: try read(UInt8.self))
            try readZeros(3)
            guard dimensions > 0, keep > 0 else { throw .badPayload("a step with 0 dimensions or keep 0") }
            steps.append(.init(dimensions: dimensions, keep: keep, precision: precision))
        }
        return steps
    }

    fileprivate mutating func readQueries(_ count: Int, width: Int) throws(BackDecodeError) -> [Float] {
        guard count > 0, width > 0 else { throw .badPayload("\(count) queries of \(width) floats") }
        let (floats, overflow) = count.multipliedReportingOverflow(by: width)
        guard !overflow else { throw .badPayload("\(count) queries of \(width) floats") }
        return try readColumn(Float.self, count: floats)
    }

    fileprivate mutating func readColumns() throws(BackDecodeError) -> CandidateColumns {
        let count = try readInt()
        let stages = try readInt()
        guard stages <= SearchLimits.stagesMax else { throw .badPayload("scores of \(stages) stages") }
        try need(count, of: 14 + 4 * stages)
        var columns = CandidateColumns()
        columns.ids = try readColumn(Int64.self, count: count)
        columns.versions = try readColumn(UInt32.self, count: count)
        columns.scores.reserveCapacity(stages)
        for _ in 0..<stages { columns.scores.append(try readColumn(Float.self, count: count)) }
        columns.shards = try readColumn(UInt16.self, count: count)
        guard columns.shards.allSatisfy({ $0 < Slots.shardCount }) else { throw .badPayload("no such shard") }
        return columns
    }

    fileprivate mutating func readResults(_ count: Int) throws(BackDecodeError) -> [CandidateColumns] {
        try need(count, of: columnsBytes)
        var results: [CandidateColumns] = []
        results.reserveCapacity(count)
        for _ in 0..<count { results.append(try readColumns()) }
        return results
    }

    fileprivate mutating func readDocuments(_ count: Int) throws(BackDecodeError) -> [FetchedDocument] {
        try need(count, of: documentBytes)
        var documents: [FetchedDocument] = []
        documents.reserveCapacity(count)
        for _ in 0..<count {
            let id = try read(Int64.self)
            let externalBytes = try readInt()
            let payloadBytes = try read(UInt32.self)
            let externalID = try readText(count: externalBytes)
            let payload = payloadBytes == noPayload ? nil : try readText(count: Int(payloadBytes))
            documents.append(FetchedDocument(id: id, externalID: externalID, payload: payload))
        }
        return documents
    }

    fileprivate mutating func readFlags(_ known: UInt32) throws(BackDecodeError) -> UInt32 {
        let flags = try read(UInt32.self)
        guard flags & ~known == 0 else { throw .badPayload("unknown flags") }
        return flags
    }
}

extension SearchCommand {
    fileprivate func encode() -> [UInt8] {
        precondition(queries.count == queryCount * width, "queries do not fill their shape")
        var writer = ByteWriter(
            reserving: 32 + steps.count * stepBytes + queries.count * 4 + shards.count * 2 + filter.count
        )
        let effort = [effort.probes ?? 0, effort.ef ?? 0]
        for count in [steps.count, shards.count, queryCount, width, filter.count] + effort + [isExact ? 1 : 0] {
            writer.write(count: count)
        }
        writer.write(steps)
        writer.writeColumn(queries)
        writer.writeColumn(shards)
        writer.writeColumn(filter)
        return writer.bytes
    }

    fileprivate init(_ reader: inout ByteReader) throws(BackDecodeError) {
        let stepCount = try reader.readInt()
        let shardCount = try reader.readInt()
        let queryCount = try reader.readInt()
        let width = try reader.readInt()
        let filterBytes = try reader.readInt()
        let probes = try reader.readInt()
        let ef = try reader.readInt()
        guard probes <= SearchEffort.effortMax, ef <= SearchEffort.effortMax else {
            throw .badPayload("an effort of \(max(probes, ef))")
        }
        let isExact = try reader.readFlags(1) == 1
        self.init(
            steps: try reader.readSteps(stepCount),
            shards: [],
            queryCount: queryCount,
            width: width,
            queries: try reader.readQueries(queryCount, width: width),
            effort: SearchEffort(probes: probes == 0 ? nil : probes, ef: ef == 0 ? nil : ef),
            isExact: isExact
        )
        shards = try reader.readColumn(UInt16.self, count: shardCount)
        for index in shards.indices.dropFirst() where shards[index] <= shards[index - 1] {
            throw .badPayload("shards are not ascending")
        }
        filter = try reader.readColumn(UInt8.self, count: filterBytes)
    }
}

extension Hits {
    fileprivate func encode() -> [UInt8] {
        let columns = results.reduce(0) { $0 + columnsBytes + $1.count * (14 + 4 * $1.scores.count) }
        var writer = ByteWriter(reserving: 16 + shards.count * 16 + columns)
        writer.write(count: shards.count)
        writer.write(count: results.count)
        writer.write(queuedMicroseconds)
        writer.write(computeMicroseconds)
        for shard in shards {
            writer.write(shard.appliedXmax)
            writer.write(shard.rows)
            writer.write(shard.shard)
            writer.write(shard.status.rawValue)
            writer.writeZeros(1)
        }
        for result in results { writer.write(result) }
        return writer.bytes
    }

    fileprivate init(_ reader: inout ByteReader) throws(BackDecodeError) {
        let shardCount = try reader.readInt()
        let queryCount = try reader.readInt()
        let queued = try reader.read(UInt32.self)
        let compute = try reader.read(UInt32.self)
        try reader.need(shardCount, of: 16)
        var shards: [ShardAnswer] = []
        shards.reserveCapacity(shardCount)
        for _ in 0..<shardCount {
            let xmax = try reader.read(UInt64.self)
            let rows = try reader.read(UInt32.self)
            let shard = try reader.read(UInt16.self)
            let number = try reader.read(UInt8.self)
            guard let status = ShardAnswer.Status(rawValue: number) else {
                throw .badPayload("shard status \(number) is unknown")
            }
            try reader.readZeros(1)
            shards.append(ShardAnswer(shard: shard, status: status, rows: rows, appliedXmax: xmax))
        }
        self.init(
            shards: shards,
            results: try reader.readResults(queryCount),
            queuedMicroseconds: queued,
            computeMicroseconds: compute
        )
    }
}

extension RerankCommand {
    private static let whole: UInt32 = 1
    private static let payload: UInt32 = 2
    private static let rotated: UInt32 = 4

    fileprivate func encode() -> [UInt8] {
        precondition(queries.count == queryCount * width, "queries do not fill their shape")
        precondition(candidates.count == queryCount, "one list of candidates for each query")
        let columns = candidates.reduce(0) { $0 + columnsBytes + $1.count * (14 + 4 * $1.scores.count) }
        var writer = ByteWriter(reserving: 24 + plan.steps.count * stepBytes + queries.count * 4 + columns)
        writer.write(count: plan.steps.count)
        writer.write(count: plan.residentCount)
        writer.write(count: firstStep)
        writer.write(count: queryCount)
        writer.write(count: width)
        writer.write(
            (isWhole ? Self.whole : 0) | (withPayload ? Self.payload : 0) | (rotation != 0 ? Self.rotated : 0)
        )
        if rotation != 0 { writer.write(rotation) }
        writer.write(plan.steps)
        writer.writeColumn(queries)
        for each in candidates { writer.write(each) }
        return writer.bytes
    }

    fileprivate init(_ reader: inout ByteReader) throws(BackDecodeError) {
        let stepCount = try reader.readInt()
        let residentCount = try reader.readInt()
        let firstStep = try reader.readInt()
        let queryCount = try reader.readInt()
        let width = try reader.readInt()
        let flags = try reader.readFlags(Self.whole | Self.payload | Self.rotated)
        let rotation = flags & Self.rotated == 0 ? 0 : try reader.read(UInt32.self)
        guard flags & Self.rotated == 0 || rotation != 0 else { throw .badPayload("a rotation without a number") }
        guard residentCount <= stepCount, firstStep <= stepCount else {
            throw .badPayload("step \(firstStep), \(residentCount) resident, of \(stepCount)")
        }
        self.init(
            plan: ResolvedPlan(steps: try reader.readSteps(stepCount), residentCount: residentCount),
            firstStep: firstStep,
            isWhole: flags & Self.whole != 0,
            withPayload: flags & Self.payload != 0,
            queryCount: queryCount,
            width: width,
            queries: try reader.readQueries(queryCount, width: width),
            candidates: try reader.readResults(queryCount),
            rotation: rotation
        )
        for each in candidates where each.count > 0 && each.scores.count != firstStep {
            throw .badPayload("scores of \(each.scores.count) stages before step \(firstStep)")
        }
    }
}

extension Scores {
    fileprivate func encode() -> [UInt8] {
        precondition(documents.isEmpty || documents.count == results.count, "documents of some queries only")
        let columns = results.reduce(0) { $0 + columnsBytes + $1.count * (14 + 4 * $1.scores.count) }
        var writer = ByteWriter(reserving: 32 + skipped.count * 8 + columns)
        writer.write(count: results.count)
        writer.write(count: documents.count)
        writer.write(count: skipped.count)
        for number in [gone, rescoredNewer, fetchedRows, queuedMicroseconds, computeMicroseconds] {
            writer.write(number)
        }
        writer.writeColumn(skipped)
        for result in results { writer.write(result) }
        for list in documents {
            writer.write(count: list.count)
            writer.write(list)
        }
        return writer.bytes
    }

    fileprivate init(_ reader: inout ByteReader) throws(BackDecodeError) {
        let queryCount = try reader.readInt()
        let listCount = try reader.readInt()
        let skippedCount = try reader.readInt()
        guard listCount == 0 || listCount == queryCount else { throw .badPayload("documents of some queries only") }
        self.init(
            results: [],
            documents: [],
            gone: try reader.read(UInt32.self),
            rescoredNewer: try reader.read(UInt32.self),
            skipped: [],
            fetchedRows: try reader.read(UInt32.self),
            queuedMicroseconds: try reader.read(UInt32.self),
            computeMicroseconds: try reader.read(UInt32.self)
        )
        skipped = try reader.readColumn(Int64.self, count: skippedCount)
        results = try reader.readResults(queryCount)
        try reader.need(listCount, of: 4)
        for _ in 0..<listCount {
            let count = try reader.readCount(ofAtLeast: documentBytes)
            documents.append(try reader.readDocuments(count))
        }
    }
}

extension FetchCommand {
    fileprivate func encode() -> [UInt8] {
        precondition(ids.count == shards.count, "one shard for each id")
        var writer = ByteWriter(reserving: 8 + ids.count * 10)
        writer.write(count: ids.count)
        writer.write(UInt32(withPayload ? 1 : 0))
        writer.writeColumn(ids)
        writer.writeColumn(shards)
        return writer.bytes
    }

    fileprivate init(_ reader: inout ByteReader) throws(BackDecodeError) {
        let count = try reader.readInt()
        let flags = try reader.readFlags(1)
        try reader.need(count, of: 10)
        self.init(
            ids: try reader.readColumn(Int64.self, count: count),
            shards: try reader.readColumn(UInt16.self, count: count),
            withPayload: flags != 0
        )
    }
}

extension Documents {
    fileprivate func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 8 + documents.count * 64)
        writer.write(count: documents.count)
        writer.writeZeros(4)
        writer.write(documents)
        return writer.bytes
    }

    fileprivate init(_ reader: inout ByteReader) throws(BackDecodeError) {
        let count = try reader.readInt()
        try reader.readZeros(4)
        self.init(documents: try reader.readDocuments(count))
    }
}

extension EncodeCommand {
    fileprivate func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 8 + texts.reduce(0) { $0 + 4 + $1.utf8.count })
        writer.write(count: texts.count)
        writer.write(UInt8(role == .query ? 0 : 1))
        writer.write(UInt8(isUrgent ? 1 : 0))
        writer.writeZeros(2)
        writer.write(texts: texts)
        return writer.bytes
    }

    fileprivate init(_ reader: inout ByteReader) throws(BackDecodeError) {
        let count = try reader.readInt()
        let role = try reader.read(UInt8.self)
        let urgent = try reader.read(UInt8.self)
        try reader.readZeros(2)
        guard role <= 1, urgent <= 1 else { throw .badPayload("role \(role), urgency \(urgent)") }
        self.init(
            role: role == 0 ? .query : .document,
            isUrgent: urgent == 1,
            texts: try reader.readTexts(count: count)
        )
    }
}

extension Vectors {
    fileprivate func encode() -> [UInt8] {
        precondition(dimensions > 0 && values.count % dimensions == 0, "values do not fill their rows")
        var writer = ByteWriter(reserving: 16 + values.count * 4)
        writer.write(count: dimensions)
        writer.write(count: values.count / dimensions)
        writer.write(queuedMicroseconds)
        writer.write(computeMicroseconds)
        writer.writeColumn(values)
        return writer.bytes
    }

    fileprivate init(_ reader: inout ByteReader) throws(BackDecodeError) {
        let dimensions = try reader.readInt()
        let count = try reader.readInt()
        let queued = try reader.read(UInt32.self)
        let compute = try reader.read(UInt32.self)
        let (floats, overflow) = dimensions.multipliedReportingOverflow(by: count)
        guard dimensions > 0, !overflow else { throw .badPayload("\(count) vectors of \(dimensions) floats") }
        self.init(
            dimensions: dimensions,
            values: try reader.readColumn(Float.self, count: floats),
            queuedMicroseconds: queued,
            computeMicroseconds: compute
        )
    }
}

extension ClassifyCommand {
    fileprivate func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 12 + texts.reduce(0) { $0 + 4 + $1.utf8.count })
        writer.write(count: texts.count)
        writer.write(UInt8(threshold == nil ? 0 : 1))
        writer.writeZeros(3)
        writer.writeColumn([threshold ?? 0])
        writer.write(texts: texts)
        return writer.bytes
    }

    fileprivate init(_ reader: inout ByteReader) throws(BackDecodeError) {
        let count = try reader.readInt()
        let flag = try reader.read(UInt8.self)
        try reader.readZeros(3)
        let threshold = try reader.readColumn(Float.self, count: 1)[0]
        guard flag == 1 ? (0...1).contains(threshold) : flag == 0 && threshold.bitPattern == 0 else {
            throw .badPayload("flag \(flag), threshold \(threshold)")
        }
        self.init(threshold: flag == 1 ? threshold : nil, texts: try reader.readTexts(count: count))
    }
}

extension Labels {
    /// Length that stands for no label.
    private static var none: UInt32 { .max }

    fileprivate func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 16 + labels.reduce(0) { $0 + 12 + ($1.label?.utf8.count ?? 0) })
        writer.write(count: labels.count)
        writer.write(queuedMicroseconds)
        writer.write(computeMicroseconds)
        writer.writeZeros(4)
        writer.writeColumn(labels.map(\.confidence))
        writer.writeColumn(labels.map { UInt32($0.size) })
        writer.writeColumn(labels.map { $0.label.map { UInt32($0.utf8.count) } ?? Self.none })
        for label in labels { writer.writeText(label.label ?? "") }
        return writer.bytes
    }

    fileprivate init(_ reader: inout ByteReader) throws(BackDecodeError) {
        let count = try reader.readInt()
        let queued = try reader.read(UInt32.self)
        let compute = try reader.read(UInt32.self)
        try reader.readZeros(4)
        let confidences = try reader.readColumn(Float.self, count: count)
        let sizes = try reader.readColumn(UInt32.self, count: count)
        let lengths = try reader.readColumn(UInt32.self, count: count)
        self.init(labels: [], queuedMicroseconds: queued, computeMicroseconds: compute)
        labels.reserveCapacity(count)
        for index in 0..<count {
            let length = lengths[index]
            guard (0...1).contains(confidences[index]) else { throw .badPayload("confidence \(confidences[index])") }
            labels.append(
                TextLabel(
                    label: length == Self.none ? nil : try reader.readText(count: Int(length)),
                    confidence: confidences[index],
                    size: Int(sizes[index])
                )
            )
        }
    }
}

extension ByteWriter {
    /// Lengths, then bytes.
    fileprivate mutating func write(texts: [String]) {
        writeColumn(texts.map { UInt32($0.utf8.count) })
        for text in texts { writeText(text) }
    }
}

extension ByteReader {
    fileprivate mutating func readTexts(count: Int) throws(BackDecodeError) -> [String] {
        let lengths = try readColumn(UInt32.self, count: count)
        var texts: [String] = []
        texts.reserveCapacity(count)
        for length in lengths { texts.append(try readText(count: Int(length))) }
        return texts
    }
}
