extension Settings {
    /// Variables that begin with `MRL_` and are no settings.
    private static let others = ["MRL_CONFIG", "MRL_HOME", "MRL_KERNELS"]
    /// Of this project's own tests and benchmarks.
    private static let ofTests = [
        "MRL_BENCHMARK", "MRL_BENCHMARKS", "MRL_BENCHMARK_FOLDER", "MRL_GOLDEN_MINILM", "MRL_RECORD_GOLDEN",
        "MRL_SANITIZE_FILTER", "MRL_TEST_EXECUTABLES",
    ]

    /// A sentence for each variable that looks like a setting and is none, by name: a misspelt one has no effect.
    public static func unknownVariables(in environment: [String: String] = ServiceProcess.environment) -> [String] {
        let known = Setting.all.flatMap(\.environment).filter { $0.hasPrefix("MRL_") } + others
        return environment.keys.sorted().compactMap { name in
            guard name.hasPrefix("MRL_"), !known.contains(name), !ofTests.contains(name), !isOfKubernetes(name) else {
                return nil
            }
            let nearest = known.map { (name: $0, edits: editDistance($0, name)) }.min { $0.edits < $1.edits }
            // Farther off, it is another word.
            let proposal = nearest.flatMap { $0.edits * 3 <= name.count ? "is \($0.name) meant?" : nil }
            return "the environment variable \(name) is no setting and has no effect: "
                + (proposal ?? "`mrl settings` lists those that there are")
        }
    }

    /// Kubernetes tells every container of its services: a service `mrl-front` gives MRL_FRONT_SERVICE_HOST,
    /// MRL_FRONT_SERVICE_PORT, MRL_FRONT_SERVICE_PORT_HTTP, MRL_FRONT_PORT, MRL_FRONT_PORT_7701_TCP_ADDR and the like.
    private static func isOfKubernetes(_ name: String) -> Bool {
        if ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].contains(where: name.hasSuffix) { return true }
        if name.contains("_SERVICE_PORT_") { return true }
        let words = name.split(separator: "_", omittingEmptySubsequences: false)
        return words.indices.contains { place in
            place + 2 < words.count && words[place] == "PORT" && Int(words[place + 1]) != nil
                && ["TCP", "UDP", "SCTP"].contains(words[place + 2])
        }
    }
}

/// Letters to insert, delete or replace to make one of the other (Levenshtein).
private func editDistance(_ left: String, _ right: String) -> Int {
    let left = Array(left.utf8)
    let right = Array(right.utf8)
    var row = Array(0...right.count)
    for (i, a) in left.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, b) in right.enumerated() {
            let above = row[j + 1]
            row[j + 1] = a == b ? diagonal : 1 + min(diagonal, above, row[j])
            diagonal = above
        }
    }
    return row[right.count]
}
