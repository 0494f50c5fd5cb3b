import Learning

/// The experiments that claims share.
enum Shared {
    static let debian = NestedStatic(.debian)
    static let debianRigid = RigidStatic(corpus: .debian)
    static let debianLexical = LexicalKnownItems(corpus: .debian)
    static let wordNet = NestedStatic(.wordNet)
    static let wordNetRigid = RigidStatic(corpus: .wordNet)
    static let intents = NestedIntents()
    static let sharedIntents = NestedIntents(.shared)
    static let rigidIntents = RigidIntents()
    static let staticIntents = StaticIntents()

    /// What known-item searches measure.
    static let reciprocalRank = "MRR@10, %"
    /// What classifiers measure.
    static let accuracy = "accuracy, %"
}

/// Claim 1.
struct NestingCostsNothing: StudyClaim {
    let number = 1
    let title = "One nested model does what a model for each size does"
    let statement = """
        At every size MRL is at most 2.5 points of MRR@10 below a model of that size alone (FF), and at most 1.5 points of \
        accuracy on CLINC150; MRL-E is at most 1 point below MRL from 16 dimensions up.
        """
    let method = """
        Known-item search on Debian's descriptions and on WordNet's glosses with static models that learn from pairs alone; \
        150 intents with a linear adapter on frozen vectors, and with a table that is learnt from scratch. Every FF model is \
        trained anew with the same recipe and seed.
        """
    var experiments: [any Experiment] {
        [
            Shared.debian, Shared.debianRigid, Shared.debianLexical, Shared.wordNet, Shared.wordNetRigid,
            Shared.intents,
            Shared.rigidIntents, Shared.sharedIntents, Shared.staticIntents,
        ]
    }

    func findings(_ results: StudyResults) -> ClaimFindings {
        func below(
            _ statement: String,
            _ nested: any Experiment,
            _ measure: String,
            _ other: any Experiment,
            _ otherMeasure: String,
            _ sizes: [Int],
            by points: Double
        ) -> StudyPart {
            results.part(statement, of: [nested, other]) {
                sizes.map { size in
                    Finding(
                        "\(size) dimensions",
                        results.differences(nested, "\(measure)/\(size)", less: other, "\(otherMeasure)/\(size)"),
                        .atLeast(-points)
                    )
                }
            }
        }
        let (sizes, frozen) = (StaticRecipe.sizes, IntentRecipe.frozenSizes)
        var found = ClaimFindings(parts: [
            below("Debian: MRL against FF", Shared.debian, "mrr", Shared.debianRigid, "ff", sizes, by: 2.5),
            below("WordNet: MRL against FF", Shared.wordNet, "mrr", Shared.wordNetRigid, "ff", sizes, by: 2.5),
            below(
                "CLINC150 on frozen vectors: MRL against FF",
                Shared.intents,
                "accuracy",
                Shared.rigidIntents,
                "ff",
                frozen,
                by: 1.5
            ),
            below(
                "CLINC150 from scratch: MRL against FF",
                Shared.staticIntents,
                "mrl",
                Shared.staticIntents,
                "ff",
                IntentRecipe.staticSizes,
                by: 1.5
            ),
            below(
                "CLINC150 on frozen vectors: MRL-E against MRL from 16 up",
                Shared.sharedIntents,
                "accuracy",
                Shared.intents,
                "accuracy",
                frozen.filter { $0 >= 16 },
                by: 1
            ),
            below(
                "CLINC150 from scratch: MRL-E against MRL from 16 up",
                Shared.staticIntents,
                "mrl-e",
                Shared.staticIntents,
                "mrl",
                IntentRecipe.staticSizes.filter { $0 >= 16 },
                by: 1
            ),
        ])
        for (name, nested, rigid) in [
            ("Debian, known item", Shared.debian, Shared.debianRigid),
            ("WordNet, known item", Shared.wordNet, Shared.wordNetRigid),
        ] {
            var curves = SizeCurves(name, Shared.reciprocalRank, sizes)
            curves.add("MRL") { results.values(nested, "mrr", $0) }
            curves.add("FF") { results.values(rigid, "ff", $0) }
            found.add(curves)
        }
        var curves = SizeCurves("CLINC150 on frozen vectors", Shared.accuracy, frozen)
        curves.add("MRL") { results.values(Shared.intents, "accuracy", $0) }
        curves.add("MRL-E") { results.values(Shared.sharedIntents, "accuracy", $0) }
        curves.add("FF") { results.values(Shared.rigidIntents, "ff", $0) }
        found.add(curves)
        curves = SizeCurves("CLINC150 from scratch", Shared.accuracy, IntentRecipe.staticSizes)
        curves.add("MRL") { results.values(Shared.staticIntents, "mrl", $0) }
        curves.add("MRL-E") { results.values(Shared.staticIntents, "mrl-e", $0) }
        curves.add("FF") { results.values(Shared.staticIntents, "ff", $0) }
        found.add(curves)
        if let lexical = results.values(Shared.debianLexical, "mrr").first {
            found.notes.append(
                "For scale: BM25 on the same word pieces has an MRR@10 of \(figure(lexical)) % on Debian; short and long "
                    + "descriptions share rare words, and no model here comes near."
            )
        }
        return found
    }
}

