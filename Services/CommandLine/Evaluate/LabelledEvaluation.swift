import Encoding
import Evaluation
import Learning
import Matryoshka
import ServiceRuntime
import VectorMath

/// Measures labelled vectors.
struct LabelledEvaluation {
    /// Vectors of the three parts; thresholds are learnt on `validation`, `test` is reported on.
    struct Parts {
        var training: Labelled<Matrix>
        var validation: Labelled<Matrix>
        var test: Labelled<Matrix>

        /// The same examples, seen through something.
        func mapped(_ map: (Matrix) -> Matrix) -> Parts {
            func mapped(_ part: Labelled<Matrix>) -> Labelled<Matrix> { Labelled(map(part.input), labels: part.labels) }
            return Parts(training: mapped(training), validation: mapped(validation), test: mapped(test))
        }
    }

    /// Ways to teach an adapter whose vectors' prefixes are the sizes.
    static let methods = TrainingMethod.ofClassifiers.filter { ![.fixed, .slimmable].contains($0) }
    static let shotCounts = [1, 3, 5, 7, 9]

    let parts: Parts
    let labels: [String]
    /// Group of each label, from 0; nil where it is in none; empty where there are no groups.
    let groups: [Int?]
    let sizes: EvaluatedSizes
    /// Nil: vectors are measured as they are.
    let method: TrainingMethod?
    let seeds: Int
    let options: EvaluationOptions

    /// What is measured once for each seed.
    private struct Run {
        var retrieval: [Retrieval]
        /// By size of `sizes.all`.
        var probe: [Double]
        var shots: [[Double]]
        var cascades: [CascadeOutcome]
        var oracle: OracleRouting
        var disagreement: SizeDisagreement
        var trends: ClassTrends
        var groups: SuperclassAccuracy?
    }

    /// Neighbours of the test examples among those of the training part, at one size.
    private struct Retrieval {
        var nearest: Double
        var vote: Double
        var measures: RankingMeasures
        var neighbourRecall: Double
    }

    private var k: Int { min(options.k, parts.training.labels.count) }

    /// Measures everything.
    ///
    /// - Parameters:
    ///   - folder: For the report.
    ///   - model: For the report.
    ///   - part: What is reported on, for the report.
    /// - Returns: The report.
    /// - Throws: ``StartupFailure`` where a training diverges.
    func report(folder: String, model: String, part: String) throws -> LabelledReport {
        BLAS.useOneThread()
        var runs: [Run] = []
        var first: Parts?
        for seed in 1...UInt64(seeds) {
            let seen = try adapted(seed: seed)
            // Vectors that nothing is taught have the same neighbours with every seed.
            let known = method == nil ? runs.first : nil
            runs.append(try measured(seen, seed: seed, known: known))
            if first == nil { first = seen }
        }
        guard let first else { preconditionFailure("a seed or more") }
        let main = sizes.main
        func figure(_ value: (Run) -> Double) -> Figure { Figure(runs.map(value)) }
        let retrievals = method == nil ? Array(runs.prefix(1)) : runs
        return LabelledReport(
            folder: folder,
            model: model,
            method: method?.rawValue,
            training: parts.training.labels.count,
            heldOut: parts.validation.labels.count,
            test: parts.test.labels.count,
            part: part,
            labels: labels,
            seeds: seeds,
            k: k,
            mainSizes: main,
            sizes: sizes.all.enumerated().map { place, size in
                func figure(_ value: (Retrieval) -> Double) -> Figure {
                    Figure(retrievals.map { value($0.retrieval[place]) })
                }
                func averagePrecision(_ division: RankedRelevance.Division) -> Figure {
                    figure { $0.measures.averagePrecision[division] ?? 0 }
                }
                return LabelledReport.Size(
                    size: size,
                    isTrained: isTrained(size),
                    probe: Figure(runs.map { $0.probe[place] }),
                    nearest: figure(\.nearest),
                    vote: figure(\.vote),
                    averagePrecisionByK: averagePrecision(.depth),
                    averagePrecisionByRelevant: averagePrecision(.relevant),
                    averagePrecisionByFound: averagePrecision(.found),
                    precision: figure(\.measures.precision),
                    recall: figure(\.measures.recall),
                    normalisedGain: figure(\.measures.normalisedGain),
                    reciprocalRank: figure(\.measures.reciprocalRank),
                    neighbourRecall: figure(\.neighbourRecall)
                )
            },
            shots: main.indices.flatMap { place in
                Self.shotCounts.enumerated().map { count, shots in
                    LabelledReport.Shots(size: main[place], shots: shots, accuracy: figure { $0.shots[place][count] })
                }
            },
            cascades: main.count == 1
                ? []
                : ["greedy", "global"].enumerated().map { place, rule in
                    LabelledReport.Cascade(
                        rule: rule,
                        accuracy: figure { $0.cascades[place].accuracy },
                        finalDimensions: figure { $0.cascades[place].finalDimensions },
                        cumulativeDimensions: figure { $0.cascades[place].cumulativeDimensions }
                    )
                },
            oracle: LabelledReport.Oracle(
                accuracy: figure(\.oracle.accuracy),
                gain: figure(\.oracle.gain),
                dimensions: figure(\.oracle.dimensions),
                majority: figure(\.oracle.majorityAccuracy),
                firstRight: main.indices.map { place in figure { $0.oracle.firstRight[place] } }
            ),
            disagreement: LabelledReport.Disagreement(
                shares: main.indices.map { a in main.indices.map { b in figure { $0.disagreement.shares[a][b] } } },
                mended: main.indices.dropLast().map { place in figure { $0.disagreement.mended[place] } },
                spoilt: main.indices.dropLast().map { place in figure { $0.disagreement.spoilt[place] } }
            ),
            trends: Dictionary(
                uniqueKeysWithValues: ClassTrends.Trend.allCases.map { trend in
                    (trend.rawValue, figure { Double($0.trends.counts[trend] ?? 0) }.mean)
                }
            ),
            labelAccuracies: Dictionary(
                uniqueKeysWithValues: labels.enumerated().map { label, name in
                    let curves = runs.map { $0.trends.accuracies[label] }.filter { !$0.isEmpty }
                    let mean = curves.isEmpty ? [] : main.indices.map { place in Figure(curves.map { $0[place] }).mean }
                    return (name, mean)
                }
            ),
            groups: groups.isEmpty
                ? []
                : main.enumerated().map { place, size in
                    LabelledReport.Group(
                        size: size,
                        grouped: figure { $0.groups?.grouped[place] ?? 0 },
                        withReject: groups.contains(nil) ? figure { $0.groups?.withReject[place] ?? 0 } : nil
                    )
                },
            groupCount: Set(groups.compactMap { $0 }).count,
            plans: plans(first)
        )
    }

