import Coordination
import Matryoshka
import Testing

@Suite("Admission of requests")
struct AdmissionTests {
    private static let rows = 4_000_000

    private static func admission() -> Admission { Admission(total: 10, perClient: 4, rows: rows) }

    @Test("counts a batch by its queries, for its client and for all")
    func queries() {
        var admission = Self.admission()
        func admit(_ client: UInt8, _ cost: Int) -> Admission.Refusal? { admission.admit(client: [client], cost: cost) }
        #expect(admit(1, 4) == nil)
        #expect(admit(1, 1) == .clientFull)
        #expect(admit(2, 4) == nil)
        #expect(admit(3, 3) == .coordinatorFull)
        #expect(admit(3, 2) == nil)
        admission.release(client: [1], cost: 4, rows: 0)
        #expect(admit(3, 2) == nil)
        #expect(admission.inFlight == 8)
        #expect(admission.clientCount == 2)
    }

    @Test("counts a search by the rows that it asks for: a batch of 200 queries that keep 4,096 is 819,200")
    func rows() {
        var admission = Self.admission()
        let batch = 200 * 4_096
        let taken = (0..<5).map { _ in admission.admit(rows: batch) }
        #expect(taken == [true, true, true, true, false])
        // What is small still fits beside them, up to the last row.
        let left = Self.rows - 4 * batch
        let small = [left - 1, 2, 1, 1].map { admission.admit(rows: $0) }
        #expect(small == [true, false, true, false])
        #expect(admission.rowsInFlight == Self.rows)
        admission.release(client: [1], cost: 200, rows: batch)
        let again = admission.admit(rows: batch)
        #expect(again)
    }

    @Test("never refuses a search that is alone, however low the limits are")
    func alone() {
        var admission = Admission(total: 1, perClient: 1, rows: 1)
        for _ in 0..<2 {
            let refusal = admission.admit(client: [1], cost: SearchLimits.batchMax)
            #expect(refusal == nil)
            let taken = [SearchLimits.batchRowsMax, 1].map { admission.admit(rows: $0) }
            #expect(taken == [true, false])
            admission.release(client: [1], cost: SearchLimits.batchMax, rows: SearchLimits.batchRowsMax)
            #expect(admission.rowsInFlight == 0 && admission.inFlight == 0 && admission.clientCount == 0)
        }
    }
}