/// Claim 2.
struct NestingBeatsCutting: StudyClaim {
    let number = 2
    let title = "Nested training beats cutting or turning a vector afterwards"
    let statement = """
        On known items MRL is above the singular vectors of a rigid model by 6 points at 16 dimensions and 3 at 32, and \
        above its cut vectors by 10 and 6. Where the singular vectors do not collapse, that is said.
        """
    let method = """
        The rigid model is FF at 256 dimensions; its vectors are cut, or turned along singular vectors (SVD) or principal \
        components (PCA) that are fitted to training documents alone, and renormalised. Beside the trained relation: \
        the nearest document's section, which nobody trained, and classifiers.
        """
    var experiments: [any Experiment] {
        [
            Shared.debian, Shared.debianRigid, Shared.wordNet, Shared.wordNetRigid, Shared.intents, Shared.rigidIntents,
        ]
    }

    func findings(_ results: StudyResults) -> ClaimFindings {
        func above(
            _ name: String,
            _ measure: String,
            _ limits: [(Int, Double)],
            _ corpus: (name: String, nested: any Experiment, rigid: any Experiment)
        ) -> StudyPart {
            results.part("\(corpus.name): MRL above \(name)", of: [corpus.nested, corpus.rigid]) {
                limits.map { size, limit in
                    Finding(
                        "\(size) dimensions",
                        results.differences(corpus.nested, "mrr/\(size)", less: corpus.rigid, "\(measure)/\(size)"),
                        .atLeast(limit)
                    )
                }
            }
        }
        let corpora: [(name: String, nested: any Experiment, rigid: any Experiment)] = [
            ("Debian", Shared.debian, Shared.debianRigid), ("WordNet", Shared.wordNet, Shared.wordNetRigid),
        ]
        var found = ClaimFindings(
            parts: corpora.flatMap { corpus in
                [
                    above("the SVD of a rigid model", "svd", [(16, 6), (32, 3)], corpus),
                    above("a rigid model that is cut", "truncation", [(16, 10), (32, 6)], corpus),
                ]
            }
        )
        let known: [(String, any Experiment, any Experiment)] = [
            ("Debian, known item", Shared.debian, Shared.debianRigid),
            ("WordNet, known item", Shared.wordNet, Shared.wordNetRigid),
        ]
        for (name, nested, rigid) in known {
            var curves = SizeCurves(name, Shared.reciprocalRank, StaticRecipe.sizes)
            curves.add("MRL") { results.values(nested, "mrr", $0) }
            curves.add("SVD") { results.values(rigid, "svd", $0) }
            curves.add("PCA") { results.values(rigid, "pca", $0) }
            curves.add("cut") { results.values(rigid, "truncation", $0) }
            found.add(curves)
            note(name, curves, &found)
        }
        var curves = SizeCurves("Debian, section of the nearest document", Shared.accuracy, StaticRecipe.sizes)
        curves.add("MRL") { results.values(Shared.debian, "section", $0) }
        curves.add("SVD") { results.values(Shared.debianRigid, "section-svd", $0) }
        curves.add("cut") { results.values(Shared.debianRigid, "section-truncation", $0) }
        found.add(curves)
        note("sections, a relation that nobody trained,", curves, &found)
        curves = SizeCurves("CLINC150 on frozen vectors", Shared.accuracy, IntentRecipe.frozenSizes)
        curves.add("MRL") { results.values(Shared.intents, "accuracy", $0) }
        curves.add("SVD of the head") { results.values(Shared.rigidIntents, "svd", $0) }
        curves.add("cut, new heads") { results.values(Shared.rigidIntents, "truncation", $0) }
        found.add(curves)
        note("CLINC150", curves, &found)
        return found
    }

