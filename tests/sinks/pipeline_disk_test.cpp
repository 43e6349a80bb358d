// A pipeline and its disk: what is acknowledged when, and what becomes of records that the disk
// refuses or loses.
#include "support/co_test.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/errors.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <liburing.h>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using sapwood::durability;
using sapwood::level;
using sapwood::lsn;
using sapwood::numbered_line;
using sapwood::pipeline;
using sapwood::pipeline_options;
using sapwood::record;
using sapwood::task;
using sapwood::when_refused;
using sapwood::test::contents_of;
using sapwood::test::loop_with_writes;
using sapwood::test::perform;
using sapwood::test::temporary_directory;

pipeline_options durable() {
    pipeline_options options;
    options.durable = durability::batch();
    return options;
}

task<pipeline> opened(const std::string& path, pipeline_options options) {
    const sapwood::file_sink_options file{.path = path};
    pipeline log = co_await pipeline::open(file, options);
    log.on_loss([](const std::string&) {});
    co_return log;
}

task<lsn> append(pipeline& log, std::string message) {
    record item(level::info, 7, message);
    co_return co_await log.append(std::move(item));
}

/// The messages of the whole lines of a file, each behind its number: `3 message`.
std::vector<std::string> lines_in(const std::string& path) {
    std::istringstream file(contents_of(path));
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) {
        const auto found = numbered_line::parse(line);
        CHECK(found.is == numbered_line::state::whole);
        // date, time, producer, level
        std::size_t at = numbered_line::head_bytes;
        for (int field = 0; field < 4; ++field) {
            at = line.find(' ', at) + 1;
        }
        lines.push_back(fmt::format("{} {}", sapwood::to_number(found.place), line.substr(at)));
    }
    return lines;
}

bool is_marked(const std::string& path, std::size_t line) {
    std::istringstream file(contents_of(path));
    std::string text;
    for (std::size_t i = 0; i <= line; ++i) {
        std::getline(file, text);
    }
    return numbered_line::parse(text).is_marked;
}

/// A disk whose writes and syncs end as the test says, and otherwise as they do. Time is virtual.
class planned_disk {
  public:
    planned_disk()
        : loop_(
              [this](const io_uring_sqe& sqe) { return on_write_ ? on_write_(sqe) : done(sqe); }) {
        auto usual = loop_.ring().answer;
        loop_.ring().answer = [this, usual](const io_uring_sqe& sqe) {
            if (sqe.opcode != IORING_OP_FSYNC) {
                return usual(sqe);
            }
            if (is_directory(sqe.fd)) {
                ++directory_syncs;
                return on_directory_sync ? on_directory_sync(sqe) : done(sqe);
            }
            synced.push_back(sqe.fd);
            return on_sync ? on_sync(sqe) : done(sqe);
        };
    }

    template <class T>
    T run(task<T> main) {
        return loop_.run(std::move(main));
    }

    using answer = std::function<std::optional<std::int32_t>(const io_uring_sqe&)>;

    void on_write(answer how) { on_write_ = std::move(how); }

    /// Ends an operation of this kind that has not been answered.
    void finish(unsigned opcode, std::optional<int> error = {}) {
        const auto& all = loop_.ring().in_flight();
        const auto found = std::find_if(
            all.begin(), all.end(), [&](const io_uring_sqe& sqe) { return sqe.opcode == opcode; });
        REQUIRE(found != all.end());
        const io_uring_sqe sqe = *found;
        loop_.ring().complete(sqe.user_data, error ? -*error : perform(sqe).value());
    }

    [[nodiscard]] std::size_t waiting(unsigned opcode) {
        const auto& all = loop_.ring().in_flight();
        return static_cast<std::size_t>(std::count_if(
            all.begin(), all.end(), [&](const io_uring_sqe& sqe) { return sqe.opcode == opcode; }));
    }

    answer on_sync;
    answer on_directory_sync;
    std::vector<int> synced;
    int directory_syncs = 0;

    static std::optional<std::int32_t> done(const io_uring_sqe& sqe) { return perform(sqe); }

    static std::optional<std::int32_t> never(const io_uring_sqe&) { return std::nullopt; }

    static answer fails(int error) {
        return [error](const io_uring_sqe&) { return std::optional(-error); };
    }

  private:
    static bool is_directory(int fd) {
        std::error_code ignored;
        return std::filesystem::is_directory(fmt::format("/proc/self/fd/{}", fd), ignored);
    }

    answer on_write_;
    loop_with_writes loop_;
};

/// Returns when every other task has got as far as it can without time passing or the disk
/// answering.
task<> settle() {
    for (int turn = 0; turn < 5; ++turn) {
        co_await sapwood::idle(1h);
    }
}

task<> await_durable(pipeline& log, lsn place, bool& done) {
    co_await log.durable(place);
    done = true;
}

