// How long a durable pipeline lets a batch fill while its loop is never idle.
#include "support/co_test.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/pipeline.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <liburing.h>
#include <optional>
#include <string>
#include <sys/uio.h>
#include <utility>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;

/// A loop that always has something to do, on a machine whose time passes as the test says.
class busy_machine {
  public:
    busy_machine() : loop_(test::perform) {
        loop_.ring().answer = [this](const io_uring_sqe& sqe) { return answer(sqe); };
    }

    template <class T>
    T run(task<T> main) {
        return loop_.run(std::move(main));
    }

    /// Has a record written, and says how long the batch waited. Its sync then takes `sync_takes`.
    task<clock::duration> write_one(pipeline& log, clock::duration sync_takes) {
        holds_ = true;
        written_at_.reset();
        const auto began = loop_.ring().now();
        record item(level::info, 1, "text");
        const lsn place = co_await log.append(std::move(item));
        while (!held_) {
            loop_.ring().advance(10us);
            co_await yield();
        }
        loop_.ring().advance(sync_takes);
        co_await yield();
        holds_ = false;
        const std::uint64_t held = *std::exchange(held_, std::nullopt);
        for (const io_uring_sqe& sqe : loop_.ring().in_flight()) {
            if (sqe.user_data == held) {
                loop_.ring().complete(held, test::perform(sqe).value());
                break;
            }
        }
        co_await log.durable(place);
        co_return *written_at_ - began;
    }

  private:
    std::optional<std::int32_t> answer(const io_uring_sqe& sqe) {
        const bool syncs = sqe.opcode == IORING_OP_FSYNC ||
                           (sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0);
        if (!holds_ || !syncs) {
            return test::perform(sqe);
        }
        written_at_ = loop_.ring().now();
        held_ = sqe.user_data;
        return std::nullopt;
    }

    test::loop_with_writes loop_;
    bool holds_ = false;
    std::optional<std::uint64_t> held_;
    std::optional<clock::time_point> written_at_;
};

/// Rounded down: it takes some rounds of the loop as well.
std::int64_t hundreds_of_us(clock::duration time) {
    return time / 100us;
}

} // namespace

TEST_SUITE("pipeline_linger") {
    TEST_CASE("a batch waits for half of what syncs have taken of late, and no longer") {
        const test::temporary_directory folder;
        busy_machine machine;
        machine.run([](busy_machine& on, std::string path) -> task<> {
            pipeline_options options;
            options.durable = durability::batch();
            options.linger = 1s;
            const file_sink_options file{.path = path};
            pipeline log = co_await pipeline::open(file, options);
            // Nothing is known before the first.
            CHECK(co_await on.write_one(log, 10ms) <= 200us);
            CHECK(hundreds_of_us(co_await on.write_one(log, 10ms)) == 50);
            CHECK(hundreds_of_us(co_await on.write_one(log, 2ms)) == 50);
            CHECK(hundreds_of_us(co_await on.write_one(log, 2ms)) == 45); // (7 * 10 + 2) / 8 / 2
            for (int i = 0; i < 40; ++i) {
                (void)co_await on.write_one(log, 2ms);
            }
            CHECK(hundreds_of_us(co_await on.write_one(log, 2ms)) == 10);
            co_await log.close();
        }(machine, folder / "log"));
    }

    TEST_CASE("and never longer than the linger") {
        const test::temporary_directory folder;
        busy_machine machine;
        machine.run([](busy_machine& on, std::string path) -> task<> {
            pipeline_options options;
            options.durable = durability::batch();
            options.linger = 1ms;
            const file_sink_options file{.path = path};
            pipeline log = co_await pipeline::open(file, options);
            (void)co_await on.write_one(log, 100ms);
            CHECK(co_await on.write_one(log, 100ms) <= 1200us);
            co_await log.close();
        }(machine, folder / "log"));
    }
}
