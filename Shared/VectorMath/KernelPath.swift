import CVectorKernels

#if canImport(Glibc)
import Glibc
#endif

/// The instruction sets that the kernels are written for.
///
/// All give identical bits.
public enum KernelPath: String, Sendable, Hashable, CaseIterable {
    case portable
    /// 64-bit Arm with dot products of bytes.
    case neon
    case avx2
    case avxvnni
    case avx512
    case avx512vnni
    case amx

    private var number: Int32 {
        switch self {
        case .portable: Int32(MRL_PATH_PORTABLE)
        case .neon: Int32(MRL_PATH_NEON)
        case .avx2: Int32(MRL_PATH_AVX2)
        case .avxvnni: Int32(MRL_PATH_AVXVNNI)
        case .avx512: Int32(MRL_PATH_AVX512)
        case .avx512vnni: Int32(MRL_PATH_AVX512VNNI)
        case .amx: Int32(MRL_PATH_AMX)
        }
    }

    /// Those that this machine and build can run, slowest first; never empty.
    public static let available: [KernelPath] = allCases.filter { mrl_path_supported($0.number) }

    /// The fastest one available, or the one that the environment variable `MRL_KERNELS` names if it is available.
    public static let current: KernelPath = {
        let named = getenv("MRL_KERNELS").flatMap { KernelPath(rawValue: String(cString: $0)) }
        return named.flatMap { available.contains($0) ? $0 : nil } ?? available[available.count - 1]
    }()

    /// The number that the C functions take; an unavailable path is a bug of the caller.
    var checkedNumber: Int32 {
        guard mrl_path_supported(number) else {
            preconditionFailure("kernel path \(rawValue) is not available here")
        }
        return number
    }
}
