/// Bounds what clients may have under way, so that no client and no crowd of them can make memory grow.
public struct Admission: Sendable {
    /// Requests under way, all clients together.
    public let total: Int
    /// Requests under way of one client.
    public let perClient: Int
    /// Rows that the searches under way may ask for, all clients together.
    public let rows: Int
    /// Units under way; a batch of n queries costs n.
    public private(set) var inFlight = 0
    /// Rows that the searches under way ask for: queries times the keep of the first stage.
    public private(set) var rowsInFlight = 0
    private var clients: [[UInt8]: Int] = [:]

    /// Makes bounds.
    public init(total: Int, perClient: Int, rows: Int) {
        self.total = total
        self.perClient = perClient
        self.rows = rows
    }

    /// Why a request is turned away.
    public enum Refusal: Sendable, Equatable {
        case coordinatorFull
        case clientFull
    }

    /// Takes a request in, or says why not.
    ///
    /// A single request is always taken when nothing else is under way.
    public mutating func admit(client: [UInt8], cost: Int) -> Refusal? {
        let own = clients[client, default: 0]
        if own > 0, own + cost > perClient { return .clientFull }
        if inFlight > 0, inFlight + cost > total { return .coordinatorFull }
        clients[client] = own + cost
        inFlight += cost
        return nil
    }

    /// Counts what a search that was taken in asks for, now that its plan is known; false, and nothing is counted, where
    /// that is too much beside the others.
    ///
    /// A search that is the only one is always taken.
    public mutating func admit(rows wanted: Int) -> Bool {
        guard rowsInFlight == 0 || wanted <= rows - rowsInFlight else { return false }
        rowsInFlight += wanted
        return true
    }

    /// A request has been answered or dropped.
    public mutating func release(client: [UInt8], cost: Int, rows released: Int) {
        inFlight -= cost
        rowsInFlight -= released
        let own = clients[client, default: 0] - cost
        clients[client] = own > 0 ? own : nil
    }

    /// Clients with something under way.
    public var clientCount: Int { clients.count }
}
