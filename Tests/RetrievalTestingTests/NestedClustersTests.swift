import Testing

@testable import RetrievalTesting

@Suite("Nested clusters")
struct NestedClustersTests {
    @Test("the integers are those that a reader of the specification computes")
    func integers() {
        #expect(NestedClusters.mix(0) == 0xE220_A839_7B1D_CDAF)
        #expect(NestedClusters.mix(1) == 0x910A_2DEC_8902_5CC1)
        #expect(NestedClusters.key(1, stream: 3, 0) == 0x1BA8_20F6_0782_FB64)
        #expect(NestedClusters.key(7, stream: 21, 5) == 0xC92_A0B7_84C4_9599)
        let key = NestedClusters.key(1, stream: 3, 0)
        #expect((0..<4).map { NestedClusters.centredSum(key, $0) } == [-72_964, 23_200, -14_381, -6_412])
    }

    /// Worked out in double precision by a program of another language.
    static let rows: [(NestedClusters.Profile, UInt64, NestedClusters.Split, Int, [Int], [Float])] = [
        (
            .a, 1, .base, 0, [19_932, 996, 12],
            [-0.3145953, 0.0003667, -0.0440233, -0.0060866, 0.0395655, -0.1058626, 0.0039155, 0.0308104]
        ),
        (
            .a, 1, .query, 3, [14_490, 724, 2],
            [0.191252, 0.0214941, -0.1701717, -0.0702862, 0.1270849, -0.100864, 0.0680248, -0.1397697]
        ),
        (
            .h, 5, .base, 999_999, [2_266, 113, 0],
            [0.2994088, -0.1183454, -0.0319503, 0.1221277, 0.0507293, -0.0762611, -0.1988532, 0.0388679]
        ),
    ]

    @Test("rows agree with the specification to float precision", arguments: rows)
    func vectors(
        profile: NestedClusters.Profile,
        seed: UInt64,
        split: NestedClusters.Split,
        row: Int,
        nodes: [Int],
        values: [Float]
    ) {
        let clusters = NestedClusters(profile: profile, dimensions: 48, seed: seed)
        let leaf = clusters.leaf(of: row, in: split)
        let above = NestedClusters.nodes(ofLeaf: leaf, seed: seed)
        #expect([leaf, above.class, above.superclass] == nodes)
        let vector = clusters.vector(row, of: split)
        for (place, value) in zip([0, 7, 8, 15, 16, 31, 32, 47], values) {
            #expect(abs(vector[place] - value) < 1e-6)
        }
    }

    @Test("rows have unit length")
    func length() {
        let clusters = NestedClusters(profile: .h, dimensions: 100, seed: 2)
        for row in 0..<20 {
            let vector = clusters.vector(row, of: .base)
            #expect(abs(vector.reduce(0) { $0 + $1 * $1 } - 1) < 1e-5)
        }
    }
}
