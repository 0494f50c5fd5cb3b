import RetrievalTesting
import Testing
import VectorMath

@Suite("Row directory")
struct RowDirectoryTests {
    @Test("finds what was placed and not removed, through any mix of writes and compactions", arguments: 1...6)
    func againstDictionary(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let directory = RowDirectory()
        var expected: [Int64: UInt32] = [:]
        let ascends = seed % 2 == 0
        for step in 0..<6000 {
            let id = ascends && step % 4 != 0 ? Int64(step) : Int64.random(in: -20...3000, using: &random)
            switch Int.random(in: 0..<40, using: &random) {
            case 0..<26:
                if directory.count == directory.capacity { directory.setCapacity(directory.capacity + 100) }
                let version = UInt32.random(in: 1...9, using: &random)
                let placement = directory.place(id: id, version: version)
                if let held = expected[id], held > version {
                    #expect(placement == .ignored)
                } else {
                    expected[id] = version
                    #expect(placement == directory.position(of: id).map { .at($0) })
                }
            case 26..<39:
                #expect(directory.remove(id: id) == (expected.removeValue(forKey: id) != nil))
            default:
                if let order = directory.compactionOrder() {
                    #expect(order.map { directory.ids[Int($0)] } == expected.keys.sorted())
                    directory.compact(order)
                }
            }
            if step % 500 == 0 { check(directory, expected) }
        }
        check(directory, expected)
    }

    private func check(_ directory: RowDirectory, _ expected: [Int64: UInt32]) {
        #expect(directory.liveCount == expected.count)
        for (id, version) in expected {
            let position = directory.position(of: id)
            #expect(position.map { directory.versions[$0] } == version)
            #expect(position.map { directory.ids[$0] } == id)
        }
        for id in Int64(-30)...(-21) { #expect(directory.position(of: id) == nil) }
        let live = (0..<directory.count).filter(directory.isLive).map { directory.ids[$0] }
        #expect(live.sorted() == expected.keys.sorted())
    }

    @Test("a compaction of everything removed leaves nothing")
    func compactionToNothing() {
        let directory = RowDirectory()
        directory.setCapacity(20)
        for id in Int64(0)..<20 { _ = directory.place(id: id, version: 1) }
        for id in Int64(0)..<20 { _ = directory.remove(id: id) }
        let order = directory.compactionOrder()
        #expect(order == [])
        directory.compact([])
        #expect(directory.count == 0)
        #expect(directory.place(id: 3, version: 1) == .at(0))
    }
}
