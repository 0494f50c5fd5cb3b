import Glibc
import Matryoshka
import RetrievalTesting
import Shortlist
import VectorMath

/// Prints what share of the bytes that one core can read in a second a single int8 scan reads: over so many rows that no
/// cache holds them, in time of this thread's, both taken in turn.
func compareWithMemory(rowCount: Int = 4_000_000, width: Int = 64, keep: Int = 200) {
    var random = SeededGenerator(seed: 2)
    let shards = (0..<Slots.shardCount).map { shard in
        (
            shard: UInt16(shard),
            rows: ResidentShard(
                storedHeadWidth: width,
                residentWidth: width,
                precision: .int8,
                similarity: .cosine,
                rotation: nil
            )
        )
    }
    for shard in shards { shard.rows.reserve(rows: (rowCount + Slots.shardCount - 1) / Slots.shardCount) }
    for row in 0..<rowCount {
        let head = (0..<width).map { _ in Float(Int64(bitPattern: random.next()) >> 40) }
        shards[row % shards.count].rows.upsert(id: Int64(row), version: 1, head: head.span)
    }
    for shard in shards { shard.rows.seal() }
    // Codes and one norm a row; ids are read of the few rows that pass.
    let bytes = rowCount * (width + 4)
    let stream = [SIMD8<UInt64>](repeating: SIMD8(repeating: 1), count: bytes / 64)
    let query = (0..<width).map { _ in Float(Int64(bitPattern: random.next()) >> 40) }
    let step = ResolvedPlan.Step(dimensions: width, keep: keep, precision: .int8)
    print("memory: \(rowCount) rows of \(width) int8 dimensions, one query, \(bytes / 1_000_000) MB")
    for path in KernelPath.available where path != .portable {
        var (scans, reads): ([Double], [Double]) = ([], [])
        var sum: UInt64 = 0
        for _ in 0..<9 {
            reads.append(threadSeconds { sum ^= exclusiveOr(stream) })
            scans.append(
                threadSeconds {
                    _ = scanShortlist(shards: shards, queries: query.span, queryCount: 1, steps: [step], path: path)
                }
            )
        }
        let (read, scan) = (median(reads), median(scans))
        print(
            "\(path.rawValue) single scan: \(text(scan * 1e3, 1)) ms, \(text(Double(bytes) / scan / 1e9, 1)) GB/s, "
                + "one core reads \(text(Double(bytes) / read / 1e9, 1)) GB/s: \(text(100 * read / scan, 1)) %"
                + (sum == 1 ? " " : "")
        )
    }
}

/// Reads every cache line once, as fast as the core does.
private func exclusiveOr(_ values: [SIMD8<UInt64>]) -> UInt64 {
    values.withUnsafeBufferPointer { values in
        var sums = (SIMD8<UInt64>(), SIMD8<UInt64>(), SIMD8<UInt64>(), SIMD8<UInt64>())
        var place = 0
        while place + 4 <= values.count {
            sums.0 ^= values[place]
            sums.1 ^= values[place + 1]
            sums.2 ^= values[place + 2]
            sums.3 ^= values[place + 3]
            place += 4
        }
        let all = sums.0 ^ sums.1 ^ sums.2 ^ sums.3
        return (0..<8).reduce(0) { $0 ^ all[$1] }
    }
}

private func threadSeconds(_ body: () -> Void) -> Double {
    func read() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
    let start = read()
    body()
    return read() - start
}

private func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
