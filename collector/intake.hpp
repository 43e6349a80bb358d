// intake: what all sources of a collector share: the logs, the limits, the decoder, the counts, and
// whether records are still taken. Lives as long as the collector. Loop thread only.
#pragma once

#include "access.hpp"
#include "body_decoding.hpp"
#include "gate.hpp"
#include "http_interface.hpp"
#include "http_parser.hpp"
#include "json_decoder.hpp"
#include "named_log.hpp"
#include "queue_status.hpp"

#include <sapwood/clock.hpp>
#include <sapwood/mutex.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace sapwood::collector {

struct collector_limits {
    http_limits http;
    decompression_limits decompression;
    json_limits json;
    /// Of lines and datagrams that are not HTTP; what is longer is cut, and says so.
    std::size_t line_bytes_max = 64u << 10;
    /// Of all sources together. More wait in the backlogs of their listeners.
    std::size_t connections_max = 10'000;
    /// Of one address, or of one user on Unix sockets; 0 is a quarter of connections_max, and where
    /// that is few, as many as connections_few.
    std::size_t connections_per_peer = 0;
    static constexpr std::size_t connections_few = 16;
    /// Of requests that are not whole yet, together. Past it a request that does not come in one
    /// piece is told to come again. Records for which a log has no room are the log's to bound
    /// (named_log_options::queue_bytes): nobody's slow bodies keep others from those. As many again
    /// are for lines that are not whole, past which one that grows is cut.
    std::size_t held_bytes_max = 64u << 20;
    /// Of answers that are not sent, together. Past it requests are told to come again, each
    /// connection's when it has taken what it was told before.
    std::size_t unsent_bytes_max = 64u << 20;
    /// A connection that says nothing for so long is closed.
    clock::duration idle = std::chrono::seconds(75);
    /// From its first byte on, a request's head has to be there in this time, its body in that.
    clock::duration head = std::chrono::seconds(10);
    clock::duration body = std::chrono::seconds(30);
    /// A client that does not take its answers for so long is cut off.
    clock::duration answer = std::chrono::seconds(30);
    /// A record that is not acknowledged after so long: its sender is told that nobody knows.
    clock::duration acknowledgement = std::chrono::seconds(30);

    [[nodiscard]] std::size_t connections_of_a_peer() const noexcept {
        return connections_per_peer != 0 ? connections_per_peer
                                         : std::max(connections_max / 4, connections_few);
    }
};

/// Of all sources, since the start.
struct collector_counts {
    std::uint64_t connections_opened = 0;
    std::uint64_t connections_closed = 0;
    std::uint64_t requests = 0;
    /// Answered with 2xx, 4xx, and 5xx.
    std::uint64_t answers_well = 0;
    std::uint64_t answers_refused = 0;
    std::uint64_t answers_unavailable = 0;
    /// Given to a log.
    std::uint64_t records = 0;
    std::uint64_t record_bytes = 0;
    /// At the moment; see collector_limits::held_bytes_max.
    std::uint64_t held_bytes = 0;
    /// The same of lines.
    std::uint64_t held_line_bytes = 0;
    /// At the moment; see collector_limits::unsent_bytes_max.
    std::uint64_t unsent_bytes = 0;
    /// Taken from sources that are told nothing, and given to no log, because the collector ended.
    std::uint64_t records_left = 0;
    /// Datagrams that the kernel had no room for.
    std::uint64_t datagrams_dropped = 0;
};

/// A line for who runs the collector, on standard error; without what it has beyond PIPE_BUF bytes.
/// Where that cannot be written to, or not now, nothing is said: it is no reason to stop serving.
/// How many lines nobody took is said with the next one that somebody does. Any thread.
void say(std::string_view what);

class intake {
  public:
    explicit intake(const collector_limits& wanted);

    intake(const intake&) = delete;
    intake& operator=(const intake&) = delete;

    /// Null where there is none of that name. The first one is the default's, whose name is empty.
    [[nodiscard]] named_log* find(std::string_view name) noexcept;

    /// One whose disk refuses records, if there is any.
    [[nodiscard]] const named_log* refusing_log() const noexcept;

    enum class given : std::uint8_t {
        taken,
        /// Untouched: there may be room later.
        no_room,
        /// Untouched: this log takes nothing any more.
        refused,
    };

    /// Gives `made` to `to` without waiting. Throws std::bad_alloc.
    [[nodiscard]] given give_now(named_log& to, record& made);

    /// The same, without a copy in between. False where it has to be a record of its own, which may
    /// wait.
    [[nodiscard]] bool give_now(named_log& to, const record_view& made) noexcept;

    /// Records of `bytes` were appended to `to`, the last one at `place`.
    void note_given(named_log& to, lsn place, std::size_t bytes,
                    std::uint64_t records = 1) noexcept {
        counts.records += records;
        counts.record_bytes += bytes;
        to.note_given(bytes, place);
    }

    /// See collector_limits::unsent_bytes_max.
    [[nodiscard]] bool has_too_much_unsent() const noexcept {
        return counts.unsent_bytes > limits.unsent_bytes_max;
    }

    /// A line for who runs the collector, on standard error: one a second, and how many were left
    /// out.
    void tell(std::string_view what);

    /// `Date: ...\r\n`, as of the last look at the clock.
    [[nodiscard]] std::string_view date_field() const noexcept { return date_; }

    /// A whole answer: that of `as` to a request whose records are kept as far as `ack` says, and
    /// that asks for nothing special. Made once for many.
    [[nodiscard]] std::string_view usual_success(const http_interface& as, ack_level ack);

    /// Looks at the clock, for who is satisfied with a quarter of a second: see now, date_field.
    void look_at_clock();

    const collector_limits limits;
    std::deque<named_log> logs;
    std::deque<queue_status> queues;
    /// Of the request or line that is looked at now: nobody keeps it while he waits. What takes
    /// it longer than a body of so many bytes is for the other one.
    static constexpr std::size_t long_body_bytes = 64u << 10;
    body_decoding usual;
    /// Of a long body, which is decoded on a thread: one at a time, and in memory only that one.
    body_decoding long_body;
    mutex long_body_turn;
    collector_counts counts;
    gate_counts gate;
    /// For a handshake of TLS.
    clock::duration tls_handshake = std::chrono::seconds(10);
    access_rules access;
    /// How long a source of datagrams may take what has come when it is told to end.
    clock::duration rest_takes_at_most = std::chrono::seconds(1);
    /// Nobody is to come here any more. Until it drains, who is here is served as before.
    bool is_told_to_end = false;
    /// No new record is taken any more; what was taken is still acknowledged.
    bool is_draining = false;

    /// As of the last look at the clock, and when the next is due: no deadline comes too early.
    clock::time_point now;

    /// How long it is between two looks at the clock.
    static constexpr clock::duration look_every = std::chrono::milliseconds(250);

    /// Changes where an answer to the same head may be another one.
    std::uint64_t generation = 0;

  private:
    clock::time_point may_tell_{};
    std::uint64_t untold_ = 0;
    std::string date_;
    std::chrono::sys_seconds date_second_{};
    /// Of usual_success: whose it is, and of which second.
    const http_interface* usual_of_ = nullptr;
    ack_level usual_ack_ = ack_level::durable;
    std::chrono::sys_seconds usual_second_{};
    std::string usual_;
};

} // namespace sapwood::collector
