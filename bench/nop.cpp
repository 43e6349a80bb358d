// What does the seam cost? A no-op through plain liburing against the same through sapwood's ring:
// staged, entered and reaped, one at a time and in batches of 64. The unit is nanoseconds per
// operation, the median of the rounds. Every completion's user_data is checked. The mark is at most
// 2 ns more per operation than plain liburing with the same setup flags.
//
// poll_ring is shown beside them: it needs no system call for a no-op, so its row says only what
// interpreting an SQE costs.
#include "harness/rounds.hpp"
#include "harness/summary.hpp"
#include "harness/table.hpp"
#include "make_ring.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <functional>
#include <liburing.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr unsigned rounds = 21;
constexpr unsigned operations = 256 * 1024;
constexpr unsigned entries = 256;

void require(bool is_right) {
    if (!is_right) {
        throw std::runtime_error("a completion is not that of the operation before it");
    }
}

class plain_ring {
  public:
    plain_ring() {
        io_uring_params params{};
        params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                       IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL;
        const int outcome = ::io_uring_queue_init_params(entries, &uring_, &params);
        if (outcome < 0) {
            throw std::runtime_error(fmt::format("no io_uring: {}", std::strerror(-outcome)));
        }
        (void)::io_uring_register_ring_fd(&uring_);
    }

    plain_ring(const plain_ring&) = delete;
    plain_ring& operator=(const plain_ring&) = delete;

    ~plain_ring() { ::io_uring_queue_exit(&uring_); }

    void run(unsigned batch) {
        std::uint64_t expected = 0;
        for (unsigned done = 0; done < operations; done += batch) {
            for (unsigned i = 0; i < batch; ++i) {
                io_uring_sqe* const sqe = ::io_uring_get_sqe(&uring_);
                ::io_uring_prep_nop(sqe);
                sqe->user_data = done + i;
            }
            ::io_uring_submit_and_wait(&uring_, batch);
            unsigned head = 0;
            unsigned count = 0;
            io_uring_cqe* cqe = nullptr;
            io_uring_for_each_cqe(&uring_, head, cqe) {
                require(cqe->user_data == expected++);
                ++count;
            }
            ::io_uring_cq_advance(&uring_, count);
        }
        require(expected == operations);
    }

  private:
    io_uring uring_{};
};

void run_through_seam(sapwood::ring& ring, unsigned batch) {
    std::uint64_t expected = 0;
    for (unsigned done = 0; done < operations; done += batch) {
        for (unsigned i = 0; i < batch; ++i) {
            io_uring_sqe* const sqe = ring.next_sqe();
            ::io_uring_prep_nop(sqe);
            sqe->user_data = done + i;
        }
        ring.enter(sapwood::ring::no_deadline);
        ring.reap([&](std::uint64_t user_data, std::int32_t, std::uint32_t) {
            require(user_data == expected++);
        });
    }
    require(expected == operations);
}

struct configuration {
    std::string name;
    unsigned batch;
    std::function<void(unsigned)> run;
    std::vector<double> nanoseconds{};
};

int measure_all() {
    plain_ring plain;
    const auto uring = sapwood::make_ring({.ring = sapwood::ring_kind::io_uring});
    const auto poll = sapwood::make_ring({.ring = sapwood::ring_kind::poll});
    std::vector<configuration> all;
    for (const unsigned batch : {1u, 64u}) {
        all.push_back({"plain liburing", batch, [&](unsigned size) { plain.run(size); }});
        all.push_back(
            {"sapwood, io_uring", batch, [&](unsigned size) { run_through_seam(*uring, size); }});
        all.push_back({"sapwood, epoll and threads", batch,
                       [&](unsigned size) { run_through_seam(*poll, size); }});
    }
    std::vector<std::string> names;
    for (const auto& one : all) {
        names.push_back(fmt::format("{} x{}", one.name, one.batch));
        one.run(one.batch); // to warm up
    }
    bench::run_interleaved(rounds, names, [&](std::size_t i) {
        const auto before = std::chrono::steady_clock::now();
        all[i].run(all[i].batch);
        const std::chrono::duration<double, std::nano> took =
            std::chrono::steady_clock::now() - before;
        all[i].nanoseconds.push_back(took.count() / operations);
    });
    bench::table rows({{.head = "no-op", .side = bench::align::left},
                       {.head = "batch"},
                       {.head = "ns/op"},
                       {.head = "min"},
                       {.head = "max"}});
    for (const auto& one : all) {
        const auto result = bench::summarize(one.nanoseconds);
        rows.add_row({one.name, fmt::format("{}", one.batch), fmt::format("{:.1f}", result.median),
                      fmt::format("{:.1f}", result.min), fmt::format("{:.1f}", result.max)});
    }
    rows.print(stdout);
    return EXIT_SUCCESS;
}

} // namespace

int main() {
    try {
        return measure_all();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "bench_nop: %s\n", failure.what());
        return EXIT_FAILURE;
    }
}
