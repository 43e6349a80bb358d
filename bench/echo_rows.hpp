// The rows of bench_echo: what was measured of each server, and how sapwood's compare to the marks.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/summary.hpp"

namespace bench {

enum class server_kind { sapwood, by_hand, asio, model };

struct echo_server_program {
    std::string name;
    server_kind kind;
    std::vector<std::string> arguments; // The program, relative to this one's directory, first.
    std::vector<std::pair<std::string, std::string>> environment{};
};

struct echo_load_shape {
    std::size_t connections;
    std::size_t message_bytes;
};

// One of each per round.
struct echo_samples {
    std::vector<double> requests_per_second;
    std::vector<double> p50_us;
    std::vector<double> p99_us;
    std::vector<double> p999_us;
    std::vector<double> cpu_ns; // Of the server, per request.
    // In all the server's life, all rounds together.
    double user_us = 0;
    double system_us = 0;
};

struct echo_row {
    const echo_server_program* server = nullptr;
    echo_load_shape shape{};
    echo_samples measured{};
};

// Of the CPU time per request, in nanoseconds. The kernel samples what was user's: the share is
// that of all rounds together.
[[nodiscard]] double user_ns_of(const echo_row& row);
[[nodiscard]] double system_ns_of(const echo_row& row);

// The row of that server under the same load, null if there is none.
[[nodiscard]] const echo_row* beside(const std::vector<echo_row>& rows, const echo_row& one,
                                     std::string_view server);

// Of one row's CPU per request to another's, within a round.
[[nodiscard]] summary cpu_ratio(const echo_row& one, const echo_row& other);

[[nodiscard]] std::string load_name(const echo_load_shape& shape);

// A mark, all of which are limits: a claim, its number, and what it should be at most.
struct echo_verdict {
    echo_load_shape shape;
    std::string claim;
    double value;
    double mark;

    [[nodiscard]] bool reached() const { return value <= mark; }
};

// For each load, as far as the rows are there.
[[nodiscard]] std::vector<echo_verdict> judge(const std::vector<echo_row>& rows);

} // namespace bench
