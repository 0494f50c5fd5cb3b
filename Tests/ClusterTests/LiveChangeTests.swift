import Matryoshka
import PostgreSQL
import RetrievalTesting
import Testing
import WireProtocol

extension ClusterTests {
    @Suite("A collection changes while it serves", .serialized, .timeLimit(.minutes(2)))
    struct LiveChanges {
        @Test("a new collection is searched as soon as create has answered")
        func searchedAtOnce() throws {
            let cluster = try TestCluster()
            let client = try cluster.client()
            let areThere = try poll(seconds: 15) {
                Set(try ClusterStatus(client).workers.map(\.role)).isSuperset(of: ["shortlist", "rerank"])
            }
            #expect(areThere)
            for number in 0..<3 {
                let name = "fresh-\(number)"
                _ = try client.object(.collections(.create(CreateCollection(name: name, dimensions: 64))))
                let reply = try client.search(SearchRequest(name, [[Float](repeating: 1, count: 64)]))
                #expect(reply.coverage.isComplete)
                #expect(reply.hits[0].isEmpty)
            }
        }

        @Test("create answers at once where no worker runs")
        func createdWithoutWorkers() throws {
            let cluster = try TestCluster(shortlists: 0, rerankers: 0)
            let client = try cluster.client()
            _ = try client.object(.status)
            let start = now()
            let create = CollectionsRequest.create(CreateCollection(name: "lonely", dimensions: 64))
            let reply = try client.object(.collections(create), deadline: 10_000)
            #expect(now() - start < 5)
            #expect(reply["collection"]?["shards"]?["shortlist"]?["missing"]?.int == 64)
        }

        @Test("H and precision change under load: every answer is right for the generation that it names")
        func residentWidthAndPrecision() throws {
            let cluster = try TestCluster(shortlists: 2)
            let corpus = SyntheticCorpus(rows: 1_500, dimensions: 64, seed: 71)
            let shape = try cluster.serve("live", corpus)
            let query = corpus.queries(1, seed: 72)
            let plan = [
                Stage(dimensions: 16, keep: 100), Stage(dimensions: 48, keep: 40), Stage(dimensions: 64, keep: 10),
            ]
            // What is right under each setting; generations count up from 1.
            let settings: [(width: Int, precision: Precision)] = [
                (32, .int8), (48, .int8), (48, .float32), (16, .int8),
            ]
            let truth = try cluster.truth(shape)
            let known = try settings.enumerated().map { number, setting in
                var changed = shape
                changed.residentWidth = setting.width
                changed.residentPrecision = setting.precision
                changed.generation = shape.generation + UInt32(number)
                return try truth.asking(changed).answer(to: SearchRequest("live", query, plan: plan))
            }
            let client = try cluster.client()
            var answered: [UInt32: Int] = [:]
            for (number, setting) in settings.enumerated() {
                if number > 0 {
                    _ = try client.object(
                        .collections(
                            .configure(
                                name: "live",
                                ResidencyChange(width: setting.width, precision: setting.precision)
                            )
                        )
                    )
                }
                let wanted = shape.generation + UInt32(number)
                let end = now() + 15
                var last: UInt32 = 0
                while now() < end && (last != wanted || answered[wanted, default: 0] < 20) {
                    let reply = try client.search(known[number].request, deadline: 2_000)
                    last = reply.generation
                    answered[last, default: 0] += 1
                    let right = known[Int(last - shape.generation)]
                    #expect(right.fault(in: reply) == nil, "generation \(last)")
                }
                #expect(last == wanted)
            }
            print("answers by generation: \(answered)")
            // The old generations are let go.
            let isSettled = try poll(seconds: 8) {
                try ClusterStatus(client).shortlists.map(\.rows).reduce(0, +) == corpus.count
            }
            let workers = try ClusterStatus(client).workers
            #expect(isSettled, "\(workers)")
        }

        @Test("sign bits come and go while a collection serves: plans of bits are refused by name where there are none")
        func signs() throws {
            let cluster = try TestCluster(shortlists: 2)
            let corpus = SyntheticCorpus(rows: 1_500, dimensions: 96, seed: 91)
            let shape = try cluster.serve("signs", corpus)
            let client = try cluster.client()
            var signed = shape
            signed.holdsSigns = true
            let truth = try cluster.truth(shape)
            let queries = corpus.queries(8, seed: 92)
            let plain = try queries.map { try truth.answer(to: SearchRequest("signs", [$0])) }
            let bits = [
                Stage(dimensions: 96, keep: 300, precision: .bit), Stage(dimensions: 96, keep: 10, precision: .float32),
            ]
            let known = try truth.asking(signed).answer(to: SearchRequest("signs", queries, plan: bits))
            let load = SearchLoad(cluster.front(), plain, perSecond: 100)
            for (number, isHeld) in [false, true, false, true].enumerated() {
                if number > 0 {
                    let change = ResidencyChange(holdsSigns: isHeld)
                    _ = try client.object(.collections(.configure(name: "signs", change)))
                }
                let wanted = shape.generation + UInt32(number)
                let isSwitched = try poll(seconds: 20) {
                    try client.search(plain[0].request).generation == wanted
                }
                #expect(isSwitched, "generation \(wanted)")
                if isHeld {
                    let reply = try client.search(known.request)
                    #expect(known.fault(in: reply) == nil, "generation \(wanted)")
                } else {
                    let refusal = try client.refusal(.search(known.request))
                    #expect(refusal?.code == .unsupported && refusal?.field == "plan[0].precision")
                }
            }
            let result = load.stop(after: 50)
            #expect(result.faults.isEmpty, "\(result.faults.prefix(3))")
            #expect(result.answered == result.sent && result.answered > 50)
            // A graph has no use for them.
            let graph = ResidencyChange(index: .hnsw)
            let refusal = try client.refusal(.collections(.configure(name: "signs", graph)))
            #expect(refusal?.code == .unsupported && refusal?.field == "index")
            let wide = CreateCollection(
                name: "wide",
                dimensions: 4_096,
                storedHeadWidth: 4_096,
                residency: ResidencyChange(holdsSigns: true)
            )
            let tooWide = try client.refusal(.collections(.create(wide)))
            #expect(tooWide?.code == .unsupported && tooWide?.field == "resident_signs")
        }

