/// Classes that an item's nearest neighbours say it has.
public enum NeighbourVote {
    /// The class that most of the first k neighbours have; of classes with as many, the one whose member is nearest.
    ///
    /// - Parameters:
    ///   - classes: Of the neighbours, nearest first.
    ///   - k: 1 or more; 1 is the nearest neighbour's class.
    /// - Returns: Nil of no neighbours.
    public static func winner(_ classes: some Sequence<Int>, k: Int) -> Int? {
        var order: [Int] = []
        var votes: [Int: Int] = [:]
        for label in classes.prefix(k) {
            if votes[label] == nil { order.append(label) }
            votes[label, default: 0] += 1
        }
        let most = votes.values.max() ?? 0
        return order.first { votes[$0] == most }
    }

    /// Share of items whose neighbours vote for their own class.
    ///
    /// - Parameters:
    ///   - neighbours: Classes of each item's neighbours, nearest first.
    ///   - truth: Class of each item.
    ///   - k: Neighbours that vote.
    /// - Returns: 0 to 1; 0 of no items.
    public static func accuracy(_ neighbours: [[Int]], truth: [Int], k: Int) -> Double {
        precondition(neighbours.count == truth.count, "a class for each item")
        let right = zip(neighbours, truth).count { winner($0, k: k) == $1 }
        return truth.isEmpty ? 0 : Double(right) / Double(truth.count)
    }
}
