import Corpora

/// Documents, queries, and which documents people found relevant to which query.
struct JudgedCollection {
    let documents: [String]
    let queries: [String]
    /// By query: grades above 0 of documents, by their places.
    let grades: [[Int: Int]]

    /// Brings files together; judgements of what is in neither of the others do not count.
    init(documents: IdentifiedTexts, queries: IdentifiedTexts, judgements: RelevanceJudgements) {
        let places = Dictionary(uniqueKeysWithValues: documents.ids.enumerated().map { ($1, $0) })
        self.documents = documents.texts
        self.queries = queries.texts
        grades = queries.ids.map { query in
            var grades: [Int: Int] = [:]
            for (document, grade) in judgements.grades(of: query) where grade > 0 {
                if let place = places[document] { grades[place] = grade }
            }
            return grades
        }
    }
}