/// How a wait ended: empty, or the error's message.
task<std::string> outcome_of_durable(pipeline& log, lsn place) {
    const auto outcome = co_await as_result(log.durable(place));
    co_return outcome ? "" : outcome.error().message();
}

} // namespace

TEST_SUITE("pipeline_disk") {
    CO_TEST_CASE("append gives each record its number, and lines carry it") {
        const temporary_directory folder;
        pipeline log = co_await opened(folder / "log", durable());
        CHECK(co_await append(log, "one") == lsn{1});
        CHECK(co_await append(log, "two") == lsn{2});
        co_await log.durable(lsn{2});
        CHECK(co_await append(log, "three") == lsn{3});
        co_await log.close();
        CHECK(lines_in(folder / "log") == std::vector<std::string>{"1 one", "2 two", "3 three"});
    }

    CO_TEST_CASE("the first line of each batch is marked: what is above it was on disk") {
        const temporary_directory folder;
        pipeline log = co_await opened(folder / "log", durable());
        (void)co_await append(log, "one");
        co_await log.durable(co_await append(log, "two"));
        co_await log.durable(co_await append(log, "three"));
        co_await log.close();
        CHECK(is_marked(folder / "log", 0));
        CHECK(!is_marked(folder / "log", 1));
        CHECK(is_marked(folder / "log", 2));
    }

    CO_TEST_CASE("a producer's own number stands in the line") {
        const temporary_directory folder;
        pipeline log = co_await opened(folder / "log", durable());
        record item(level::info, 7, "text");
        item.set_sequence(record::sequence_max);
        (void)co_await log.append(std::move(item));
        co_await log.close();
        CHECK(contents_of(folder / "log").find(" 7#281474976710655 info text\n") !=
              std::string::npos);
    }

    CO_TEST_CASE("after a restart the numbers go on") {
        const temporary_directory folder;
        for (const std::uint64_t first : {1u, 3u, 5u}) {
            pipeline log = co_await opened(folder / "log", durable());
            CHECK(log.counts().durable == lsn{first - 1});
            CHECK(co_await append(log, "a") == lsn{first});
            CHECK(co_await append(log, "b") == lsn{first + 1});
            co_await log.close();
        }
        CHECK(lines_in(folder / "log").size() == 6);
    }

    TEST_CASE("written comes with the write, durable with the sync and not before") {
        const temporary_directory folder;
        planned_disk disk;
        disk.run([](planned_disk& the_disk, std::string path) -> task<> {
            pipeline log = co_await opened(path, durable());
            the_disk.on_sync = &planned_disk::never;
            const lsn place = co_await append(log, "text");
            bool is_durable = false;
            auto waiting = sapwood::spawn(await_durable(log, place, is_durable));
            co_await log.written(place);
            co_await settle();
            CHECK(the_disk.waiting(IORING_OP_FSYNC) == 1);
            CHECK(!is_durable);
            CHECK(log.counts().written == lsn{1});
            CHECK(log.counts().durable == lsn::none);
            the_disk.finish(IORING_OP_FSYNC);
            co_await waiting;
            CHECK(is_durable);
            the_disk.on_sync = nullptr;
            co_await log.close();
        }(disk, folder / "log"));
    }

    TEST_CASE("one sync acknowledges everybody; while it is under way the next batch fills") {
        const temporary_directory folder;
        planned_disk disk;
        disk.run([](planned_disk& the_disk, std::string path) -> task<> {
            pipeline log = co_await opened(path, durable());
            the_disk.on_sync = &planned_disk::never;
            constexpr std::size_t producers = 100;
            bool is_durable[2 * producers] = {};
            std::vector<sapwood::join_handle<>> waiting;
            for (std::size_t round = 0; round < 2; ++round) {
                for (std::size_t i = round * producers; i < (round + 1) * producers; ++i) {
                    const lsn place = co_await append(log, fmt::format("{}", i));
                    waiting.push_back(sapwood::spawn(await_durable(log, place, is_durable[i])));
                }
                co_await settle();
                CHECK(the_disk.waiting(IORING_OP_FSYNC) == 1);
            }
            the_disk.finish(IORING_OP_FSYNC);
            co_await settle();
            CHECK(std::count(is_durable, is_durable + 2 * producers, true) == producers);
            CHECK(is_durable[producers - 1]);
            the_disk.finish(IORING_OP_FSYNC);
            for (auto& each : waiting) {
                co_await each;
            }
            CHECK(log.counts().syncs == 2);
            the_disk.on_sync = nullptr;
            co_await log.close();
        }(disk, folder / "log"));
    }

    CO_TEST_CASE("waits may be for any record, in any order, and be cancelled") {
        const temporary_directory folder;
        pipeline log = co_await opened(folder / "log", durable());
        bool done[4] = {};
        std::vector<sapwood::join_handle<>> waiting;
        for (const std::size_t i : {2u, 0u, 3u, 1u}) {
            waiting.push_back(sapwood::spawn(await_durable(log, lsn{i + 1}, done[i])));
        }
        co_await settle();
        waiting[2].cancel(); // for the record that does not come
        (void)co_await append(log, "one");
        (void)co_await append(log, "two");
        co_await log.durable(co_await append(log, "three"));
        co_await settle();
        CHECK(std::count(done, done + 3, true) == 3);
        CHECK(!done[3]);
        CHECK(waiting[2].done());
        co_await log.close();
    }

    CO_TEST_CASE("who waits for a record that never comes is told when the log is closed") {
        const temporary_directory folder;
        pipeline log = co_await opened(folder / "log", durable());
        auto waiting = sapwood::spawn(outcome_of_durable(log, lsn{2}));
        (void)co_await append(log, "one");
        co_await log.close();
        CHECK(co_await waiting == "the channel is closed");
        CHECK(co_await outcome_of_durable(log, lsn{1}) == "");
    }

    TEST_CASE("after a failed sync the lines go into a new segment before they are acknowledged") {
        const temporary_directory folder;
        planned_disk disk;
        disk.run([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            const std::string path = in / "log";
            pipeline log = co_await opened(path, durable());
            co_await log.durable(co_await append(log, "one"));
            const int poisoned = the_disk.synced.back();
            the_disk.synced.clear();
            const int directory_syncs_before = the_disk.directory_syncs;
            int syncs = 0;
            the_disk.on_sync = [&](const io_uring_sqe& sqe) {
                // The kernel says it once; then it has forgotten.
                return syncs++ == 0 ? std::optional(-EIO) : perform(sqe);
            };
            (void)co_await append(log, "two");
            const lsn place = co_await append(log, "three");
            co_await log.durable(place);
            // On disk and under its name before it was acknowledged.
            CHECK(std::count(the_disk.synced.begin(), the_disk.synced.end(), poisoned) == 1);
            CHECK(the_disk.synced.size() == 2);
            CHECK(the_disk.directory_syncs - directory_syncs_before == 2);
            CHECK(lines_in(path) == std::vector<std::string>{"2 two", "3 three"});
            CHECK(is_marked(path, 0));
            CHECK(lines_in(path + ".0000000000000002") ==
                  std::vector<std::string>{"1 one", "2 two", "3 three"});
            CHECK(!std::filesystem::exists(path + ".next"));
            CHECK(log.counts().segments_begun == 1);
            co_await log.durable(co_await append(log, "four"));
            co_await log.close();
            CHECK(lines_in(path) == std::vector<std::string>{"2 two", "3 three", "4 four"});
        }(disk, folder));
    }

    TEST_CASE("a sync that fails again and again is never believed, and acknowledged in the end") {
        const temporary_directory folder;
        planned_disk disk;
        disk.run([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            int syncs = 0;
            the_disk.on_sync = [&](const io_uring_sqe& sqe) {
                return ++syncs < 5 ? std::optional(-EIO) : perform(sqe);
            };
            std::vector<std::string> health;
            log.on_health([&](const sapwood::log_health& now) {
                health.push_back(now.is_degraded() ? now.reason.message() : "healthy");
            });
            co_await log.durable(co_await append(log, "one"));
            CHECK(syncs == 5);
            CHECK(lines_in(in / "log") == std::vector<std::string>{"1 one"});
            CHECK(log.counts().retries == 3);
            CHECK(health == std::vector<std::string>{"Input/output error", "healthy"});
            co_await log.close();
        }(disk, folder));
    }

    TEST_CASE(
        "wherever a new segment fails, it is made all the same, and each line is there once") {
        for (int failing = 1; failing <= 3; ++failing) {
            CAPTURE(failing);
            const temporary_directory folder;
            planned_disk disk;
            disk.run([](planned_disk& the_disk, const temporary_directory& in, int nth) -> task<> {
                pipeline log = co_await opened(in / "log", durable());
                co_await log.durable(co_await append(log, "one"));
                the_disk.on_sync = [first = true](const io_uring_sqe& sqe) mutable {
                    return std::exchange(first, false) ? std::optional(-EIO) : perform(sqe);
                };
                int directory_syncs = 0;
                the_disk.on_directory_sync = [&](const io_uring_sqe& sqe) {
                    return ++directory_syncs == nth ? std::optional(-EIO) : perform(sqe);
                };
                co_await log.durable(co_await append(log, "two"));
                co_await log.durable(co_await append(log, "three"));
                co_await log.close();
                CHECK(lines_in(in / "log") == std::vector<std::string>{"2 two", "3 three"});
                CHECK(lines_in(in / "log.0000000000000002").front() == "1 one");
                CHECK(!std::filesystem::exists(in / "log.next"));
            }(disk, folder, failing));
        }
    }

    TEST_CASE("with an interval the sync comes when it is over") {
        const temporary_directory folder;
        planned_disk disk;
        disk.run([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options;
            options.durable = durability::interval(200ms);
            pipeline log = co_await opened(in / "log", options);
            the_disk.synced.clear();
            const auto began = sapwood::event_loop::current().now();
            co_await log.written(co_await append(log, "one"));
            CHECK(the_disk.synced.empty());
            co_await sapwood::sleep_for(50ms);
            const lsn place = co_await append(log, "two");
            co_await log.durable(place);
            const auto took = sapwood::event_loop::current().now() - began;
            CHECK(took >= 200ms);
            CHECK(took < 210ms);
            CHECK(the_disk.synced.size() == 1);
            co_await log.durable(co_await append(log, "three"));
            co_await log.close();
            CHECK(is_marked(in / "log", 2));
            CHECK(the_disk.synced.size() == 2);
        }(disk, folder));
    }

    TEST_CASE("with an interval what is not synced is bounded, and survives a failed sync") {
        const temporary_directory folder;
        planned_disk disk;
        disk.run([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options;
            options.durable = durability::interval(1h);
            options.unsynced_bytes_max = 300;
            pipeline log = co_await opened(in / "log", options);
            the_disk.on_sync = [first = true](const io_uring_sqe& sqe) mutable {
                return std::exchange(first, false) ? std::optional(-EIO) : perform(sqe);
            };
            for (int i = 1; i <= 5; ++i) {
                co_await log.written(co_await append(log, fmt::format("text {}", i)));
            }
            const auto began = sapwood::event_loop::current().now();
            co_await log.durable(lsn{4});
            CHECK(sapwood::event_loop::current().now() - began < 1s);
            CHECK(log.counts().segments_begun == 1);
            co_await log.close();
            CHECK(lines_in(in / "log").size() >= 5);
            CHECK(lines_in(in / "log").front() == "1 text 1");
        }(disk, folder));
    }

    TEST_CASE("a close has everything on disk, whatever the interval") {
        const temporary_directory folder;
        planned_disk disk;
        disk.run([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options;
            options.durable = durability::interval(1h);
            pipeline log = co_await opened(in / "log", options);
            const lsn place = co_await append(log, "one");
            the_disk.synced.clear();
            co_await log.close();
            CHECK(the_disk.synced.size() == 1);
            CHECK(co_await outcome_of_durable(log, place) == "");
        }(disk, folder));
    }

    TEST_CASE("a segment that is long enough is set aside, and the numbers go on") {
        const temporary_directory folder;
        planned_disk disk;
        disk.run([](planned_disk&, const temporary_directory& in) -> task<> {
            pipeline_options options = durable();
            options.segment_bytes_max = 120;
            {
                pipeline log = co_await opened(in / "log", options);
                for (int i = 1; i <= 5; ++i) {
                    co_await log.durable(co_await append(log, fmt::format("text {}", i)));
                }
                co_await log.close();
            }
            CHECK(lines_in(in / "log.0000000000000003") ==
                  std::vector<std::string>{"1 text 1", "2 text 2"});
            CHECK(lines_in(in / "log.0000000000000005") ==
                  std::vector<std::string>{"3 text 3", "4 text 4"});
            CHECK(lines_in(in / "log") == std::vector<std::string>{"5 text 5"});
            pipeline log = co_await opened(in / "log", options);
            CHECK(co_await append(log, "text 6") == lsn{6});
            co_await log.close();
        }(disk, folder));
    }

    TEST_CASE(
        "a full disk: nothing is acknowledged, and it goes on by itself when there is space") {
        const temporary_directory folder;
        planned_disk disk;
        disk.run([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            int refusals = 0;
            the_disk.on_write([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                // As a kernel does: a part first, then the error.
                if (refusals == 0) {
                    ++refusals;
                    return sapwood::test::perform_some(sqe, 10);
                }
                return ++refusals < 8 ? -ENOSPC : perform(sqe);
            });
            const lsn place = co_await append(log, "one");
            bool is_durable = false;
            auto waiting = sapwood::spawn(await_durable(log, place, is_durable));
            co_await sapwood::sleep_for(15ms);
            CHECK(!is_durable);
            CHECK(log.health().is_degraded());
            CHECK(log.health().reason == std::errc::no_space_on_device);
            CHECK(log.health().text.find(in / "log") != std::string::npos);
            CHECK(contents_of(in / "log").empty()); // no part of a line
            co_await waiting;
            CHECK(!log.health().is_degraded());
            co_await log.close();
            CHECK(lines_in(in / "log") == std::vector<std::string>{"1 one"});
            CHECK(log.counts().lines_lost == 0);
        }(disk, folder));
    }
}