    private func isTrained(_ size: Int) -> Bool {
        switch method {
        case nil: sizes.trained.contains(size)
        case .matryoshka?, .shared?, .sequential?, .layered?: sizes.main.contains(size)
        default: size == sizes.dimensions
        }
    }

    /// The vectors of an adapter taught with a seed, not normalised.
    private func adapted(seed: UInt64) throws -> Parts {
        guard let method else { return parts }
        guard let nesting = Nesting(sizes: sizes.main) else { preconditionFailure("sizes ascend") }
        var settings = ClassifierSettings(nesting: nesting)
        settings.run.seed = seed
        let watch = try watch(method.runs(sizes: nesting.sizes, probes: true), "adapter", seed: seed)
        let trained = try watch.training { () throws(CheckpointError) in
            try method.classifiers(
                settings,
                parts.training,
                validation: parts.validation,
                labels: labels,
                rigid: nil,
                monitor: watch.monitor
            )
        }
        try TrainingWatch.check(trained.histories)
        let classifier = trained.classifier(at: sizes.dimensions)
        return parts.mapped { matrix in
            Matrix(values: classifier.features(of: matrix.values), columns: classifier.heads.dimensions)
        }
    }

    private func watch(_ runs: [String], _ task: String, seed: UInt64) throws -> TrainingWatch {
        try TrainingWatch(runs, nil, title: "\(task), seed \(seed) of \(seeds)")
    }

