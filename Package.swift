// swift-tools-version: 6.2
import Foundation
import PackageDescription

// The map of the modules and the direction of their imports is in README.md ("The map of the code").

func shared(_ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource] = []) -> Target {
    .target(name: name, dependencies: dependencies, path: "Shared/\(name)", resources: resources)
}

func service(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, path: "Services/\(name)")
}

func tests(
    _ name: String,
    _ dependencies: [Target.Dependency],
    exclude: [String] = [],
    resources: [Resource] = []
) -> Target {
    .testTarget(
        name: name,
        dependencies: dependencies,
        path: "Tests/\(name)",
        exclude: exclude,
        resources: resources
    )
}

let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let workerParts: [Target.Dependency] = [
    "Matryoshka", "ZeroMQ", "WireProtocol", "ServiceRuntime", "WorkerRuntime", "CommandHelp", arguments, logging,
]

let package = Package(
    name: "matryoshka",
    products: [
        .executable(name: "mrl-coordinator", targets: ["Coordinator"]),
        .executable(name: "mrl-encoder", targets: ["EncoderWorker"]),
        .executable(name: "mrl-shortlist", targets: ["ShortlistWorker"]),
        .executable(name: "mrl-rerank", targets: ["RerankWorker"]),
        .executable(name: "mrl", targets: ["CommandLine"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        // No pkgConfig for libzmq: its .pc carries a flag that SwiftPM refuses, and `link "zmq"` is enough.
        .systemLibrary(name: "CZeroMQ", path: "Shared/CZeroMQ", providers: [.apt(["libzmq3-dev"])]),
        .systemLibrary(
            name: "COpenBLAS",
            path: "Shared/COpenBLAS",
            pkgConfig: "openblas",
            providers: [.apt(["libopenblas-dev"])]
        ),
        .systemLibrary(
            name: "CPostgreSQL",
            path: "Shared/CPostgreSQL",
            pkgConfig: "libpq",
            providers: [.apt(["libpq-dev"])]
        ),
        .target(name: "CPlatform", path: "Shared/CPlatform"),
        // -O3 in debug builds too; every float operation as written, so that all kernel paths agree.
        .target(
            name: "CVectorKernels",
            path: "Shared/CVectorKernels",
            cSettings: [.unsafeFlags(["-O3", "-ffp-contract=off", "-fno-math-errno"])]
        ),

        shared("Matryoshka"),
        shared("VectorMath", ["Matryoshka", "CVectorKernels", "COpenBLAS", "CPlatform"]),
        shared("Shortlist", ["Matryoshka", "VectorMath"]),
        shared("Reranking", ["Matryoshka", "VectorMath"]),
        shared("Encoding", ["VectorMath", "WireProtocol"]),
        shared("Learning", ["Matryoshka", "VectorMath", "Encoding"]),
        shared("Evaluation", ["Matryoshka", "VectorMath"]),
        shared("Corpora"),
        shared("Study", ["Matryoshka", "VectorMath", "Encoding", "Learning", "Evaluation", "Corpora"]),
        shared("WireProtocol", ["Matryoshka"]),
        shared("VectorFiles", ["WireProtocol"]),
        shared("Coordination", ["Matryoshka", "WireProtocol"]),
        shared("ZeroMQ", ["CZeroMQ", "CPlatform", "ServiceRuntime", logging]),
        shared("PostgreSQL", ["CPostgreSQL", "CPlatform"]),
        shared("DocumentStore", ["Matryoshka", "PostgreSQL"], resources: [.embedInCode("Migrations")]),
        shared("ServiceRuntime", ["CPlatform", logging]),
        shared("CommandHelp", ["ServiceRuntime", arguments]),
        shared(
            "WorkerRuntime",
            [
                "Matryoshka", "ZeroMQ", "WireProtocol", "DocumentStore", "PostgreSQL", "ServiceRuntime", "CommandHelp",
                arguments, logging,
            ]
        ),
        shared("RetrievalTesting", ["Matryoshka"]),

        service(
            "Coordinator",
            [
                "Matryoshka", "ZeroMQ", "WireProtocol", "Coordination", "PostgreSQL", "DocumentStore",
                "ServiceRuntime", "CommandHelp", arguments, logging,
            ]
        ),
        service("EncoderWorker", workerParts + ["Encoding", "VectorMath"]),
        service("ShortlistWorker", workerParts + ["Shortlist", "VectorMath", "DocumentStore", "PostgreSQL"]),
        service("RerankWorker", workerParts + ["Reranking", "VectorMath", "DocumentStore", "PostgreSQL"]),
        service(
            "CommandLine",
            [
                "Matryoshka", "ZeroMQ", "WireProtocol", "ServiceRuntime", "PostgreSQL", "DocumentStore", "Encoding",
                "Learning", "Evaluation", "Corpora", "Study", "VectorFiles", "VectorMath", "CommandHelp", "CPlatform",
                arguments, logging,
            ]
        ),

        tests("MatryoshkaTests", ["Matryoshka"]),
        tests("VectorMathTests", ["VectorMath", "CPlatform", "Matryoshka", "RetrievalTesting"]),
        tests("ShortlistTests", ["Shortlist", "Reranking", "VectorMath", "Matryoshka", "RetrievalTesting"]),
        tests("RerankingTests", ["Reranking", "VectorMath", "Matryoshka", "RetrievalTesting"]),
        tests("EncodingTests", ["Encoding", "Matryoshka", "VectorMath", "WireProtocol"], resources: [.copy("Golden")]),
        tests("LearningTests", ["Learning", "Encoding", "VectorMath"]),
        tests("EvaluationTests", ["Evaluation", "Matryoshka"]),
        tests("RetrievalTestingTests", ["RetrievalTesting"]),
        tests("CorporaTests", ["Corpora"]),
        tests("StudyTests", ["Study", "Corpora", "Evaluation", "Learning", "Matryoshka", "VectorMath"]),
        tests("WireProtocolTests", ["WireProtocol", "Matryoshka"]),
        tests("VectorFilesTests", ["VectorFiles", "WireProtocol"], exclude: ["Golden"]),
        tests("CoordinationTests", ["Coordination", "WireProtocol", "Matryoshka", "RetrievalTesting"]),
        tests("ZeroMQTests", ["ZeroMQ", "ServiceRuntime", "CPlatform"]),
        tests("DocumentStoreTests", ["DocumentStore", "PostgreSQL", "Matryoshka", "RetrievalTesting"]),
        tests("ServiceRuntimeTests", ["ServiceRuntime", logging]),
        tests(
            "WorkerRuntimeTests",
            [
                "WorkerRuntime", "ServiceRuntime", "WireProtocol", "ZeroMQ", "Matryoshka", "PostgreSQL",
                "DocumentStore",
                "RetrievalTesting", logging,
            ]
        ),
        tests(
            "RerankWorkerTests",
            ["RerankWorker", "Reranking", "DocumentStore", "WireProtocol", "Matryoshka", "RetrievalTesting"]
        ),
        tests(
            "CommandHelpTests",
            [
                "Coordinator", "EncoderWorker", "ShortlistWorker", "RerankWorker", "CommandLine", "CommandHelp",
                "ServiceRuntime", arguments,
            ]
        ),
        tests(
            "CommandLineTests",
            [
                "CommandLine", "DocumentStore", "Encoding", "Evaluation", "Learning", "Matryoshka", "ServiceRuntime",
                "VectorFiles", "WireProtocol", "ZeroMQ", arguments,
            ]
        ),
        tests(
            "ClusterTests",
            [
                "Coordinator", "EncoderWorker", "ShortlistWorker", "RerankWorker", "CommandLine", "Matryoshka",
                "ZeroMQ", "WireProtocol", "PostgreSQL", "DocumentStore", "RetrievalTesting", "Encoding",
                "ServiceRuntime", "VectorFiles",
            ]
        ),
    ]
)

if ProcessInfo.processInfo.environment["MRL_BENCHMARKS"] != nil {
    package.targets += [
        .executableTarget(
            name: "engine-benchmarks",
            dependencies: ["Matryoshka", "VectorMath", "Shortlist", "Reranking", "RetrievalTesting"],
            path: "Tests/Benchmarks/Engines"
        ),
        .executableTarget(
            name: "retrieval-benchmark",
            dependencies: [
                "Matryoshka", "VectorMath", "Shortlist", "Reranking", "Encoding", "Corpora", "Evaluation",
                "VectorFiles", "RetrievalTesting", arguments,
            ],
            path: "Tests/Benchmarks/Retrieval"
        ),
        .executableTarget(
            name: "encoder-benchmark",
            dependencies: ["VectorMath", "Encoding", "COpenBLAS", arguments],
            path: "Tests/Benchmarks/Encoders",
            exclude: ["run", "torch_peer.py"]
        ),
    ]
}

// One set of rules for every Swift target. The C targets take none of them.
let cTargets: Set = ["CZeroMQ", "COpenBLAS", "CPostgreSQL", "CPlatform", "CVectorKernels"]
for target in package.targets where !cTargets.contains(target.name) {
    target.swiftSettings = [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .treatAllWarnings(as: .error),
    ]
    // The oracle passes over every row for every query, encoders over every weight and token; unoptimised they would
    // take longer than all else in the tests.
    if ["RetrievalTesting", "Encoding"].contains(target.name) { target.swiftSettings?.append(.unsafeFlags(["-O"])) }
}
