import Evaluation
import FoundationEssentials
import VectorMath

/// What a study found, for people and for programs.
public struct StudyReport: Sendable {
    /// One claim with its verdicts.
    struct Claim: Sendable {
        let number: Int
        let title: String
        let statement: String
        let method: String
        let findings: ClaimFindings

        /// How many parts have each verdict.
        func count(_ verdict: Verdict) -> Int { findings.parts.count { $0.verdict == verdict } }

        /// Of all parts that were measured.
        var verdict: Verdict {
            let measured = findings.parts.map(\.verdict).filter { $0 != .skipped }
            return measured.isEmpty ? .skipped : Verdict(all: measured)
        }

        /// As `contradicted in 1 of 3 parts`.
        var verdictText: String {
            let parts = findings.parts.count
            let skipped = count(.skipped)
            let rest = skipped > 0 && verdict != .skipped ? ", \(skipped) skipped" : ""
            switch verdict {
            case .holds, .skipped: return verdict.rawValue + rest
            case .contradicted, .undecided:
                return parts == 1
                    ? verdict.rawValue : "\(verdict.rawValue) in \(count(verdict)) of \(parts) parts\(rest)"
            }
        }
    }

    let claims: [Claim]
    let seeds: Int
    let processorSeconds: Double
    /// Core types of OpenBLAS behind the results.
    let coreTypes: [String]

    init(claims: [any StudyClaim], results: StudyResults, seeds: Int) {
        self.claims = claims.map { claim in
            Claim(
                number: claim.number,
                title: claim.title,
                statement: claim.statement,
                method: claim.method,
                findings: claim.findings(results)
            )
        }
        self.seeds = seeds
        processorSeconds = results.seconds
        coreTypes = results.cores.sorted()
    }

    /// Whether there is nothing in it: every claim was skipped.
    public var isEmpty: Bool { claims.allSatisfy { $0.verdict == .skipped } }

    /// As `3 hold, 1 contradicted`.
    var summary: String {
        Verdict.allCases.compactMap { verdict in
            let count = claims.count { $0.verdict == verdict }
            guard count > 0 else { return nil }
            return verdict == .holds ? "\(count) hold" : "\(count) \(verdict.rawValue)"
        }.joined(separator: ", ")
    }

    /// How it came about.
    var origin: String {
        "Figures are means of up to \(seeds) seeds with their 95 % intervals (Student's t). "
            + "\(decimal(processorSeconds / 60, digits: 0)) minutes of processor time"
            + (coreTypes.isEmpty ? "." : ", OpenBLAS on \(coreTypes.joined(separator: " and ")).")
    }
}

// MARK: JSON

extension StudyReport {
    private struct File: Encodable {
        struct Claim: Encodable {
            var number: Int
            var title: String
            var statement: String
            var method: String
            var verdict: Verdict
            var parts: [Part]
            var notes: [String]
            var tables: [StudyTable]
        }
        struct Part: Encodable {
            var statement: String
            var verdict: Verdict
            var absence: String?
            var figures: [Figure]
        }
        struct Figure: Encodable {
            var label: String
            var mean: Double
            var halfWidth: Double?
            var values: [Double]
            var unit: String
            var limit: String?
            var verdict: Verdict?

            enum CodingKeys: String, CodingKey {
                case label, mean, values, unit, limit, verdict
                case halfWidth = "half_width"
            }
        }
        var seeds: Int
        var processorSeconds: Double
        var blasCoreTypes: [String]
        var claims: [Claim]

        enum CodingKeys: String, CodingKey {
            case seeds, claims
            case processorSeconds = "processor_seconds"
            case blasCoreTypes = "blas_core_types"
        }
    }

    /// Everything but the plots: claims, parts, figures of every seed, tables.
    ///
    /// - Throws: Where a figure is no finite number.
    public func json() throws -> String {
        let file = File(
            seeds: seeds,
            processorSeconds: processorSeconds,
            blasCoreTypes: coreTypes,
            claims: claims.map { claim in
                File.Claim(
                    number: claim.number,
                    title: claim.title,
                    statement: claim.statement,
                    method: claim.method,
                    verdict: claim.verdict,
                    parts: claim.findings.parts.map { part in
                        File.Part(
                            statement: part.statement,
                            verdict: part.verdict,
                            absence: part.absence,
                            figures: part.findings.map { finding in
                                File.Figure(
                                    label: finding.label,
                                    mean: finding.interval.mean,
                                    halfWidth: finding.interval.halfWidth,
                                    values: finding.values,
                                    unit: String(finding.unit.drop { $0 == " " }),
                                    limit: finding.limit?.text,
                                    verdict: finding.verdict
                                )
                            }
                        )
                    },
                    notes: claim.findings.notes,
                    tables: claim.findings.tables
                )
            }
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(file), as: UTF8.self)
    }
}
