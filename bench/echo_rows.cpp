#include "echo_rows.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace bench {

namespace {

// What the project wants its own rows to reach.
constexpr double times_liburing_mark = 1.03;
constexpr double times_epoll_mark = 1.05; // On epoll and threads.
constexpr double user_ns_mark = 100;

double share_of_user(const echo_row& row) {
    const double sum = row.measured.user_us + row.measured.system_us;
    return sum > 0 ? row.measured.user_us / sum : 0;
}

double p999_of(const echo_row& row) {
    return summarize(row.measured.p999_us).median;
}

} // namespace

double user_ns_of(const echo_row& row) {
    return summarize(row.measured.cpu_ns).median * share_of_user(row);
}

double system_ns_of(const echo_row& row) {
    return summarize(row.measured.cpu_ns).median * (1 - share_of_user(row));
}

const echo_row* beside(const std::vector<echo_row>& rows, const echo_row& one,
                       std::string_view server) {
    const auto found = std::ranges::find_if(rows, [&](const echo_row& other) {
        return other.server->name == server && other.shape.connections == one.shape.connections &&
               other.shape.message_bytes == one.shape.message_bytes;
    });
    return found == rows.end() ? nullptr : &*found;
}

summary cpu_ratio(const echo_row& one, const echo_row& other) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < one.measured.cpu_ns.size(); ++i) {
        ratios.push_back(one.measured.cpu_ns[i] / other.measured.cpu_ns[i]);
    }
    return summarize(std::move(ratios));
}

std::string load_name(const echo_load_shape& shape) {
    const bool is_small = shape.message_bytes < 1024;
    return fmt::format("{} x {} {}", shape.connections,
                       is_small ? shape.message_bytes : shape.message_bytes / 1024,
                       is_small ? "B" : "KiB");
}

std::vector<echo_verdict> judge(const std::vector<echo_row>& rows) {
    std::vector<echo_verdict> verdicts;
    for (const echo_row& ours : rows) {
        const echo_row* const epoll = beside(rows, ours, "epoll");
        const echo_row* const liburing = beside(rows, ours, "liburing");
        if (ours.server->name == "sapwood, poll" && epoll != nullptr) {
            verdicts.push_back({ours.shape, "on epoll and threads, CPU: times epoll by hand",
                                cpu_ratio(ours, *epoll).median, times_epoll_mark});
        }
        if (ours.server->name != "sapwood") {
            continue;
        }
        if (liburing != nullptr) {
            verdicts.push_back({ours.shape, "CPU: times liburing by hand",
                                cpu_ratio(ours, *liburing).median, times_liburing_mark});
        }
        verdicts.push_back({ours.shape, "user CPU, ns", user_ns_of(ours), user_ns_mark});
        const echo_row* best = nullptr;
        for (const echo_row& other : rows) {
            if (other.server->kind != server_kind::sapwood &&
                beside(rows, ours, other.server->name) == &other &&
                (best == nullptr || p999_of(other) < p999_of(*best))) {
                best = &other;
            }
        }
        if (best != nullptr) {
            verdicts.push_back(
                {ours.shape,
                 fmt::format("p99.9 in us, at most the best peer's ({})", best->server->name),
                 p999_of(ours), p999_of(*best)});
        }
    }
    return verdicts;
}

} // namespace bench
