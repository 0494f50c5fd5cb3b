import Evaluation

/// Claim 6.
struct AdaptiveClassification: StudyClaim {
    let number = 6
    let title = "Most texts are classified by a few dimensions"
    let statement = """
        A cascade of sizes decides with at most 40 expected dimensions (those of the size that decides) at no more than 0.3 \
        points below the full head of 384.
        """
    let method = """
        CLINC150 on frozen vectors. For each two neighbouring sizes the smallest threshold with the best accuracy is learnt on \
        the validation part; figures are those of the test part.
        """
    var experiments: [any Experiment] { [Shared.intents] }

    func findings(_ results: StudyResults) -> ClaimFindings {
        let full = IntentRecipe.frozenSizes[IntentRecipe.frozenSizes.count - 1]
        func outcome(_ rule: String, isClaimed: Bool) -> [Finding] {
            [
                Finding(
                    "expected dimensions",
                    results.values(Shared.intents, "cascade \(rule) final"),
                    isClaimed ? .atMost(40) : nil,
                    unit: " dimensions"
                ),
                Finding(
                    "against the full head",
                    results.differences(
                        Shared.intents,
                        "cascade \(rule) accuracy",
                        less: Shared.intents,
                        "accuracy/\(full)"
                    ),
                    isClaimed ? .atLeast(-0.3) : nil
                ),
                Finding(
                    "dimensions of all heads that are asked",
                    results.values(Shared.intents, "cascade \(rule) cumulative"),
                    unit: " dimensions"
                ),
            ]
        }
        var found = ClaimFindings(parts: [
            results.part("A threshold for each size", of: [Shared.intents]) { outcome("greedy", isClaimed: true) }
        ])
        guard results.absence(of: Shared.intents) == nil else { return found }
        let global = outcome("global", isClaimed: false)
        found.notes.append(
            "One threshold for all sizes: \(global[0].text), \(global[1].text) against the full head, \(global[2].text) "
                + "counting all heads that are asked."
        )
        return found
    }
}

/// Claim 7.
struct RoutingAndGroups: StudyClaim {
    let number = 7
    let title = "Sizes err differently, and coarse things are known first"
    let statement = """
        Always asking the right size would gain 1 point or more over the full head; from the full size down to 8 dimensions \
        the domain of a text loses fewer points than its intent; and means of 1 to 9 examples a class are within 1 point of \
        the full size at 32 dimensions.
        """
    let method = """
        CLINC150 on frozen vectors, test part. Means are of examples of the validation part, drawn five times. The limits of \
        1 point are this study's: the paper gives curves (§5, appendices G and J).
        """
    var experiments: [any Experiment] { [Shared.intents] }

    func findings(_ results: StudyResults) -> ClaimFindings {
        let sizes = IntentRecipe.frozenSizes
        let (intents, full) = (Shared.intents, IntentRecipe.frozenSizes[IntentRecipe.frozenSizes.count - 1])
        var found = ClaimFindings(parts: [
            results.part("Oracle routing", of: [intents]) {
                [
                    Finding("gain over the full head", results.values(intents, "oracle gain"), .atLeast(1)),
                    Finding("expected dimensions", results.values(intents, "oracle dimensions"), unit: " dimensions"),
                    Finding(
                        "vote of all sizes against the full head",
                        results.differences(intents, "vote accuracy", less: intents, "accuracy/\(full)")
                    ),
                ]
            },
            results.part("Domains before intents", of: [intents]) {
                let lost = results.each(intents).compactMap { figures -> Double? in
                    guard let fine = figures["accuracy", full], let fineCut = figures["accuracy", 8],
                        let coarse = figures["domain", full], let coarseCut = figures["domain", 8]
                    else { return nil }
                    return (fine - fineCut) - (coarse - coarseCut)
                }
                return [
                    Finding("intents lose more than domains by", lost, .atLeast(0)),
                    Finding("domains at 8 dimensions", results.values(intents, "domain", 8), unit: " %"),
                ]
            },
            results.part("Few examples at 32 dimensions against \(full)", of: [intents]) {
                NestedIntents.shots.map { shots in
                    Finding(
                        shots == 1 ? "1 example" : "\(shots) examples",
                        results.differences(intents, "\(shots)-shot/32", less: intents, "\(shots)-shot/\(full)"),
                        .atLeast(-1)
                    )
                }
            },
        ])
        guard results.absence(of: intents) == nil else { return found }
        var curves = SizeCurves("CLINC150, intents and their domains", Shared.accuracy, sizes)
        curves.add("intent") { results.values(intents, "accuracy", $0) }
        curves.add("domain") { results.values(intents, "domain", $0) }
        curves.add("domain, 5 of 10 grouped") { results.values(intents, "domain, half grouped", $0) }
        curves.add("the same, rest as one class") { results.values(intents, "domain, half rejected", $0) }
        found.add(curves)
        curves = SizeCurves("CLINC150, nearest mean of n examples", Shared.accuracy, sizes)
        for shots in NestedIntents.shots {
            curves.add("n = \(shots)") { results.values(intents, "\(shots)-shot", $0) }
        }
        found.add(curves)
        let trends = ClassTrends.Trend.allCases.map { trend in
            "\(trend.rawValue) \(figure(MeanInterval(results.each(intents).map { $0["trend \(trend.rawValue)"] ?? 0 }).mean))"
        }
        found.notes.append(
            "Of 150 intents, by how accuracy changes from size to size: " + trends.joined(separator: "; ") + "."
        )
        found.notes.append(
            "At 8 dimensions \(intervalText(MeanInterval(results.values(intents, "differs from full", 8)))) % of the texts get "
                + "another intent than from the full head."
        )
        return found
    }
}

/// Claim 9.
struct FineTuningClaim: StudyClaim {
    private static let experiment = FineTuning()

    let number = 9
    let title = "Heads on frozen vectors do not nest them; an adapter does"
    let statement = """
        At 8 dimensions a nested adapter with a hidden layer is above heads alone by 10 points or more, and at the full size \
        within 1.5 points of them.
        """
    let method = """
        CLINC150 on frozen vectors: heads on the prefixes of the vectors as they are, against the same heads on what a \
        trained layer makes. The limits are this study's: the paper has 5.2 % at 8 dimensions for the head alone, and 54.8 % with \
        two more layers.
        """
    var experiments: [any Experiment] { [Self.experiment, Shared.intents] }

    func findings(_ results: StudyResults) -> ClaimFindings {
        let full = IntentRecipe.frozenSizes[IntentRecipe.frozenSizes.count - 1]
        func gain(_ size: Int, _ limit: Limit) -> Finding {
            Finding(
                "\(size) dimensions",
                results.differences(
                    Self.experiment,
                    "hidden layer/\(size)",
                    less: Self.experiment,
                    "heads alone/\(size)"
                ),
                limit
            )
        }
        var found = ClaimFindings(parts: [
            results.part("A hidden layer against heads alone", of: [Self.experiment]) {
                [gain(8, .atLeast(10)), gain(full, .atLeast(-1.5))]
            }
        ])
        var curves = SizeCurves(
            "CLINC150, what is trained on frozen vectors",
            Shared.accuracy,
            IntentRecipe.frozenSizes
        )
        curves.add("hidden layer") { results.values(Self.experiment, "hidden layer", $0) }
        curves.add("linear adapter") { results.values(Shared.intents, "accuracy", $0) }
        curves.add("heads alone") { results.values(Self.experiment, "heads alone", $0) }
        found.add(curves)
        return found
    }
}
