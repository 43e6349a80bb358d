// Loads a collector from one thread, over loopback, and remembers what was acknowledged. Every
// record has a number of its own, by which it is found in the log afterwards. Waits by epoll.
// Throws std::runtime_error where the collector says what it should not.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/histogram.hpp"

namespace bench {

/// Numbers of records, from 0 on.
class record_numbers {
  public:
    void add(std::uint64_t number);
    [[nodiscard]] bool has(std::uint64_t number) const;

    [[nodiscard]] std::uint64_t count() const { return count_; }

  private:
    std::vector<bool> is_there_;
    std::uint64_t count_ = 0;
};

/// A record of 130 bytes, with its number in it.
[[nodiscard]] std::string record_of(std::uint64_t number);

/// The number of the record in a line of a log.
[[nodiscard]] std::uint64_t number_in(std::string_view line);

struct http_load_shape {
    std::size_t connections = 64;
    /// In a request.
    std::size_t records = 1;
    std::string target = "/log";
    /// Requests in a second, whether they are answered or not; 0: each connection sends when it has
    /// its answer.
    double rate = 0;
};

struct http_counts {
    std::uint64_t sent = 0;
    std::uint64_t acknowledged = 0;
    std::uint64_t refused = 0;
    /// Of an open load: those for which the connections had no room.
    std::uint64_t skipped = 0;
};

class http_load {
  public:
    http_load(std::uint16_t port, http_load_shape shape);
    http_load(const http_load&) = delete;
    http_load& operator=(const http_load&) = delete;
    ~http_load();

    /// Sends for so long; what is under way then is waited for. Latencies in ns, of each request.
    http_counts run(std::chrono::nanoseconds time, histogram& latencies);

    [[nodiscard]] const record_numbers& acknowledged() const { return acknowledged_; }

    /// How many numbers records have had so far.
    [[nodiscard]] std::uint64_t given() const { return next_number_; }

  private:
    struct connection;

    void send_one(connection& on);
    void write(connection& to);
    void read(connection& from, histogram& latencies, bool goes_on);
    void wait(int timeout_ms, histogram& latencies, bool goes_on);

    const http_load_shape shape_;
    int epoll_ = -1;
    std::vector<connection> connections_;
    std::uint64_t next_number_ = 0;
    std::size_t under_way_ = 0;
    http_counts counts_;
    record_numbers acknowledged_;
};

/// Connects, and says nothing, so often; -1 is none.
[[nodiscard]] std::vector<int> connect_silent(std::uint16_t port, std::size_t count);

/// Connects, posts one record, waits for its answer, closes; one after the other, so many in a
/// second, or as fast as it goes with a `rate` of 0. Returns how many there were.
[[nodiscard]] std::uint64_t come_and_go(std::uint16_t port, std::chrono::nanoseconds time,
                                        double rate);

struct line_counts {
    std::uint64_t lines = 0;
    std::chrono::nanoseconds took{};
};

/// Lines over `writers` Unix streams for so long, until the collector has read all of them.
[[nodiscard]] line_counts write_lines(const std::string& path, std::size_t writers,
                                      std::chrono::nanoseconds time);

} // namespace bench