    /// Says from which size on the second method of some curves is no more than a point below the first.
    private func note(_ name: String, _ curves: SizeCurves, _ found: inout ClaimFindings) {
        guard curves.lines.count > 1 else { return }
        let means = curves.lines.prefix(2).map { $0.values.map { $0.reduce(0, +) / Double(max(1, $0.count)) } }
        let lagging = curves.sizes.indices.filter { means[1][$0] < means[0][$0] - 1 }
        if lagging.isEmpty {
            found.notes.append("On \(name) SVD does not collapse: at no size is it more than a point below MRL.")
        } else if let last = lagging.last, last + 1 < curves.sizes.count {
            found.notes.append(
                "On \(name) SVD is no more than a point below MRL from \(curves.sizes[last + 1]) dimensions up."
            )
        } else {
            found.notes.append("On \(name) SVD is more than a point below MRL up to the full size.")
        }
    }
}

/// Claim 3.
struct SizesBetween: StudyClaim {
    let number = 3
    let title = "Sizes that nobody trained lie between their neighbours"
    let statement =
        "An untrained size is at most 0.5 points outside of the span between the two trained sizes beside it."
    let method = "MRR@10 on Debian and WordNet and 1-NN accuracy on CLINC150 at 12, 24, 48, 96 and 192 dimensions."
    var experiments: [any Experiment] { [Shared.debian, Shared.wordNet, Shared.intents] }

    func findings(_ results: StudyResults) -> ClaimFindings {
        func outside(_ statement: String, _ experiment: any Experiment, _ measure: String) -> StudyPart {
            results.part(statement, of: [experiment]) {
                NestedStatic.between.map { size in
                    Finding(
                        "\(size) dimensions",
                        results.each(experiment).compactMap { Self.distance($0, measure, size) },
                        .atMost(0.5),
                        unit: " points outside"
                    )
                }
            }
        }
        var found = ClaimFindings(parts: [
            outside("Debian, known item", Shared.debian, "mrr"),
            outside("WordNet, known item", Shared.wordNet, "mrr"),
            outside("CLINC150 on frozen vectors, 1-NN", Shared.intents, "1-nn"),
        ])
        let sizes = (StaticRecipe.sizes + NestedStatic.between).sorted()
        var curves = SizeCurves("Debian, trained sizes and those between", Shared.reciprocalRank, sizes)
        curves.add("MRL") { results.values(Shared.debian, "mrr", $0) }
        found.add(curves)
        curves = SizeCurves("CLINC150, trained sizes and those between", "1-NN accuracy, %", sizes)
        curves.add("MRL") { results.values(Shared.intents, "1-nn", $0) }
        found.add(curves)
        return found
    }

    /// How far a size's figure lies outside of those of the sizes at two thirds and four thirds of it; 0 within.
    static func distance(_ figures: Figures, _ measure: String, _ size: Int) -> Double? {
        guard let value = figures[measure, size], let below = figures[measure, size * 2 / 3],
            let above = figures[measure, size * 4 / 3]
        else { return nil }
        return max(0, value - max(below, above), min(below, above) - value)
    }
}

