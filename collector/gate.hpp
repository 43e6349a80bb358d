// gate: what a collector counts of those that it has not let in, or not let go on. Loop thread
// only.
#pragma once

#include <tls/tls_context.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace sapwood::collector {

struct gate_counts {
    /// The last is `broken`; 0 stands for those that did not come to an end in time, or were gone.
    static constexpr std::size_t tls_reasons = static_cast<std::size_t>(tls_errc::broken) + 1;

    std::uint64_t tls_handshakes = 0;
    std::uint64_t tls_resumed = 0;
    std::array<std::uint64_t, tls_reasons> tls_failures{};
    /// Connections that ended without saying so.
    std::uint64_t tls_truncated = 0;
    /// When our certificate ends, in seconds since 1970; 0 where there is none.
    std::int64_t certificate_ends = 0;
    /// Requests with more than their token is for.
    std::uint64_t over_quota = 0;
    /// Connections that had said nothing for long, and were closed to let others in.
    std::uint64_t idle_closed = 0;
    /// Connections that were closed at once, since their peer had its share of them.
    std::uint64_t over_share = 0;
    /// Connections for lines where something else was spoken.
    std::uint64_t no_lines = 0;
    /// Of logs that keep only so many.
    std::uint64_t segments_removed = 0;
    /// Peers and datagrams on Unix sockets whose user is not on the list.
    std::uint64_t users_refused = 0;

    [[nodiscard]] std::uint64_t& failures_of(std::error_code why) noexcept {
        const auto reason = static_cast<std::size_t>(why.value());
        const bool is_known =
            why.category() == tls_category() && reason < tls_reasons && why != tls_errc::truncated;
        return tls_failures[is_known ? reason : 0];
    }
};

} // namespace sapwood::collector
