import Testing

/// Real processes and a real database, one cluster at a time: the suites share two cores.
@Suite("Cluster", .serialized)
struct ClusterTests {}
