#if canImport(Glibc)
import Glibc
#endif

/// Lines over two axes, as SVG text.
public struct LinePlot: Sendable {
    /// One line with its marks.
    public struct Series: Sendable {
        /// What the legend calls it.
        public var name: String
        /// Drawn in this order.
        public var points: [(x: Double, y: Double)]
        /// Drawn on top, thicker.
        public var isEmphasised: Bool
        /// How far the true value may lie above or below each point; empty for points without an interval.
        public var spreads: [Double]

        /// Makes a series.
        public init(
            name: String,
            points: [(x: Double, y: Double)],
            isEmphasised: Bool = false,
            spreads: [Double] = []
        ) {
            precondition(spreads.isEmpty || spreads.count == points.count, "a spread for each point, or none")
            self.name = name
            self.points = points
            self.isEmphasised = isEmphasised
            self.spreads = spreads
        }
    }

    /// How values lie on an axis.
    public enum Scale: Sendable, Hashable {
        case linear, logarithmic
    }

    /// Above the plot.
    public var title: String
    /// Below the horizontal axis, with its unit.
    public var xLabel: String
    /// Beside the vertical axis, with its unit.
    public var yLabel: String
    /// Left and right end of the horizontal axis; points beyond are left out.
    public var xRange: ClosedRange<Double>
    /// What is drawn.
    public var series: [Series]
    /// Of the horizontal axis; a logarithmic one begins above 0.
    public var xScale = Scale.linear
    /// Values that the horizontal axis names; round ones where empty.
    public var xTicks: [Double] = []
    /// Of the vertical axis; a logarithmic one leaves out what is not above 0.
    public var yScale = Scale.logarithmic

    /// Makes a plot with a linear horizontal and a logarithmic vertical axis.
    public init(title: String, xLabel: String, yLabel: String, xRange: ClosedRange<Double>, series: [Series]) {
        precondition(xRange.lowerBound < xRange.upperBound, "an axis has a length")
        self.title = title
        self.xLabel = xLabel
        self.yLabel = yLabel
        self.xRange = xRange
        self.series = series
    }

    private static let (width, height) = (860.0, 520.0)
    private static let (left, right, top, bottom) = (76.0, 250.0, 44.0, 60.0)
    /// Told apart without colour too, by the marks.
    private static let colours = [
        "#0b5fa5", "#d1495b", "#2e8b57", "#e08e0b", "#6a4c93", "#5c677d", "#00838f", "#8d5524",
    ]

