import CPlatform
import FoundationEssentials
import Glibc

/// Why a process cannot start or go on, as one sentence for the person who started it.
public struct StartupFailure: Error, Equatable, CustomStringConvertible {
    /// What is wrong and what to change, without a newline.
    public let sentence: String

    /// Wraps the sentence.
    public init(_ sentence: String) {
        self.sentence = sentence
    }

    /// The sentence.
    public var description: String { sentence }
}

/// What a process knows and wants about itself.
public enum ServiceProcess {
    /// Microseconds on the monotonic clock.
    public static func monotonicMicroseconds() -> UInt64 {
        platform_monotonic_microseconds()
    }

    /// Bytes of memory in use now, 0 when the system does not tell.
    public static func residentBytes() -> Int {
        Int(platform_resident_bytes())
    }

    /// Gives freed memory back to the system; takes milliseconds, so not while requests wait.
    public static func returnFreeMemory() { platform_return_free_memory() }

    /// Raises the limit of open files as far as allowed: with too few, accepting connections spins.
    ///
    /// - Returns: The limit now in force.
    @discardableResult
    public static func raiseOpenFileLimit() -> Int {
        Int(clamping: platform_raise_open_file_limit())
    }

    /// Names the calling thread as seen in `ps` and `top`, cut at 15 bytes.
    public static func nameThread(_ name: String) {
        platform_name_thread(name)
    }

    /// The environment variables of this process.
    public static var environment: [String: String] {
        ProcessInfo.processInfo.environment
    }

    /// Whether this process acts as root.
    public static var isRoot: Bool { geteuid() == 0 }

    /// The last part of the path this process was started by.
    public static var name: String {
        let path = CommandLine.arguments.first ?? "matryoshka"
        return String(path.split(separator: "/").last ?? "matryoshka")
    }
}

/// Runs the process; a failure is printed as one line on standard error and ends it with status 1.
public func runProcess(_ body: () throws -> Void) {
    do {
        try body()
    } catch let failure as StartupFailure {
        dieWith(failure.sentence)
    } catch {
        dieWith("\(error)")
    }
}

/// Prints `name: sentence` on standard error and ends the process with status 1.
public func dieWith(_ sentence: String) -> Never {
    let line = sentence.split(whereSeparator: \.isNewline).joined(separator: " ")
    writeToStandardError("\(ServiceProcess.name): \(line)\n")
    exit(1)
}

/// Ends the process with status 0 at once, running no destructors that might wait for other threads.
public func exitCleanly() -> Never {
    fflush(nil)
    _exit(0)
}

/// One write for the whole text, so that lines of several threads and processes do not mix.
func writeToStandardError(_ text: String) {
    var text = text
    text.withUTF8 { bytes in
        var rest = UnsafeRawBufferPointer(bytes)
        while rest.count > 0 {
            let count = write(STDERR_FILENO, rest.baseAddress, rest.count)
            if count < 0 {
                if errno == EINTR { continue }
                return
            }
            rest = .init(rebasing: rest.dropFirst(count))
        }
    }
}