    private func measured(_ seen: Parts, seed: UInt64, known: Run?) throws -> Run {
        guard let nesting = Nesting(sizes: sizes.all) else { preconditionFailure("sizes ascend") }
        var settings = ClassifierSettings(nesting: nesting).probe(of: sizes.all)
        settings.run.seed = seed
        // At an adapter's own rate, heads of few dimensions are not done when the epochs are.
        settings.run.rate.peak = 0.01
        let watch = try watch(["heads"], "linear probe", seed: seed)
        let trained = try watch.training { () throws(CheckpointError) in
            try ClassifierTrainer(settings).train(
                seen.training,
                validation: seen.validation,
                labels: labels,
                monitor: watch.monitor(0)
            )
        }
        try TrainingWatch.check([trained.history])
        let all = SizePredictions(trained.classifier, sizes.all, seen.test)
        let reported = SizePredictions(trained.classifier, sizes.main, seen.test)
        let held = SizePredictions(trained.classifier, sizes.main, seen.validation)
        var generator = SeededGenerator(seed: seed)
        return Run(
            retrieval: known?.retrieval ?? retrieval(seen),
            probe: sizes.all.indices.map { all.accuracy($0) },
            shots: shots(seen, &generator),
            cascades: sizes.main.count == 1
                ? []
                : [CascadeCalibration.greedy(on: held), CascadeCalibration.global(on: held)].map {
                    $0.outcome(on: reported)
                },
            oracle: OracleRouting(reported),
            disagreement: SizeDisagreement(reported),
            trends: ClassTrends(reported, classes: labels.count),
            groups: groups.isEmpty ? nil : SuperclassAccuracy(reported, groups: groups)
        )
    }

    private func retrieval(_ seen: Parts) -> [Retrieval] {
        let collection = DenseCollection(vectors: seen.training.input.values, dimensions: seen.training.input.columns)
        let truth = seen.test.labels.map(Int.init)
        let classes = seen.training.labels.map(Int.init)
        var line = ProgressLine("finding neighbours", total: sizes.all.count, at: now())
        let found = sizes.all.enumerated().map { place, size in
            let rows = collection.nearest(queries: seen.test.input.values, size: size, keep: k).map { $0.map(\.item) }
            line.update(place + 1, at: now())
            return rows
        }
        line.finish(sizes.all.count, at: now())
        let relevant = relevantGrades(classes)
        return found.map { rows in
            let neighbours = rows.map { $0.map { classes[$0] } }
            return Retrieval(
                nearest: NeighbourVote.accuracy(neighbours, truth: truth, k: 1),
                vote: NeighbourVote.accuracy(neighbours, truth: truth, k: k),
                measures: RankingMeasures(judged(neighbours, truth, relevant), at: k),
                neighbourRecall: Metrics.recall(found: rows, truth: found[found.count - 1], at: k)
            )
        }
    }

    /// For each class a grade of 1 for each of its training examples.
    private func relevantGrades(_ classes: [Int]) -> [[Int]] {
        var counts = [Int](repeating: 0, count: labels.count)
        for label in classes { counts[label] += 1 }
        return counts.map { [Int](repeating: 1, count: $0) }
    }

    private func judged(_ neighbours: [[Int]], _ truth: [Int], _ relevant: [[Int]]) -> [RankedRelevance] {
        zip(neighbours, truth).map { neighbours, label in
            RankedRelevance(grades: neighbours.map { $0 == label ? 1 : 0 }, relevant: relevant[label])
        }
    }

    /// By main size, then by number of shots.
    private func shots(_ seen: Parts, _ generator: inout SeededGenerator) -> [[Double]] {
        let classes = seen.training.labels.map(Int.init)
        let drawn = Self.shotCounts.map { NearestClassMean.drawShots($0, of: classes, using: &generator) }
        return sizes.main.map { size in
            drawn.map { rows in
                let means = NearestClassMean(
                    vectors: seen.training.input.selecting(rows).values,
                    dimensions: seen.training.input.columns,
                    labels: rows.map { classes[$0] },
                    size: size
                )
                let right = zip(means.labels(of: seen.test.input.values), seen.test.labels).count { $0 == Int($1) }
                return Double(right) / Double(seen.test.labels.count)
            }
        }
    }

    private func plans(_ seen: Parts) -> PlanFigures {
        let places = options.sampled(of: seen.test.labels.count)
        let truth = places.map { Int(seen.test.labels[$0]) }
        let classes = seen.training.labels.map(Int.init)
        let relevant = relevantGrades(classes)
        return PlanFigures(
            PlanTrials(
                collection: DenseCollection(
                    vectors: seen.training.input.values,
                    dimensions: seen.training.input.columns
                ),
                queries: seen.test.input.selecting(places).values
            ),
            options.plans(sizes, rows: seen.training.input.rows),
            k: k,
            measure: "mAP@\(k) /k"
        ) { found in
            let rankings = judged(found.map { $0.map { classes[$0] } }, truth, relevant)
            return RankingMeasures(rankings, at: k).averagePrecision[.depth] ?? 0
        }
    }
}