    /// The whole document.
    public var svg: String {
        let shown = series.map(visible)
        let plotWidth = Self.width - Self.left - Self.right
        let plotHeight = Self.height - Self.top - Self.bottom
        let across = Axis(scale: xScale, range: xRange, named: xTicks)
        let up = Axis(scale: yScale, holding: shown)
        func x(_ value: Double) -> Double { Self.left + plotWidth * across.share(value) }
        func y(_ value: Double) -> Double { Self.top + plotHeight * (1 - up.share(value)) }
        var out: [String] = [
            """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(Self.text(Self.width)) \(Self.text(Self.height))" \
            font-family="sans-serif" font-size="12" fill="#222">
            """,
            "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
            "<text x=\"\(Self.text(Self.left))\" y=\"24\" font-size=\"15\" font-weight=\"bold\">\(Self.escaped(title))</text>",
        ]
        for tick in up.ticks {
            let place = y(tick.value)
            out.append(
                Self.line(Self.left, place, Self.left + plotWidth, place, tick.label == nil ? "#f0f0f0" : "#ccc")
            )
            if let label = tick.label { out.append(Self.label(Self.left - 8, place + 4, "end", label)) }
        }
        for tick in across.ticks {
            let place = x(tick.value)
            out.append(
                Self.line(place, Self.top, place, Self.top + plotHeight, tick.label == nil ? "#f0f0f0" : "#e4e4e4")
            )
            if let label = tick.label {
                out.append(Self.label(place, Self.top + plotHeight + 18, "middle", label))
            }
        }
        out.append(
            """
            <rect x="\(Self.text(Self.left))" y="\(Self.text(Self.top))" width="\(Self.text(plotWidth))" \
            height="\(Self.text(plotHeight))" fill="none" stroke="#666"/>
            """
        )
        out.append(Self.label(Self.left + plotWidth / 2, Self.height - 16, "middle", xLabel))
        let middle = Self.top + plotHeight / 2
        out.append(
            "<text transform=\"translate(20 \(Self.text(middle))) rotate(-90)\" text-anchor=\"middle\">\(Self.escaped(yLabel))</text>"
        )
        let order = shown.indices.filter { !shown[$0].isEmphasised } + shown.indices.filter { shown[$0].isEmphasised }
        for number in order {
            let colour = Self.colours[number % Self.colours.count]
            let weight = shown[number].isEmphasised ? 3.0 : 1.5
            let places = shown[number].points.map { (x($0.x), y($0.y)) }
            if places.count > 1 {
                let path = places.map { "\(Self.text($0.0)),\(Self.text($0.1))" }.joined(separator: " ")
                out.append(
                    "<polyline points=\"\(path)\" fill=\"none\" stroke=\"\(colour)\" stroke-width=\"\(Self.text(weight))\"/>"
                )
            }
            for (point, spread) in zip(shown[number].points, shown[number].spreads) where spread > 0 {
                let ends = (min(1, up.share(point.y + spread)), max(0, up.share(point.y - spread)))
                let (high, low) = (Self.top + plotHeight * (1 - ends.0), Self.top + plotHeight * (1 - ends.1))
                out.append(Self.line(x(point.x), high, x(point.x), low, colour))
                for end in [high, low] { out.append(Self.line(x(point.x) - 3, end, x(point.x) + 3, end, colour)) }
            }
            for place in places { out.append(Self.mark(number, place.0, place.1, colour)) }
            let row = Self.top + 10 + Double(number) * 20
            let start = Self.left + plotWidth + 16
            out.append(
                """
                <line x1="\(Self.text(start))" y1="\(Self.text(row))" x2="\(Self.text(start + 24))" \
                y2="\(Self.text(row))" stroke="\(colour)" stroke-width="\(Self.text(weight))"/>
                """
            )
            out.append(Self.mark(number, start + 12, row, colour))
            out.append(Self.label(start + 32, row + 4, "start", shown[number].name))
        }
        out.append("</svg>")
        return out.joined(separator: "\n") + "\n"
    }

    /// A series without the points that the axes leave out.
    private func visible(_ line: Series) -> Series {
        let kept = line.points.indices.filter { place in
            let point = line.points[place]
            return xRange.contains(point.x) && point.y.isFinite && (yScale == .linear || point.y > 0)
        }
        return Series(
            name: line.name,
            points: kept.map { line.points[$0] },
            isEmphasised: line.isEmphasised,
            spreads: line.spreads.isEmpty ? [] : kept.map { line.spreads[$0] }
        )
    }

    /// Where values lie between the two ends of an axis.
    private struct Axis {
        let scale: Scale
        let range: ClosedRange<Double>
        var named: [Double] = []

        /// From 0 at the beginning to 1 at the end.
        func share(_ value: Double) -> Double {
            switch scale {
            case .linear: return (value - range.lowerBound) / (range.upperBound - range.lowerBound)
            case .logarithmic:
                guard value > 0 else { return 0 }
                return log10(value / range.lowerBound) / log10(range.upperBound / range.lowerBound)
            }
        }

        /// Lines across the plot; those without a label are fine.
        var ticks: [(value: Double, label: String?)] {
            if !named.isEmpty { return named.filter(range.contains).map { ($0, LinePlot.text($0)) } }
            var ticks: [(Double, String?)] = []
            switch scale {
            case .linear:
                let step = Self.step(range.upperBound - range.lowerBound)
                var tick = (range.lowerBound / step).rounded(.up) * step
                while tick <= range.upperBound + step / 1000 {
                    ticks.append((tick, LinePlot.text(tick)))
                    tick += step
                }
            case .logarithmic:
                let decades = Int(log10(range.lowerBound).rounded(.down))...Int(log10(range.upperBound).rounded(.up))
                for decade in decades {
                    let value = pow(10, Double(decade))
                    ticks.append((value, LinePlot.power(decade)))
                    ticks += (2...9).map { (value * Double($0), nil) }
                }
                // Rounding must not lose the ends.
                ticks.removeAll { !(-1e-9...1 + 1e-9).contains(share($0.0)) }
            }
            return ticks
        }

