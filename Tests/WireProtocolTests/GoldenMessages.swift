import Matryoshka
import WireProtocol

/// The fixed values behind proto-docs/golden: at least one message of every type.
enum GoldenMessages {
    static let shape = CollectionShape(
        collection: 7,
        name: "packages",
        model: "a1b2c3",
        dimensions: 8,
        smallestDimensions: 2,
        isMatryoshka: true,
        similarity: .cosine,
        storedHeadWidth: 4,
        residentWidth: 2,
        residentPrecision: .int8,
        generation: 3
    )
    static let plan = ResolvedPlan(
        steps: [
            .init(dimensions: 2, keep: 3, precision: .int8), .init(dimensions: 8, keep: 2, precision: .float32),
        ],
        residentCount: 1
    )
    static let query: [Float] = [0.5, -0.25, 0.125, 1, -1, 0.75, 0.1, 3]
    static let candidates = CandidateColumns(
        ids: [11, 7, 90],
        versions: [1, 4, 1],
        shards: [0, 63, 5],
        scores: [[0.9, 0.5, -0.25]]
    )
    static let final = CandidateColumns(
        ids: [7, 11],
        versions: [4, 1],
        shards: [63, 0],
        scores: [[0.5, 0.9], [0.75, 0.625]]
    )
    static let labels = [
        TextLabel(label: "games", confidence: 0.875, size: 2), TextLabel(label: "zürich-€", confidence: 0.5, size: 8),
        TextLabel(label: nil, confidence: 0, size: 2),
    ]
    static let documents = [
        FetchedDocument(id: 7, externalID: "gnuchess", payload: #"{"section": "games"}"#),
        FetchedDocument(id: 11, externalID: "zürich-€", payload: nil),
    ]
    static let report = ShardReport(
        collection: 7,
        generation: 3,
        shard: 63,
        state: .catchingUp,
        rows: 990,
        bytes: 79_200,
        applied: "744:750:744,748"
    )

    static let back: [(name: String, message: BackMessage)] = [
        (
            "register-shortlist",
            BackMessage(
                .register(
                    Register(
                        role: .shortlist,
                        host: "search-1",
                        pid: 4_242,
                        process: ProcessToken(high: 0x0123_4567_89ab_cdef, low: 0x42),
                        build: "1.0.0",
                        capacityBytes: 2_147_483_648,
                        credit: 256,
                        shards: [report]
                    )
                )
            )
        ),
        (
            "register-encoder",
            BackMessage(
                .register(
                    Register(
                        role: .encoder,
                        host: "search-1",
                        pid: 4_243,
                        process: ProcessToken(high: 0xfedc_ba98_7654_3210, low: .max),
                        build: "1.0.0",
                        capacityBytes: 0,
                        credit: 64,
                        model: ModelReport(
                            id: "a1b2c3",
                            name: "packages-8",
                            dimensions: 8,
                            smallestDimensions: 2,
                            nesting: [2, 4, 8]
                        )
                    )
                )
            )
        ),
        (
            "register-classifier",
            BackMessage(
                .register(
                    Register(
                        role: .encoder,
                        host: "search-1",
                        pid: 4_244,
                        process: ProcessToken(high: 1, low: 2),
                        build: "1.0.0",
                        capacityBytes: 0,
                        credit: 64,
                        model: ModelReport(
                            id: "a1b2c3",
                            name: "packages-8",
                            dimensions: 8,
                            smallestDimensions: 2,
                            nesting: [2, 4, 8]
                        ),
                        classifier: ClassifierReport(id: "d4e5f6", sizes: [2, 8], labels: 42)
                    )
                )
            )
        ),
        (
            "registered",
            BackMessage(
                .registered(
                    Registered(
                        incarnation: 17,
                        heartbeatMilliseconds: 500,
                        leaseMilliseconds: 3_000,
                        coordinator: "coordinator-1"
                    )
                ),
                header(incarnation: 17)
            )
        ),
        (
            "reject",
            BackMessage(.reject(Reject(code: "FENCED", message: "a worker with a higher incarnation has come")))
        ),
        ("who-are-you", BackMessage(.whoAreYou)),
        (
            "heartbeat",
            BackMessage(
                .heartbeat(
                    Heartbeat(
                        inFlight: 2,
                        progressAgeMilliseconds: 3,
                        shards: [report],
                        residentBytes: 79_200,
                        answered: 12_345,
                        draining: false,
                        databaseReachable: true
                    )
                ),
                header(incarnation: 17)
            )
        ),
        ("heartbeat-reply", BackMessage(.heartbeatReply, header(incarnation: 17))),
        (
            "map",
            BackMessage(
                .map(
                    ShardAssignments(
                        epoch: 9,
                        collections: [.init(shape: WireShape(shape), shards: [0, 5, 63])]
                    )
                ),
                header(incarnation: 17)
            )
        ),
        ("drain", BackMessage(.drain, header(incarnation: 17))),
        ("drained", BackMessage(.drained, header(incarnation: 17))),
        (
            "train",
            BackMessage(.train(TrainCommand(subject: .centroids, shape: WireShape(shape))), header(request: 9))
        ),
        (
            "trained",
            BackMessage(.trained(Trained(artefact: 4, rows: 65_536, milliseconds: 1_250)), header(request: 9))
        ),
        (
            "search",
            BackMessage(
                .search(
                    SearchCommand(
                        steps: [plan.steps[0]],
                        shards: [0, 5, 63],
                        queryCount: 2,
                        width: 4,
                        queries: query,
                        effort: SearchEffort(probes: 8, ef: 200)
                    )
                ),
                header(request: 1)
            )
        ),
        (
            "hits",
            BackMessage(
                .hits(
                    Hits(
                        shards: [
                            ShardAnswer(shard: 0, status: .searched, rows: 1_000, appliedXmax: 750),
                            ShardAnswer(shard: 5, status: .searched, rows: 990, appliedXmax: 750),
                            ShardAnswer(shard: 63, status: .notHere, rows: 0, appliedXmax: 0),
                        ],
                        results: [candidates, CandidateColumns(scores: [[]])],
                        queuedMicroseconds: 12,
                        computeMicroseconds: 345
                    )
                ),
                header(request: 1)
            )
        ),
        (
            "rerank",
            BackMessage(
                .rerank(
                    RerankCommand(
                        plan: plan,
                        firstStep: 1,
                        isWhole: true,
                        withPayload: true,
                        queryCount: 1,
                        width: 8,
                        queries: query,
                        candidates: [candidates]
                    )
                ),
                header(request: 2)
            )
        ),
        (
            "scores",
            BackMessage(
                .scores(
                    Scores(
                        results: [final],
                        documents: [documents],
                        gone: 1,
                        rescoredNewer: 2,
                        skipped: [90],
                        fetchedRows: 3,
                        queuedMicroseconds: 4,
                        computeMicroseconds: 56
                    )
                ),
                header(request: 2)
            )
        ),
        (
            "fetch",
            BackMessage(
                .fetch(FetchCommand(ids: [7, 11], shards: [63, 0], withPayload: true)),
                header(request: 3)
            )
        ),
        ("documents", BackMessage(.documents(Documents(documents: documents)), header(request: 3))),
        (
            "encode",
            BackMessage(
                .encode(EncodeCommand(role: .query, isUrgent: true, texts: ["play chess", "Schach für Zwei"])),
                header(request: 4)
            )
        ),
        (
            "vectors",
            BackMessage(
                .vectors(
                    Vectors(dimensions: 4, values: query, queuedMicroseconds: 1, computeMicroseconds: 20)
                ),
                header(request: 4)
            )
        ),
        (
            "classify",
            BackMessage(
                .classify(ClassifyCommand(threshold: nil, texts: ["play chess", "Schach für Zwei"])),
                header(request: 5)
            )
        ),
        (
            "classify-threshold",
            BackMessage(.classify(ClassifyCommand(threshold: 0.75, texts: ["play chess"])), header(request: 6))
        ),
        (
            "labels",
            BackMessage(
                .labels(Labels(labels: labels, queuedMicroseconds: 1, computeMicroseconds: 20)),
                header(request: 5)
            )
        ),
        ("cancel", BackMessage(.cancel, header(request: 4))),
        (
            "failed",
            BackMessage(
                .failed(Failed(code: "UNSUPPORTED", message: "filters are not served")),
                header(request: 4)
            )
        ),
    ]

    private static func header(request: UInt64 = 0, incarnation: UInt64 = 0) -> BackHeader {
        BackHeader(
            type: .cancel,
            request: request,
            incarnation: incarnation,
            epoch: 9,
            deadlineMicroseconds: request == 0 ? 0 : 950_000,
            traceHigh: request == 0 ? 0 : traceHigh,
            traceLow: request == 0 ? 0 : traceLow,
            collection: request == 0 ? 0 : 7,
            generation: request == 0 ? 0 : 3
        )
    }

    static let traceHigh: UInt64 = 0x4BF9_2F35_77B3_4DA6
    static let traceLow: UInt64 = 0xA3CE_929D_0E0E_4736

    private static func request(
        _ id: String,
        _ body: FrontRequestBody,
        deadline: Int = 1_000,
        client: String = ""
    ) -> FrontRequest {
        FrontRequest(
            id: id,
            deadlineMilliseconds: deadline,
            traceHigh: traceHigh,
            traceLow: traceLow,
            client: client,
            body: body
        )
    }

    static let requests: [(name: String, message: FrontRequest)] = [
        ("hello", FrontRequest(id: "", deadlineMilliseconds: 1_000, body: .hello)),
        (
            "search-text",
            request("1", .search(SearchRequest(collection: "packages", query: .texts(["play chess"]))))
        ),
        (
            "search-texts",
            request(
                "2",
                .search(
                    SearchRequest(
                        collection: "packages",
                        query: .texts(["play chess", "Schach für Zwei"]),
                        k: 5,
                        minCoverage: 0.5
                    )
                )
            )
        ),
        (
            "search-exact",
            request(
                "17",
                .search(
                    SearchRequest(
                        collection: "packages",
                        query: .vectors(values: query, count: 1, width: 8),
                        isExact: true
                    )
                )
            )
        ),
        (
            "search-vectors",
            request(
                "3",
                .search(
                    SearchRequest(
                        collection: "packages",
                        query: .vectors(values: query, count: 1, width: 8),
                        plan: Plan(stages: [
                            Stage(dimensions: 2, keep: 3), Stage(dimensions: 8, keep: 2, precision: .float32),
                        ]),
                        k: 2,
                        withPayload: true,
                        explain: true,
                        columns: true,
                        model: "a1b2c3"
                    )
                ),
                deadline: 250
            )
        ),
        ("cancel", request("4", .cancel(target: "3"))),
        (
            "encode",
            request(
                "5",
                .encode(EncodeRequest(collection: "packages", role: .document, texts: ["a chess engine"])),
                deadline: 10_000
            )
        ),
        (
            "classify",
            request(
                "12",
                .classify(
                    ClassifyRequest(classifier: "d4e5f6", threshold: 0.75, texts: ["play chess", "Schach für Zwei"])
                )
            )
        ),
        (
            "upsert",
            request(
                "6",
                .upsert(
                    UpsertRequest(
                        collection: "packages",
                        documents: [
                            UpsertDocument(
                                id: "gnuchess",
                                text: "a \"chess\"\nengine",
                                payload: #"{"section": "games", "big": 12345678901234567890123}"#,
                                vectorIndex: nil
                            )
                        ],
                        wait: .searchable,
                        onError: .skip,
                        idempotencyKey: "import-1"
                    )
                ),
                deadline: 10_000
            )
        ),
        (
            "upsert-vectors",
            request(
                "7",
                .upsert(
                    UpsertRequest(
                        collection: "packages",
                        documents: [
                            UpsertDocument(id: "a", text: nil, payload: nil, vectorIndex: 0),
                            UpsertDocument(id: "b", text: "b", payload: nil, vectorIndex: 1, index: 1),
                        ],
                        vectors: query,
                        width: 4,
                        model: "a1b2c3"
                    )
                ),
                deadline: 10_000
            )
        ),
        (
            "delete",
            request(
                "8",
                .delete(DeleteRequest(collection: "packages", ids: ["a", "zürich-€"], idempotencyKey: "delete-1")),
                deadline: 10_000,
                client: "loader-1"
            )
        ),
        (
            "get",
            request("9", .get(GetRequest(collection: "packages", ids: ["a", "b"], withVector: true)), deadline: 10_000)
        ),
        ("collections-list", request("10", .collections(.list), deadline: 10_000)),
        (
            "collections-create",
            request(
                "11",
                .collections(
                    .create(
                        CreateCollection(
                            name: "packages",
                            dimensions: 256,
                            smallestDimensions: 8,
                            isMatryoshka: true,
                            similarity: .dot,
                            model: "a1b2c3",
                            storedHeadWidth: 128,
                            residency: ResidencyChange(width: 64, precision: .float32)
                        )
                    )
                ),
                deadline: 10_000
            )
        ),
        ("collections-drop", request("12", .collections(.drop(name: "packages")), deadline: 10_000)),
        (
            "collections-alias",
            request("13", .collections(.alias(name: "current", collection: "packages")), deadline: 10_000)
        ),
        (
            "collections-unalias",
            request("14", .collections(.alias(name: "current", collection: nil)), deadline: 10_000)
        ),
        (
            "collections-configure",
            request(
                "15",
                .collections(.configure(name: "packages", ResidencyChange(width: 32, precision: .int8))),
                deadline: 10_000
            )
        ),
        ("status", request("16", .status)),
    ]

    static let partial = Coverage(
        shardsTotal: 64,
        shardsOK: 61,
        missing: [(3, .timedOut), (17, .noCapacity), (40, .unavailable)],
        rowsSearched: 60_031,
        rowsTotal: 63_000
    )

    static var searchReply: SearchReply {
        var timings = SearchTimings()
        timings.totalMicroseconds = 1_234
        timings.queueMicroseconds = 5
        timings.encode = .init(totalMicroseconds: 210, queueMicroseconds: 20, computeMicroseconds: 100)
        timings.shortlist = .init(totalMicroseconds: 480, queueMicroseconds: 10, computeMicroseconds: 390)
        timings.rerank = .init(totalMicroseconds: 300, queueMicroseconds: 0, computeMicroseconds: 220)
        timings.mergeMicroseconds = 14
        return SearchReply(
            hits: [
                [
                    Hit(id: "gnuchess", score: 0.75, scores: [0.5, 0.75], payload: #"{"section":"games"}"#),
                    Hit(id: "zürich-€", score: 0.1, scores: [0.9, 0.1]),
                ], [],
            ],
            plan: plan,
            coverage: Coverage(shardsTotal: 64, shardsOK: 64, missing: [], rowsSearched: 63_000, rowsTotal: 63_000),
            degraded: [],
            collection: "packages",
            generation: 3,
            rescoredNewer: 1,
            gone: 0,
            timings: timings,
            columns: true,
            traceHigh: traceHigh,
            traceLow: traceLow
        )
    }

    static var partialReply: SearchReply {
        var reply = searchReply
        reply.hits = [[Hit(id: "gnuchess", score: 0.75)]]
        reply.coverage = partial
        reply.degraded = ["timeout", "rerank_skipped"]
        reply.columns = false
        reply.timings = SearchTimings()
        return reply
    }

    static let replies: [(name: String, message: FrontReply)] =
        [
            (
                "welcome",
                FrontReply(
                    id: "",
                    body: .object(
                        type: FrontReplyType.welcome.rawValue,
                        json: .object([
                            .init("server", .string("matryoshka")), .init("version", .string("1.0.0")),
                            .init("protocol", .array([.string("MRL1")])),
                            .init("coordinator", .string("coordinator-1")),
                            .init("limits", FrontLimits.json), .init("collections", .array([])),
                        ])
                    )
                )
            ),
            ("hits", FrontReply(id: "3", body: .search(searchReply))),
            ("hits-partial", FrontReply(id: "2", body: .search(partialReply))),
            (
                "cancelled",
                FrontReply(id: "4", body: .object(type: "cancelled", json: .object([.init("found", .bool(true))])))
            ),
            ("vectors", FrontReply(id: "5", body: .vectors(dimensions: 8, values: query, model: "a1b2c3"))),
            (
                "labels",
                FrontReply(
                    id: "12",
                    body: .labels(LabelsReply(labels: labels, classifier: "d4e5f6", model: "a1b2c3"))
                )
            ),
            (
                "written",
                FrontReply(
                    id: "7",
                    body: .write(WriteReply(applied: 2, failures: [], state: "durable", token: 750, replayed: false))
                )
            ),
            (
                "written-failures",
                FrontReply(
                    id: "6",
                    body: .write(
                        WriteReply(
                            applied: 1,
                            failures: [
                                RowFailure(
                                    index: 17,
                                    error: FrontError(
                                        .zeroVector,
                                        field: "documents[17].vector",
                                        "all elements are 0",
                                        allowed: "vectors with a norm"
                                    )
                                )
                            ],
                            state: "durable, not searchable",
                            token: .max,
                            replayed: true
                        )
                    )
                )
            ),
            (
                "documents",
                FrontReply(
                    id: "9",
                    body: .documents(
                        [
                            StoredDocument(id: "a", text: "a text", payload: #"{"n":1.5}"#, version: 4),
                            StoredDocument(id: "zürich-€", text: nil, payload: nil, version: 1),
                        ],
                        missing: ["b"],
                        dimensions: 4,
                        vectors: query
                    )
                )
            ),
            (
                "collections",
                FrontReply(
                    id: "10",
                    body: .object(
                        type: "collections",
                        json: .object([
                            .init("collections", .array([]))
                        ])
                    )
                )
            ),
            (
                "status",
                FrontReply(
                    id: "16",
                    body: .object(
                        type: "status",
                        json: .object([
                            .init("coordinator", .object([.init("name", .string("coordinator-1"))])),
                            .init("workers", .array([])), .init("collections", .array([])),
                        ])
                    )
                )
            ),
        ]
        + FrontErrorCode.allCases.map { code in
            (
                "error-" + code.rawValue.lowercased().replacing("_", with: "-"),
                FrontReply(
                    id: "17",
                    body: .error(
                        FrontError(
                            code,
                            field: code == .badPlan ? "plan[1].keep" : nil,
                            "an example",
                            allowed: code == .badPlan ? "1 to 3" : nil,
                            retryAfterMilliseconds: code == .overloaded ? 50 : nil,
                            coverage: code == .unavailable ? partial : nil
                        )
                    )
                )
            )
        }
}

extension String {
    /// `replacingOccurrences` without Foundation.
    fileprivate func replacing(_ old: Character, with new: Character) -> String {
        String(map { $0 == old ? new : $0 })
    }
}
