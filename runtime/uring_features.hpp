// What a kernel's ring has, as ring_report tells it.
#pragma once

#include <sapwood/ring_report.hpp>

#include <cstdint>
#include <vector>

namespace sapwood::detail {

/// What was found out about a ring.
struct uring_facts {
    /// IORING_SETUP_ bits that were granted.
    unsigned setup = 0;
    /// IORING_FEAT_ bits.
    unsigned features = 0;
    /// Opcodes below 64 that the kernel has, by their bits.
    std::uint64_t opcodes = 0;
    bool ring_fd_is_registered = false;
    bool has_buffer_rings = false;
};

[[nodiscard]] std::vector<ring_feature> uring_features(const uring_facts& facts);

} // namespace sapwood::detail
