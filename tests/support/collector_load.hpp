// Clients of a collector that may be killed at any moment: each has a connection, sends records
// that it can tell from all others, in requests of every kind, several of them at once, and knows
// which it was told are kept. When the collector is there again it goes on: what was not answered
// is sent once more. What is in the log afterwards can so be held against what was said. Loop
// thread only.
#pragma once

#include "support/http_exchange.hpp"

#include <sapwood/endpoint.hpp>
#include <sapwood/task.hpp>

#include <cstddef>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::test {

/// What clients ask for.
enum class load_promise {
    /// Survives the process: requests for what is written, too.
    survives_kill,
    /// Survives the machine: no others than for what is durable.
    survives_power_cut,
};

/// What all clients together have got.
struct load_counts {
    std::size_t requests_acknowledged = 0;
    std::size_t records_acknowledged = 0;
    /// Told to come again: with 503, and a Retry-After.
    std::size_t requests_put_off = 0;
    /// Answers that there is no reason for.
    std::vector<std::string> surprises;
    /// What is acknowledged from now on is none: nothing runs after a power cut, and a file system
    /// that is being shut down says of a sync that meets it that it has succeeded.
    bool is_cut_off = false;
};

class load_client {
  public:
    load_client(unsigned number, unsigned seed, load_promise asked, load_counts& counts);

    struct record {
        std::string text;
        unsigned sent = 0;
        bool is_acknowledged = false;
    };

    /// Connects, and sends until the connection is no more.
    [[nodiscard]] task<> run(endpoint to);

    /// In the order in which they were sent first.
    [[nodiscard]] const std::deque<record>& records() const noexcept { return records_; }

  private:
    struct request {
        std::string bytes;
        /// Of records_.
        std::size_t first = 0;
        std::size_t count = 0;
        bool is_answered = false;
    };

    [[nodiscard]] task<> exchange(stream& with);
    void refill();
    [[nodiscard]] request make_request();
    [[nodiscard]] std::string make_records(std::size_t count, std::string_view between,
                                           bool is_event);
    [[nodiscard]] std::string make_text();
    void take(const http_answer& answer, request& of);

    const unsigned number_;
    const load_promise asked_;
    std::mt19937 random_;
    load_counts& counts_;
    std::deque<record> records_;
    /// Sent, or to be sent.
    std::deque<request> open_;
};

/// The log against what its clients know. All but the last three are to be 0.
struct load_findings {
    /// Acknowledged, and not there as they were sent.
    std::size_t missing = 0;
    /// There more often than they were sent.
    std::size_t repeated = 0;
    /// Never sent, as they stand there.
    std::size_t strange = 0;
    /// Behind one of the same client that was sent later.
    std::size_t disordered = 0;
    /// There, each once or more, and not acknowledged.
    std::size_t unacknowledged = 0;
    std::size_t lines = 0;
    /// One of the first four kinds.
    std::string example;
};

/// `log`, with its segments, is closed.
[[nodiscard]] load_findings findings_of(const std::string& log,
                                        const std::vector<std::unique_ptr<load_client>>& clients);

} // namespace sapwood::test
