import ServiceRuntime
import ZeroMQ

/// Who is admitted to the coordinator's two sockets: each has an allow-list and a ZAP domain of its own, so that a
/// client's key opens nothing to a worker, and the other way round.
struct GuardedDoors {
    /// Of the socket for clients; nil where nothing beyond this machine can reach it and no list is given.
    let front: CurveOptions?
    /// Of the socket for workers.
    let back: CurveOptions?

    /// Checks keys, lists and endpoints together.
    ///
    /// - Throws: ``StartupFailure`` in one sentence.
    init(_ settings: Settings) throws {
        let lists = [settings[.curveFrontAllowList], settings[.curveBackAllowList]]
        if let list = lists[0], list == lists[1] {
            throw StartupFailure(
                "curve.front_allow_list and curve.back_allow_list are both \(list): clients could register as workers; "
                    + "give each a file of its own"
            )
        }
        guard let secret = settings[.curveSecretKeyFile] else {
            if lists.contains(where: { $0 != nil }) {
                throw StartupFailure(
                    "an allow-list is set without curve.secret_key_file: make a key with mrl keys generate"
                )
            }
            front = nil
            back = nil
            return
        }
        guard lists.contains(where: { $0 != nil }) else {
            throw StartupFailure(
                "curve.secret_key_file is set without curve.front_allow_list or curve.back_allow_list: "
                    + "name the file of admitted keys"
            )
        }
        let pair = try CurveKeyPair(secretKeyFile: secret)
        func options(_ key: SettingKey<String?>, _ domain: String, _ endpoints: [String]) throws -> CurveOptions? {
            if let list = settings[key] {
                return .server(CurveServerOptions(secretKey: pair.secretKey, allowListFile: list, domain: domain))
            }
            for endpoint in endpoints where isReachableFromElsewhere(endpoint) {
                throw StartupFailure(
                    "\(endpoint) can be reached from other machines and needs \(key.setting.name): "
                        + "name the file of admitted keys"
                )
            }
            return nil
        }
        front = try options(.curveFrontAllowList, "front", settings[.coordinatorFront])
        back = try options(.curveBackAllowList, "back", settings[.coordinatorBack])
    }
}
