/// How one stage's numbers are held when it is scored.
///
/// The order is that of rising precision.
public enum Precision: String, Sendable, Hashable, Comparable, CaseIterable, Codable {
    case bit
    case int8
    case float16
    case float32

    private var rank: Int {
        switch self {
        case .bit: 0
        case .int8: 1
        case .float16: 2
        case .float32: 3
        }
    }

    /// Orders by rising rank.
    public static func < (left: Precision, right: Precision) -> Bool { left.rank < right.rank }
}

/// How two vectors are compared.
public enum Similarity: String, Sendable, Hashable, CaseIterable, Codable {
    /// The cosine of two prefixes, each renormalised.
    case cosine
    /// The raw dot product of two prefixes.
    case dot
}

/// One step of a plan: keep the best `keep` by similarity over the first `dimensions`.
public struct Stage: Sendable, Hashable {
    /// Length of the prefix that is compared.
    public var dimensions: Int
    /// How many rows go on to the next stage.
    public var keep: Int
    /// As what the prefix is read; nil leaves it to the collection (resident score first, float32 last).
    public var precision: Precision?

    /// Makes a stage; a plan checks it.
    public init(dimensions: Int, keep: Int, precision: Precision? = nil) {
        self.dimensions = dimensions
        self.keep = keep
        self.precision = precision
    }
}

/// Stages of a search, from few dimensions and many rows to all dimensions and k rows (adaptive retrieval and funnel:
/// Kusupati et al.
///
/// 2022, §4.3.1).
public struct Plan: Sendable, Hashable, CustomStringConvertible {
    /// In the order in which they run.
    public var stages: [Stage]

    /// Makes a plan that is not yet checked; see ``resolved(in:)``.
    public init(stages: [Stage]) { self.stages = stages }

    /// The plan of a request that names none: scan the resident head, rerank at full size.
    ///
    /// - Parameters:
    ///   - k: Hits asked for.
    ///   - space: What the collection allows.
    /// - Returns: A plan that resolves in `space`.
    public static func standard(k: Int, in space: PlanSpace) -> Plan {
        let full = space.dimensions
        let first = max(space.smallestEarly, min(64, space.residentWidth))
        if first > space.residentWidth || first >= full {
            return Plan(stages: [Stage(dimensions: full, keep: k)])
        }
        let keep = max(k, min(max(40 * k, 400), 2000))
        return Plan(stages: [Stage(dimensions: first, keep: keep), Stage(dimensions: full, keep: k)])
    }

    /// Description.
    public var description: String {
        stages.map { stage in
            let suffix = stage.precision.map { "," + $0.rawValue } ?? ""
            return "(\(stage.dimensions),\(stage.keep)\(suffix))"
        }.joined(separator: " ")
    }
}

/// What a collection allows a plan to ask for.
public struct PlanSpace: Sendable, Hashable {
    /// Full size D of the stored vectors.
    public var dimensions: Int
    /// Smallest size that the model was trained for; equals `dimensions` where it is not Matryoshka.
    public var smallestDimensions: Int
    /// False: only the full size is legal, for the last stage at least.
    public var isMatryoshka: Bool
    /// All stages but the last are scored in a basis whose first dimensions count most: any size is legal for them.
    public var isRotated: Bool
    /// H: dimensions that shortlist workers hold.
    public var residentWidth: Int
    /// As what they hold them: int8 or float32.
    public var residentPrecision: Precision
    /// Dimensions whose bits they hold beside; 0 where none are.
    public var bitWidth: Int

    /// Smallest size of any stage but the last.
    var smallestEarly: Int { isMatryoshka ? smallestDimensions : isRotated ? 1 : dimensions }
    /// Smallest size of the last stage, which is scored on the vector as it is stored.
    var smallestLast: Int { isMatryoshka ? smallestDimensions : dimensions }

