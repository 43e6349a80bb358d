// queue_status: how a queue is that a collector consumes, for whoever asks. A plain value.
#pragma once

#include <cstdint>
#include <string>

namespace sapwood::collector {

struct queue_status {
    /// The queue's, as a word; no two are the same.
    std::string name;
    /// It is consumed now.
    bool is_up = false;
    /// Why not, where that is known.
    std::string why;
    /// Times that it was.
    std::uint64_t connections = 0;
    /// Messages that came, those that came again included.
    std::uint64_t messages = 0;
    /// Of those, whose line was there already.
    std::uint64_t duplicates = 0;
    /// Too long for a record: cut in the log, and rejected.
    std::uint64_t rejected = 0;
    /// Acknowledged on a connection that was there.
    std::uint64_t acknowledged = 0;
    /// Of this moment: taken, and not settled.
    std::uint64_t unsettled = 0;
};

} // namespace sapwood::collector