/// Claim 4.
struct Spacing: StudyClaim {
    let number = 4
    let title = "Doubling sizes beat evenly spread ones where it is small"
    let statement = "At 8 dimensions logarithmic spacing is above uniform spacing by 4 points of MRR@10 or more."
    let method = """
        Six sizes each on Debian: 8, 16, … 256 against the paper's uniform set from 8 to 256 (§K.1), and against 32, 64, … \
        256, which has no small size at all.
        """
    private static let paper = NestedStatic(.debian, "uniform-from-8", .uniform(from: 8, to: 256, count: 6))
    private static let even = NestedStatic(.debian, "uniform-from-32", .uniform(from: 32, to: 256, count: 8))
    var experiments: [any Experiment] { [Shared.debian, Self.paper, Self.even] }

    func findings(_ results: StudyResults) -> ClaimFindings {
        func above(_ name: String, _ other: NestedStatic) -> StudyPart {
            results.part("Against \(name)", of: [Shared.debian, other]) {
                StaticRecipe.sizes.map { size in
                    Finding(
                        "\(size) dimensions",
                        results.differences(Shared.debian, "mrr/\(size)", less: other, "mrr/\(size)"),
                        size == 8 ? .atLeast(4) : nil
                    )
                }
            }
        }
        let sets = [Self.paper, Self.even].map { $0.nesting.sizes.map(String.init).joined(separator: ", ") }
        var found = ClaimFindings(parts: [
            above("uniform sizes from 8 (\(sets[0]))", Self.paper),
            above("uniform sizes without small ones (\(sets[1]))", Self.even),
        ])
        found.notes.append(
            "A uniform set that begins at 8 trains 8 dimensions as well; what it does without are the sizes just above."
        )
        var curves = SizeCurves("Spacing of the trained sizes", Shared.reciprocalRank, StaticRecipe.sizes)
        curves.add("doubling from 8") { results.values(Shared.debian, "mrr", $0) }
        curves.add("uniform from 8") { results.values(Self.paper, "mrr", $0) }
        curves.add("uniform from 32") { results.values(Self.even, "mrr", $0) }
        found.add(curves)
        return found
    }
}

/// Claim 5.
struct LossWeights: StudyClaim {
    let number = 5
    let title = "More weight on the smallest size helps it at next to no cost"
    let statement = "It gains at 8 dimensions, and loses at most 0.3 points of MRR@10 at 256."
    let method = "Debian with c = [2, 1, … 1] (8boost of §K.1) and [2, 1.5, 1, … 1] (8+16boost) against equal weights."
    private static let first = boosted("boost-8", [2, 1, 1, 1, 1, 1])
    private static let both = boosted("boost-8-16", [2, 1.5, 1, 1, 1, 1])
    var experiments: [any Experiment] { [Shared.debian, Self.first, Self.both] }

    private static func boosted(_ name: String, _ weights: [Float]) -> NestedStatic {
        guard let nesting = Nesting(sizes: StaticRecipe.sizes, weights: weights) else {
            preconditionFailure("a weight for each size")
        }
        return NestedStatic(.debian, name, nesting)
    }

    func findings(_ results: StudyResults) -> ClaimFindings {
        func change(_ name: String, _ boosted: NestedStatic) -> StudyPart {
            results.part(name, of: [Shared.debian, boosted]) {
                StaticRecipe.sizes.map { size in
                    Finding(
                        "\(size) dimensions",
                        results.differences(boosted, "mrr/\(size)", less: Shared.debian, "mrr/\(size)"),
                        size == 8 ? .atLeast(0) : size == 256 ? .atLeast(-0.3) : nil
                    )
                }
            }
        }
        var found = ClaimFindings(parts: [
            change("Twice the weight on 8", Self.first), change("Twice on 8, one and a half on 16", Self.both),
        ])
        var curves = SizeCurves("Weights of the loss", Shared.reciprocalRank, StaticRecipe.sizes)
        curves.add("equal") { results.values(Shared.debian, "mrr", $0) }
        curves.add("2 on 8") { results.values(Self.first, "mrr", $0) }
        curves.add("2 on 8, 1.5 on 16") { results.values(Self.both, "mrr", $0) }
        found.add(curves, isPlotted: false)
        return found
    }
}
