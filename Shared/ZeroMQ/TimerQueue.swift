/// Names a timer of an ``EventLoop``.
public struct TimerID: Sendable, Hashable {
    let slot: UInt32
    let generation: UInt32
}

/// Timers by deadline, then by the order they were added.
///
/// Cancelling frees the job at once; its place in the heap is
/// swept when half of them are dead.
struct TimerQueue {
    private struct Slot {
        var generation: UInt32
        var job: (() -> Void)?
    }

    private struct Entry {
        let deadline: UInt64
        let sequence: UInt64
        let slot: UInt32

        static func < (left: Entry, right: Entry) -> Bool {
            (left.deadline, left.sequence) < (right.deadline, right.sequence)
        }
    }

    private var heap: [Entry] = []
    private var slots: [Slot] = []
    private var freeSlots: [UInt32] = []
    private var sequence: UInt64 = 0
    private(set) var liveCount = 0

    mutating func add(deadline: UInt64, _ job: @escaping () -> Void) -> TimerID {
        let slot: UInt32
        if let free = freeSlots.popLast() {
            slot = free
            slots[Int(slot)].job = job
        } else {
            slot = UInt32(slots.count)
            slots.append(Slot(generation: 0, job: job))
        }
        sequence += 1
        heap.append(Entry(deadline: deadline, sequence: sequence, slot: slot))
        siftUp(heap.count - 1)
        liveCount += 1
        return TimerID(slot: slot, generation: slots[Int(slot)].generation)
    }

    mutating func cancel(_ timer: TimerID) {
        let slot = Int(timer.slot)
        guard slot < slots.count, slots[slot].generation == timer.generation, slots[slot].job != nil else { return }
        slots[slot].job = nil
        liveCount -= 1
        if heap.count > 64 && liveCount < heap.count / 2 { sweep() }
    }

    /// When the next job is due, nil when there is none.
    mutating func nextDeadline() -> UInt64? {
        dropDead()
        return heap.first?.deadline
    }

    /// Takes out the next job that is due.
    mutating func popDue(now: UInt64) -> (() -> Void)? {
        dropDead()
        guard let first = heap.first, first.deadline <= now else { return nil }
        let job = slots[Int(first.slot)].job
        slots[Int(first.slot)].job = nil
        liveCount -= 1
        removeFirst()
        return job
    }

    mutating func removeAll() {
        self = TimerQueue()
    }

    private mutating func dropDead() {
        while let first = heap.first, slots[Int(first.slot)].job == nil { removeFirst() }
    }

    /// Takes out the first entry, whose job is gone, and gives its slot to later timers.
    private mutating func removeFirst() {
        release(heap[0].slot)
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            siftDown(0)
        }
    }

    private mutating func release(_ slot: UInt32) {
        slots[Int(slot)].generation &+= 1
        freeSlots.append(slot)
    }

    private mutating func sweep() {
        for entry in heap where slots[Int(entry.slot)].job == nil { release(entry.slot) }
        // The slot of a dead entry was released just now and cannot have a new job yet.
        heap.removeAll { slots[Int($0.slot)].job == nil }
        for index in stride(from: heap.count / 2 - 1, through: 0, by: -1) { siftDown(index) }
    }

    private mutating func siftUp(_ start: Int) {
        var index = start
        while index > 0 {
            let parent = (index - 1) / 2
            guard heap[index] < heap[parent] else { return }
            heap.swapAt(index, parent)
            index = parent
        }
    }

    private mutating func siftDown(_ start: Int) {
        var index = start
        while true {
            var child = 2 * index + 1
            guard child < heap.count else { return }
            if child + 1 < heap.count && heap[child + 1] < heap[child] { child += 1 }
            guard heap[child] < heap[index] else { return }
            heap.swapAt(index, child)
            index = child
        }
    }
}
