import Testing
import VectorFiles

#if canImport(Glibc)
import Glibc
#endif

@Suite("Matrix file")
struct MatrixFileTests {
    private func withPath(_ body: (String) throws -> Void) rethrows {
        let path = "/tmp/mrl-matrix-\(getpid())-\(UInt32.random(in: 0 ... .max)).npy"
        defer { unlink(path) }
        try body(path)
    }

    @Test("what was written is read", arguments: [MatrixFile.Element.float32, .float16])
    func floats(element: MatrixFile.Element) throws {
        try withPath { path in
            try MatrixFile.create(path, rows: 3, columns: 2, element: element) { place in
                for number in 0..<6 {
                    if element == .float32 {
                        place.assumingMemoryBound(to: Float.self)[number] = Float(number) / 2
                    } else {
                        place.assumingMemoryBound(to: Float16.self)[number] = Float16(number) / 2
                    }
                }
            }
            let file = try MatrixFile.open(path)
            #expect(file.rows == 3 && file.columns == 2 && file.element == element)
            #expect(file.floats(1..<3) == [1, 1.5, 2, 2.5])
        }
    }

    @Test("the header is NumPy's, its numbers on a cache line")
    func header() throws {
        try withPath { path in
            try MatrixFile.create(path, rows: 2, columns: 1, element: .int32) { place in
                place.storeBytes(of: -1, as: Int32.self)
            }
            #expect(try MatrixFile.open(path).integers(0) == [-1])
            let file = try #require(fopen(path, "r"))
            defer { fclose(file) }
            var bytes = [UInt8](repeating: 0, count: 200)
            let count = fread(&bytes, 1, 200, file)
            #expect(count == 128 + 8)
            let text = String(decoding: bytes[10..<128], as: UTF8.self)
            #expect(
                text.hasPrefix("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 1), }") && text.hasSuffix("\n")
            )
        }
    }

    @Test("other files are refused with a sentence")
    func refused() throws {
        #expect(throws: MatrixFileError.self) { _ = try MatrixFile.open("/nonexistent.npy") }
        #expect(throws: MatrixFileError.self) { _ = try MatrixFile.open("/proc/self/exe") }
    }
}