        @Test("an alias switches at once, and a dropped collection is gone from workers and tables")
        func aliasAndDrop() throws {
            let cluster = try TestCluster(shortlists: 2)
            var shapes: [CollectionShape] = []
            let corpora = [81, 82].map { SyntheticCorpus(rows: 300, dimensions: 64, seed: $0) }
            for (number, corpus) in corpora.enumerated() {
                shapes.append(
                    try cluster.fill(
                        CreateCollection(
                            name: "build-\(number)",
                            dimensions: 64,
                            smallestDimensions: 8,
                            residency: ResidencyChange(width: 32)
                        ),
                        corpus
                    )
                )
            }
            for shape in shapes { try cluster.waitUntilServing(shape, rows: 300) }
            let client = try cluster.client()
            let query = corpora[0].queries(1, seed: 1)
            let known = try shapes.map { try cluster.truth($0).answer(to: SearchRequest("current", query)) }
            for target in [0, 1, 0, 1] {
                _ = try client.object(.collections(.alias(name: "current", collection: "build-\(target)")))
                let reply = try client.search(known[target].request)
                #expect(reply.collection == "build-\(target)")
                #expect(known[target].fault(in: reply) == nil)
            }
            _ = try client.object(.collections(.drop(name: "build-0")))
            #expect(try client.refusal(.search(SearchRequest("build-0", query)))?.code == .unknownCollection)
            #expect(known[1].fault(in: try client.search(known[1].request)) == nil)
            let isGone = try poll(seconds: 8) {
                try ClusterStatus(client).shortlists.map(\.rows).reduce(0, +) == 300
            }
            let workers = try ClusterStatus(client).workers
            #expect(isGone, "\(workers)")
            let tables = try cluster.database.connection().execute(
                "SELECT to_regclass('matryoshka.heads_\(shapes[0].collection)') IS NULL"
            )
            #expect(tables.bool(0, 0))
            // The name is free again, for a collection of another size.
            let corpus = SyntheticCorpus(rows: 200, dimensions: 128, seed: 83)
            let again = try cluster.fill(
                CreateCollection(name: "build-0", dimensions: 128, smallestDimensions: 16, similarity: .dot),
                corpus
            )
            try cluster.waitUntilServing(again, rows: 200)
            let fresh = try cluster.truth(again).answer(to: SearchRequest("build-0", corpus.queries(2, seed: 3)))
            #expect(fresh.fault(in: try client.search(fresh.request)) == nil)
        }

        @Test("a text upsert is encoded, found by text, and bound to the encoder's model")
        func texts() throws {
            let cluster = try TestCluster(shortlists: 1, encoders: 1)
            let client = try cluster.client()
            try cluster.waitUntilEncoders()
            _ = try client.object(
                .collections(.create(CreateCollection(name: "texts", residency: ResidencyChange(width: 32))))
            )
            let texts = ["play chess", "text editor", "music player", "network server", "image editor"]
            let documents = texts.enumerated().map {
                UpsertDocument(id: "t\($0)", text: $1, payload: nil, vectorIndex: nil)
            }
            let start = now()
            var reply = try client.write(
                .upsert(UpsertRequest(collection: "texts", documents: documents, wait: .searchable))
            )
            // The first shards may still be on their way.
            if reply.state != "searchable" {
                pause(1)
                reply = try client.write(
                    .upsert(UpsertRequest(collection: "texts", documents: documents, wait: .searchable))
                )
            }
            #expect(reply.state == "searchable" && reply.applied == 5)
            for (number, text) in texts.enumerated() {
                let found = try client.search(SearchRequest(collection: "texts", query: .texts([text]), k: 3))
                #expect(found.hits.first?.first?.id == "t\(number)")
                #expect(found.hits.first?.first.map { abs($0.score - 1) < 1e-5 } == true)
                #expect(found.timings.encode != nil)
            }
            print("texts searchable and found after \(now() - start) s")
        }
    }
}
