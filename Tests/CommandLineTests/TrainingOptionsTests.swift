import ArgumentParser
import Learning
import Testing

@testable import CommandLine

@Suite("Options of a training")
struct TrainingOptionsTests {
    private func sizes(_ arguments: [String], width: Int = 384) throws -> [Int] {
        try NestingOptions.parse(arguments).nesting(width: width).sizes
    }

    @Test("sizes double from 8 to the encoder's own, or as they are said to")
    func nesting() throws {
        #expect(try sizes([]) == [8, 16, 32, 64, 128, 256, 384])
        #expect(try sizes(["--dimensions", "64"]) == [8, 16, 32, 64])
        #expect(try sizes(["--nesting", "12,24, 48"]) == [12, 24, 48])
        #expect(try sizes(["--smallest", "4", "--dimensions", "16"]) == [4, 8, 16])
        #expect(try sizes(["--dimensions", "4"]) == [4])
        #expect(try sizes(["--spacing", "uniform", "--dimensions", "64"]) == [8, 27, 45, 64])
        #expect(try sizes(["--spacing", "uniform", "--sizes", "8", "--smallest", "32"], width: 256).count == 8)
        let weighted = try NestingOptions.parse(["--nesting", "8,16", "--weights", "2,1"]).nesting(width: 16)
        #expect(weighted.weights == [2, 1])
    }

    @Test(
        "what cannot be is refused with what is allowed",
        arguments: [
            (["--nesting", "16,8"], "ascend"), (["--nesting", "8,x"], "\"x\" is not a number"),
            (["--nesting", "8,16", "--dimensions", "32"], "end with the full size, 32"),
            (["--nesting", "8,16", "--weights", "1"], "1 numbers for the 2 sizes 8, 16"),
            (["--nesting", "8,16", "--weights", "1,-1"], "above 0"), (["--sizes", "4"], "--spacing uniform"),
            (["--dimensions", "0"], "allowed are 1 to 4096"),
        ]
    )
    func refused(arguments: [String], problem: String) {
        #expect { try NestingOptions.parse(arguments) } throws: { error in
            NestingOptions.message(for: error).contains(problem)
        }
    }

    @Test(
        "commands refuse methods and options that do not fit, before anything is read",
        arguments: [
            (["static", "--corpus", "x", "--output", "y", "--method", "mrl-e"], "learns from labels"),
            (["static", "--corpus", "x", "--output", "y", "--optimiser", "sgd"], "learns with adam"),
            (["static", "--corpus", "x", "--output", "y", "--batch", "100"], "multiple of 8"),
            (["static", "--corpus", "x", "--output", "y", "--resume"], "--checkpoint DIR"),
            (["adapter", "--corpus", "x", "--output", "y"], "--model"),
            (["adapter", "--output", "y", "--model", "m"], "--query-vectors"),
            (["adapter", "--corpus", "x", "--output", "y", "--model", "m", "--shape", "none"], "linear, hidden"),
            (["classifier", "--texts", "x", "--output", "y", "--method", "ff"], "--model or --vectors"),
            (["classifier", "--texts", "x", "--output", "y", "--columns", "a,b"], "label,text"),
            (["--corpus", "x", "--output", "y", "--validation", "1.5"], "validation"),
        ]
    )
    func contradictions(arguments: [String], problem: String) {
        #expect { try TrainCommand.parseAsRoot(arguments) } throws: { error in
            TrainCommand.message(for: error).contains(problem)
        }
    }

    @Test("without a subcommand a static model is trained")
    func bare() throws {
        let command = try TrainCommand.parseAsRoot(["--corpus", "x.jsonl", "--output", "y", "--dimensions", "512"])
        #expect((command as? TrainStaticCommand)?.corpus == "x.jsonl")
    }
}
