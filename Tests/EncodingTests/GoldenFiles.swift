import Foundation
import Testing

/// What other programs computed, in the folder `Golden`.
enum GoldenFiles {
    static let folder = Bundle.module.resourcePath! + "/Golden"

    /// A NumPy file of little-endian float32 in C order, without its shape.
    static func floats(_ name: String) throws -> [Float] {
        let data = try Data(contentsOf: URL(fileURLWithPath: folder + "/" + name))
        let header = Int(data[8]) | Int(data[9]) << 8
        let text = String(decoding: data[10..<10 + header], as: UTF8.self)
        try #require(text.contains("'<f4'") && text.contains("'fortran_order': False"))
        let values = data[(10 + header)...]
        return [Float](unsafeUninitializedCapacity: values.count / 4) { buffer, count in
            _ = values.copyBytes(to: UnsafeMutableRawBufferPointer(buffer))
            count = values.count / 4
        }
    }

    /// The largest difference between numbers at the same place; infinite where there are not as many.
    static func difference(_ left: some Collection<Float>, _ right: some Collection<Float>) -> Float {
        guard left.count == right.count else { return .infinity }
        return zip(left, right).reduce(0) { max($0, ($1.0 - $1.1).isNaN ? .infinity : abs($1.0 - $1.1)) }
    }
}
