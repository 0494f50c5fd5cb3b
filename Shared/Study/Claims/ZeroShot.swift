import Evaluation

/// Claim 12.
struct ZeroShot: StudyClaim {
    private static let trained = ZeroShotStatic()
    private static let lexical = LexicalJudged()
    private static let frozen = FrozenJudged()

    let number = 12
    let title = "Nesting carries over to a collection that no training saw"
    let statement = """
        On Cranfield nDCG@10 of the nested model is at no size below the full one lower than that of a rigid model that is \
        cut, and at the full size at most 1.5 points lower.
        """
    let method = """
        Static models of Debian's and WordNet's pairs, Cranfield's 1,400 abstracts and 225 queries with graded judgements. The \
        limits are this study's. BM25 and a frozen transformer that is cut stand beside them.
        """
    var experiments: [any Experiment] { [Self.trained, Self.lexical, Self.frozen] }

    func findings(_ results: StudyResults) -> ClaimFindings {
        func against(_ sizes: [Int], _ limit: Double) -> [Finding] {
            sizes.map { size in
                Finding(
                    "\(size) dimensions",
                    results.differences(
                        Self.trained,
                        "ndcg mrl/\(size)",
                        less: Self.trained,
                        "ndcg truncation/\(size)"
                    ),
                    .atLeast(limit)
                )
            }
        }
        let sizes = StaticRecipe.sizes
        var found = ClaimFindings(parts: [
            results.part("MRL against a rigid model that is cut", of: [Self.trained]) {
                against(sizes.dropLast(), 0)
            },
            results.part("MRL against the rigid model at full size", of: [Self.trained]) {
                against(sizes.suffix(1), -1.5)
            },
        ])
        var curves = SizeCurves("Cranfield, never seen in training", "nDCG@10, %", IntentRecipe.frozenSizes)
        let lexical = results.values(Self.lexical, "ndcg")
        curves.add("MRL") { results.values(Self.trained, "ndcg mrl", $0) }
        curves.add("rigid, cut") { results.values(Self.trained, "ndcg truncation", $0) }
        curves.add("frozen encoder, cut") { results.values(Self.frozen, "ndcg", $0) }
        curves.add("BM25") { _ in lexical }
        found.add(curves)
        if let gain = lexical.first, let recall = results.values(Self.lexical, "recall").first {
            var note = "BM25: nDCG@10 \(figure(gain)) %, recall@100 \(figure(recall)) %."
            if results.absence(of: Self.trained) == nil {
                note +=
                    " MRL at 256 dimensions: recall@100 "
                    + "\(intervalText(MeanInterval(results.values(Self.trained, "recall mrl", 256)))) %."
            }
            if let recall = results.values(Self.frozen, "recall", 384).first {
                note += " The frozen encoder at 384: recall@100 \(figure(recall)) %."
            }
            found.notes.append(note)
        }
        return found
    }
}
