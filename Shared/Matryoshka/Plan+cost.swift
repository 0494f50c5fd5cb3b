extension Plan {
    /// Dimensions that are multiplied for one query over so many rows, as §4.3.1 of the MRL paper counts them.
    ///
    /// It is N·D₁ and, for each later stage, the rows that the one before it kept times its dimensions.
    public func multiplied(rows: Int) -> Int {
        guard let first = stages.first else { return 0 }
        var total = rows * first.dimensions
        for (stage, next) in zip(stages, stages.dropFirst()) { total += min(rows, stage.keep) * next.dimensions }
        return total
    }
}