    /// Makes a space; `smallestDimensions <= dimensions`, `residentWidth <= dimensions`, `bitWidth <= dimensions`.
    public init(
        dimensions: Int,
        smallestDimensions: Int,
        isMatryoshka: Bool = true,
        isRotated: Bool = false,
        residentWidth: Int,
        residentPrecision: Precision,
        bitWidth: Int = 0
    ) {
        self.dimensions = dimensions
        self.smallestDimensions = smallestDimensions
        self.isMatryoshka = isMatryoshka
        self.isRotated = isRotated
        self.residentWidth = residentWidth
        self.residentPrecision = residentPrecision
        self.bitWidth = bitWidth
    }
}

/// The limits that `hello` tells (proto-docs, "Limits").
public enum SearchLimits {
    /// Rows that a stage may keep.
    public static let keepMax = 65_536
    /// Hits that a search may ask for.
    public static let hitsMax = 10_000
    /// Queries in one batch.
    public static let batchMax = 256
    /// Queries times the widest keep.
    public static let batchRowsMax = 1_000_000
    /// Stages of a plan.
    public static let stagesMax = 16
    /// Multiply-adds that may go into turning rows between the first and the last stage of a rotated collection, for a
    /// query: a second or two of one core.
    public static let turningMax = 1 << 32
}

/// Why a plan is refused.
///
/// ``field`` names the place, ``allowed`` what would pass.
public struct PlanError: Error, Sendable, Hashable {
    /// For example `plan[1].keep`.
    public var field: String
    /// One sentence.
    public var message: String
    /// What is allowed there, for people.
    public var allowed: String
    /// True where the plan is legal but this build does not serve it.
    public var isUnsupported: Bool

    /// Makes an error.
    public init(field: String, message: String, allowed: String, isUnsupported: Bool = false) {
        self.field = field
        self.message = message
        self.allowed = allowed
        self.isUnsupported = isUnsupported
    }
}

/// A plan that a collection can run, with each stage's place decided.
public struct ResolvedPlan: Sendable, Hashable {
    /// One stage with its precision decided.
    public struct Step: Sendable, Hashable {
        /// Length of the prefix.
        public var dimensions: Int
        /// Rows that go on.
        public var keep: Int
        /// bit, int8 or float32 where resident; float16 or float32 at the rerank workers.
        public var precision: Precision

        /// Makes a step.
        public init(dimensions: Int, keep: Int, precision: Precision) {
            self.dimensions = dimensions
            self.keep = keep
            self.precision = precision
        }
    }

    /// All steps in order; never empty.
    public var steps: [Step]
    /// How many of the first steps the shortlist workers score.
    ///
    /// 0: rerank workers scan all rows for the first step.
    public var residentCount: Int

    /// Makes a resolved plan; used by ``Plan/resolved(in:)`` and by decoders.
    public init(steps: [Step], residentCount: Int) {
        self.steps = steps
        self.residentCount = residentCount
    }

    /// Hits of the plan.
    public var k: Int { steps[steps.count - 1].keep }
    /// No head can start this plan: rerank workers scan their slots.
    public var isExhaustive: Bool { residentCount == 0 }
    /// One float32 stage over all rows at full size: its answer is the truth that other plans approach.
    public func isFullScan(of dimensions: Int) -> Bool {
        isExhaustive && steps.count == 1 && steps[0].dimensions == dimensions && steps[0].precision == .float32
    }
    /// The plan as a reply tells it.
    public var plan: Plan {
        Plan(stages: steps.map { Stage(dimensions: $0.dimensions, keep: $0.keep, precision: $0.precision) })
    }
}