        init(scale: Scale, range: ClosedRange<Double>, named: [Double]) {
            precondition(scale == .linear || range.lowerBound > 0, "a logarithmic axis begins above 0")
            self.scale = scale
            self.range = range
            self.named = named
        }

        /// An axis with room for all points and their intervals: whole decades, or whole steps.
        init(scale: Scale, holding series: [Series]) {
            self.scale = scale
            let values = series.flatMap { $0.points.map(\.y) }
            switch scale {
            case .logarithmic:
                let lowest = Int(log10(values.min() ?? 1).rounded(.down))
                let highest = max(lowest + 1, Int(log10(values.max() ?? 10).rounded(.up)))
                range = pow(10, Double(lowest))...pow(10, Double(highest))
            case .linear:
                let spreads = series.flatMap { line in
                    zip(line.points, line.spreads).flatMap { [$0.y - $1, $0.y + $1] }
                }
                let (low, high) = ((values + spreads).min() ?? 0, (values + spreads).max() ?? 1)
                let step = Self.step(max(high - low, 1e-9))
                range = (low / step).rounded(.down) * step...((high / step).rounded(.down) + 1) * step
            }
        }

        /// 1, 2 or 5 times a power of ten, so that an axis gets five to ten ticks.
        private static func step(_ length: Double) -> Double {
            let power = pow(10, log10(length).rounded(.down))
            return [0.1, 0.2, 0.5, 1].map { $0 * power }.first { length / $0 <= 10.001 } ?? power
        }
    }

    /// 1,000,000 as `1M`.
    private static func power(_ decade: Int) -> String {
        switch decade {
        case 0...2: String(Int(pow(10, Double(decade))))
        case 3...5: String(Int(pow(10, Double(decade - 3)))) + "k"
        case 6...8: String(Int(pow(10, Double(decade - 6)))) + "M"
        case -3..<0: text(pow(10, Double(decade)))
        default: "1e\(decade)"
        }
    }

    private static func mark(_ series: Int, _ x: Double, _ y: Double, _ colour: String) -> String {
        let r = 4.0
        switch series / colours.count % 2 == 0 ? series % 4 : (series + 1) % 4 {
        case 0: return "<circle cx=\"\(text(x))\" cy=\"\(text(y))\" r=\"\(text(r))\" fill=\"\(colour)\"/>"
        case 1:
            return "<rect x=\"\(text(x - r))\" y=\"\(text(y - r))\" width=\"8\" height=\"8\" fill=\"\(colour)\"/>"
        case 2:
            let corners = [(x, y - r - 1), (x + r + 1, y + r), (x - r - 1, y + r)]
            let path = corners.map { "\(text($0.0)),\(text($0.1))" }.joined(separator: " ")
            return "<polygon points=\"\(path)\" fill=\"\(colour)\"/>"
        default:
            let corners = [(x, y - r - 1), (x + r + 1, y), (x, y + r + 1), (x - r - 1, y)]
            let path = corners.map { "\(text($0.0)),\(text($0.1))" }.joined(separator: " ")
            return "<polygon points=\"\(path)\" fill=\"#fff\" stroke=\"\(colour)\" stroke-width=\"2\"/>"
        }
    }

    private static func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ colour: String) -> String {
        "<line x1=\"\(text(x1))\" y1=\"\(text(y1))\" x2=\"\(text(x2))\" y2=\"\(text(y2))\" stroke=\"\(colour)\"/>"
    }

    private static func label(_ x: Double, _ y: Double, _ anchor: String, _ label: String) -> String {
        "<text x=\"\(text(x))\" y=\"\(text(y))\" text-anchor=\"\(anchor)\">\(escaped(label))</text>"
    }

    private static func escaped(_ text: String) -> String {
        var out = ""
        for character in text {
            switch character {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            default: out.append(character)
            }
        }
        return out
    }

    /// At most three digits after the point.
    private static func text(_ value: Double) -> String {
        let thousandths = Int((value.magnitude * 1000).rounded())
        var text = String(thousandths / 1000)
        if thousandths % 1000 != 0 {
            var digits = String(thousandths % 1000 + 1000).dropFirst()
            while digits.last == "0" { digits.removeLast() }
            text += "." + digits
        }
        return value < 0 && thousandths > 0 ? "-" + text : text
    }
}
