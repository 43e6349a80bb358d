// What poll_ring remembers of an SQE from when it has taken it until its completion is written, and
// the lists in which requests stand. For poll_ring's own sources. Loop thread only, but perform.
#pragma once

#include "poll_ring.hpp"
#include "sqe_calls.hpp"

#include <sapwood/intrusive_list.hpp>

#include <array>
#include <cerrno>
#include <cstdint>

namespace sapwood {

/// An SQE that has been taken, until its completion has been written.
struct poll_ring::request final : worker_pool::job, detail::readiness::waiting, timer {
    /// Who has it.
    enum class place : std::uint8_t {
        /// Nobody: free, behind another one of its chain, or about to start or to complete.
        none,
        /// readiness_: it waits for its descriptor.
        watched,
        /// timers_, or only the count of completions.
        timed,
        disk_workers,
        peer_workers,
    };

    std::int32_t perform() noexcept override {
        return detail::perform(sqe, where == place::peer_workers);
    }

    void fire() noexcept override { ring->finish(*this, -ETIME); }

    poll_ring* ring = nullptr;
    /// The rest of its chain.
    request* rest = nullptr;
    std::int32_t value = 0;
    place where = place::none;
    /// Its worker has been asked to break off.
    bool is_interrupted = false;
    detail::descriptor::kind type = detail::descriptor::kind::other;
    /// Of a timeout that counts: the completion that ends it. 0 for one that does not.
    std::uint64_t last_completion = 0;
    /// In free, starting or overflow.
    detail::list_links<request> links;
    /// In the bucket of its user_data, while it is in flight and may be cancelled.
    detail::list_links<request> bucket_links;
    detail::list_links<request> counted_links;
// The header's io_uring_sqe ends in an array of no size, which we never touch.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
    io_uring_sqe sqe{};
#pragma GCC diagnostic pop
};

struct poll_ring::lists {
    static constexpr std::size_t bucket_count = 256;

    using list = detail::intrusive_list<request, &request::links>;
    using bucket_list = detail::intrusive_list<request, &request::bucket_links>;
    using counted_list = detail::intrusive_list<request, &request::counted_links>;

    [[nodiscard]] bucket_list& bucket(std::uint64_t user_data) noexcept {
        return buckets[(user_data ^ (user_data >> 12) ^ (user_data >> 6)) % bucket_count];
    }

    list free;
    /// To be started, in this order. Chains grow no stack that way.
    list starting;
    /// Completed, and the completion queue was full.
    list overflow;
    counted_list counted;
    std::array<bucket_list, bucket_count> buckets;
};

} // namespace sapwood