extension Plan {
    /// Checks the plan against a collection and decides where each stage runs.
    ///
    /// A stage is resident while all before it are, it is not the last, and it is a bit stage within the bits that are
    /// held, or is no wider than H and its precision is left open or is the resident one.
    ///
    /// - Throws: ``PlanError`` naming the stage.
    public func resolved(in space: PlanSpace) throws(PlanError) -> ResolvedPlan {
        guard !stages.isEmpty, stages.count <= SearchLimits.stagesMax else {
            throw PlanError(
                field: "plan",
                message: "a plan has \(stages.count) stages",
                allowed: "1 to \(SearchLimits.stagesMax) stages"
            )
        }
        var steps: [ResolvedPlan.Step] = []
        var turning = 0
        var residentCount = 0
        for (index, stage) in stages.enumerated() {
            let isLast = index == stages.count - 1
            let smallest = isLast ? space.smallestLast : space.smallestEarly
            guard stage.dimensions >= smallest, stage.dimensions <= space.dimensions else {
                throw PlanError(
                    field: "plan[\(index)].dimensions",
                    message: "\(stage.dimensions) dimensions are not allowed",
                    allowed: smallest < space.dimensions || space.isMatryoshka
                        ? "\(smallest) to \(space.dimensions)"
                        : space.isRotated
                            ? "\(space.dimensions) only: the last stage is scored on vectors as they are stored"
                            : "\(space.dimensions) only: the collection's model is not Matryoshka"
                )
            }
            guard stage.keep >= 1, stage.keep <= (isLast ? SearchLimits.hitsMax : SearchLimits.keepMax) else {
                throw PlanError(
                    field: "plan[\(index)].keep",
                    message: "keep is \(stage.keep)",
                    allowed: "1 to \(isLast ? SearchLimits.hitsMax : SearchLimits.keepMax)"
                )
            }
            let isFirstWork = residentCount == index && !isLast
            if stage.precision == .bit {
                guard space.bitWidth > 0 else {
                    throw PlanError(
                        field: "plan[\(index)].precision",
                        message: "no sign bits are held of this collection: configure resident_signs",
                        allowed: "int8, float16, float32",
                        isUnsupported: true
                    )
                }
                guard isFirstWork, stage.dimensions <= space.bitWidth else {
                    throw PlanError(
                        field: "plan[\(index)].precision",
                        message: "bits are only held for the first \(space.bitWidth) dimensions, "
                            + "before any wider or more precise stage, and never serve the last stage",
                        allowed: "float16 or float32 for this stage"
                    )
                }
            }
            let mayBeResident =
                isFirstWork
                && (stage.precision == .bit
                    || stage.dimensions <= space.residentWidth
                        && (stage.precision == nil || stage.precision == space.residentPrecision))
            if mayBeResident { residentCount += 1 }
            let precision = stage.precision ?? (mayBeResident ? space.residentPrecision : .float32)
            if space.isRotated, index == 0, !isLast, !mayBeResident {
                throw PlanError(
                    field: "plan[0].dimensions",
                    message: "no shortlist worker holds what this stage reads, and full vectors are not held rotated",
                    allowed: "\(smallest) to \(space.residentWidth) at the resident precision, "
                        + "or \(space.dimensions) as the only stage",
                    isUnsupported: true
                )
            }
            if precision == .int8 && !mayBeResident {
                throw PlanError(
                    field: "plan[\(index)].precision",
                    message: "int8 is only held for the first \(space.residentWidth) dimensions, "
                        + "before any wider or more precise stage, and never serves the last stage",
                    allowed: "float16 or float32 for this stage"
                )
            }
            if let before = steps.last {
                guard
                    stage.dimensions > before.dimensions
                        || (stage.dimensions == before.dimensions && precision > before.precision)
                else {
                    throw PlanError(
                        field: "plan[\(index)].dimensions",
                        message: "\(stage.dimensions) dimensions follow \(before.dimensions)",
                        allowed: "more than \(before.dimensions), or the same at a higher precision"
                    )
                }
                guard stage.keep <= before.keep else {
                    throw PlanError(
                        field: "plan[\(index)].keep",
                        message: "keep grows from \(before.keep) to \(stage.keep)",
                        allowed: "1 to \(before.keep)"
                    )
                }
            }
            if space.isRotated, !mayBeResident, !isLast, let before = steps.last {
                turning += before.keep * stage.dimensions * space.dimensions
                guard turning <= SearchLimits.turningMax else {
                    throw PlanError(
                        field: "plan[\(index - 1)].keep",
                        message: "\(before.keep) vectors would be turned for \(stage.dimensions) of their dimensions",
                        allowed: "at most \(SearchLimits.turningMax) as the sum of keep before · dimensions · "
                            + "\(space.dimensions) over the stages between the first and the last"
                    )
                }
            }
            steps.append(.init(dimensions: stage.dimensions, keep: stage.keep, precision: precision))
        }
        return ResolvedPlan(steps: steps, residentCount: residentCount)
    }
}
