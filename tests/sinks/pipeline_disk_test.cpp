// A pipeline and its disk: what is acknowledged when, and what becomes of records that the disk
// refuses or loses.
#include "support/allocations.hpp"
#include "support/co_test.hpp"
#include "support/no_frames.hpp"
#include "support/numbered_lines.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/errors.hpp>
#include <sapwood/log_verifier.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <liburing.h>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <sys/uio.h>
#include <unistd.h>
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
using sapwood::test::fill;
using sapwood::test::loop_with_writes;
using sapwood::test::numbered;
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
    using answer = std::function<std::optional<std::int32_t>(const io_uring_sqe&)>;

    /// Whether it knows writes that are synced (RWF_DSYNC), or refuses them.
    explicit planned_disk(bool knows_synced_writes)
        : knows_synced_writes_(knows_synced_writes),
          loop_([this](const io_uring_sqe& sqe) { return write(sqe); }) {
        auto usual = loop_.ring().answer;
        loop_.ring().answer = [this, usual](const io_uring_sqe& sqe) {
            if (sqe.opcode == IORING_OP_CLOSE && on_close) {
                return on_close(sqe);
            }
            if (sqe.opcode != IORING_OP_FSYNC) {
                return usual(sqe);
            }
            if (is_directory(sqe.fd)) {
                ++directory_syncs;
                return on_directory_sync ? on_directory_sync(sqe) : perform(sqe);
            }
            synced.push_back(sqe.fd);
            return on_sync ? on_sync(sqe) : perform(sqe);
        };
    }

    template <class T>
    T run(task<T> main) {
        return loop_.run(std::move(main));
    }

    /// Ends a sync that has not been answered.
    void finish_sync(std::optional<int> error = {}) {
        const auto& all = loop_.ring().in_flight();
        const auto found = std::find_if(all.begin(), all.end(), &is_sync);
        REQUIRE(found != all.end());
        const io_uring_sqe sqe = *found;
        const auto value = sqe.opcode == IORING_OP_FSYNC ? perform(sqe) : written_;
        loop_.ring().complete(sqe.user_data, error ? -*error : value.value());
    }

    void pass(sapwood::clock::duration duration) { loop_.ring().advance(duration); }

    [[nodiscard]] std::ptrdiff_t syncs_waiting() {
        const auto& all = loop_.ring().in_flight();
        return std::count_if(all.begin(), all.end(), &is_sync);
    }

    answer on_write;
    /// Of a file, be it that of a write.
    answer on_sync;
    answer on_directory_sync;
    answer on_close;
    std::vector<int> synced;
    int directory_syncs = 0;

    static std::optional<std::int32_t> never(const io_uring_sqe&) { return std::nullopt; }

  private:
    static bool is_sync(const io_uring_sqe& sqe) {
        return sqe.opcode == IORING_OP_FSYNC ||
               (sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0);
    }

    static bool is_directory(int fd) {
        std::error_code ignored;
        return std::filesystem::is_directory(fmt::format("/proc/self/fd/{}", fd), ignored);
    }

    std::optional<std::int32_t> write(const io_uring_sqe& sqe) {
        const bool is_synced = (sqe.rw_flags & RWF_DSYNC) != 0;
        if (is_synced && !knows_synced_writes_) {
            return -EOPNOTSUPP;
        }
        written_ = on_write ? on_write(sqe) : perform(sqe);
        if (!is_synced || !written_ || *written_ < 0) {
            return written_;
        }
        synced.push_back(sqe.fd);
        if (on_sync) {
            const auto how = on_sync(sqe);
            return how && *how >= 0 ? written_ : how;
        }
        return written_;
    }

    const bool knows_synced_writes_;
    std::optional<std::int32_t> written_;
    loop_with_writes loop_;
};

/// Runs `test(disk, folder)` on a disk that knows writes that are synced, and on one that does not.
template <class Test>
void on_both_disks(Test&& test) {
    for (const bool knows_synced_writes : {false, true}) {
        CAPTURE(knows_synced_writes);
        const temporary_directory folder;
        planned_disk disk(knows_synced_writes);
        disk.run(test(disk, folder));
    }
}

std::optional<std::int32_t> succeed(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_FSYNC ? perform(sqe) : std::optional(0);
}

/// Fails the first time, with EIO, and then says that all is well, as kernels do.
planned_disk::answer fails_once() {
    return [first = true](const io_uring_sqe& sqe) mutable {
        return std::exchange(first, false) ? std::optional(-EIO) : succeed(sqe);
    };
}

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

/// How a wait ended: empty, or the error's message.
task<std::error_code> failure_of_close(pipeline& log) {
    try {
        co_await log.close();
    } catch (const std::system_error& error) {
        co_return error.code();
    }
    co_return std::error_code();
}

task<std::string> outcome_of_written(pipeline& log, lsn place) {
    const auto outcome = co_await as_result(log.written(place));
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
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            the_disk.on_sync = &planned_disk::never;
            const lsn place = co_await append(log, "text");
            bool is_durable = false;
            auto waiting = sapwood::spawn(await_durable(log, place, is_durable));
            co_await log.written(place);
            co_await settle();
            CHECK(the_disk.syncs_waiting() == 1);
            CHECK(!is_durable);
            CHECK(log.counts().written == lsn{1});
            CHECK(log.counts().durable == lsn::none);
            the_disk.finish_sync();
            co_await waiting;
            CHECK(is_durable);
            the_disk.on_sync = nullptr;
            co_await log.close();
        });
    }

    TEST_CASE("one sync acknowledges everybody; while it is under way the next batch fills") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
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
                CHECK(the_disk.syncs_waiting() == 1);
            }
            the_disk.finish_sync();
            co_await settle();
            CHECK(std::count(is_durable, is_durable + 2 * producers, true) == producers);
            CHECK(is_durable[producers - 1]);
            the_disk.finish_sync();
            for (auto& each : waiting) {
                co_await each;
            }
            CHECK(log.counts().syncs == 2);
            the_disk.on_sync = nullptr;
            co_await log.close();
        });
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
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            const std::string path = in / "log";
            pipeline log = co_await opened(path, durable());
            co_await log.durable(co_await append(log, "one"));
            const int poisoned = the_disk.synced.back();
            the_disk.synced.clear();
            const int directory_syncs_before = the_disk.directory_syncs;
            the_disk.on_sync = fails_once();
            std::vector<std::string> health;
            log.on_health([&](const sapwood::log_health& now) {
                health.push_back(now.is_degraded() ? now.reason.message() : "healthy");
            });
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
            CHECK(health == std::vector<std::string>{"Input/output error", "healthy"});
            co_await log.close();
            CHECK(lines_in(path) == std::vector<std::string>{"2 two", "3 three", "4 four"});
        });
    }

    TEST_CASE("a sync that fails again and again is never believed, and acknowledged in the end") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            int syncs = 0;
            the_disk.on_sync = [&](const io_uring_sqe& sqe) {
                return ++syncs < 5 ? std::optional(-EIO) : succeed(sqe);
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
        });
    }

    TEST_CASE(
        "wherever a new segment fails, it is made all the same, and each line is there once") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            for (int failing = 1; failing <= 3; ++failing) {
                CAPTURE(failing);
                const std::string path = in / fmt::format("log{}", failing);
                pipeline log = co_await opened(path, durable());
                co_await log.durable(co_await append(log, "one"));
                the_disk.on_sync = fails_once();
                int directory_syncs = 0;
                the_disk.on_directory_sync = [&](const io_uring_sqe& sqe) {
                    return ++directory_syncs == failing ? std::optional(-EIO) : perform(sqe);
                };
                co_await log.durable(co_await append(log, "two"));
                co_await log.durable(co_await append(log, "three"));
                co_await log.close();
                the_disk.on_directory_sync = nullptr;
                CHECK(lines_in(path) == std::vector<std::string>{"2 two", "3 three"});
                CHECK(lines_in(path + ".0000000000000002").front() == "1 one");
                CHECK(!std::filesystem::exists(path + ".next"));
            }
        });
    }

    TEST_CASE(
        "where a write and its sync are one, and it has left something, its sync has failed") {
        const temporary_directory folder;
        planned_disk disk(true);
        disk.run([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            co_await log.durable(co_await append(log, "one"));
            the_disk.on_sync = fails_once();
            co_await log.durable(co_await append(log, "two"));
            CHECK(log.counts().segments_begun == 1);
            CHECK(lines_in(in / "log") == std::vector<std::string>{"2 two"});
            co_await log.close();
        }(disk, folder));
    }

    TEST_CASE("a disk that has recovered is tried again soon when it fails the next time") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            the_disk.on_write = [](const io_uring_sqe&) { return std::optional(-ENOSPC); };
            const lsn first = co_await append(log, "one");
            co_await sapwood::sleep_for(1min);
            the_disk.on_write = nullptr;
            co_await log.durable(first);
            the_disk.on_write = [refuses = true](const io_uring_sqe& sqe) mutable {
                return std::exchange(refuses, false) ? std::optional(-ENOSPC) : perform(sqe);
            };
            const auto began = sapwood::event_loop::current().now();
            co_await log.durable(co_await append(log, "two"));
            CHECK(sapwood::event_loop::current().now() - began <= 15ms);
            co_await log.close();
        });
    }

    TEST_CASE("a close that fails is told to who awaits it") {
        const temporary_directory folder;
        planned_disk disk(true);
        disk.run([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            log.on_loss([](const std::string& what) { CHECK(what == "told to nobody else"); });
            co_await log.durable(co_await append(log, "one"));
            the_disk.on_close = [](const io_uring_sqe& sqe) {
                (void)perform(sqe);
                return std::optional(-EIO);
            };
            const std::error_code failure = co_await failure_of_close(log);
            CHECK(failure == std::errc::io_error);
            the_disk.on_close = nullptr;
        }(disk, folder));
        CHECK(lines_in(folder / "log") == std::vector<std::string>{"1 one"});
    }

    TEST_CASE("lines of others above a batch are on disk before it, and it is marked") {
        on_both_disks([](planned_disk&, const temporary_directory& in) -> task<> {
            const std::string path = in / "log";
            pipeline log = co_await opened(path, durable());
            for (const char* message : {"one", "two", "three"}) {
                if (message == std::string_view("two")) {
                    std::ofstream(path, std::ios::app) << sapwood::test::numbered(0, "by hand");
                }
                const lsn place = co_await append(log, message);
                co_await log.durable(place);
            }
            std::string marks;
            std::istringstream lines(contents_of(path));
            for (std::string line; std::getline(lines, line);) {
                marks += line[sapwood::numbered_line::mark_at];
            }
            CHECK(marks == "| ||");
            co_await log.close();
        });
    }

    CO_TEST_CASE("with another form numbers begin at 1 with each run") {
        const temporary_directory folder;
        pipeline_options options = durable();
        options.form = sapwood::layout::plain;
        for (int run = 0; run < 2; ++run) {
            pipeline log = co_await opened(folder / "log", options);
            CHECK(co_await append(log, "a record") == lsn{1});
            co_await log.close();
        }
    }

    TEST_CASE("with an interval the sync comes when it is over") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
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
            co_await log.written(co_await append(log, "the next interval's"));
            CHECK(the_disk.synced.size() == 1);
            co_await log.durable(co_await append(log, "three"));
            co_await log.close();
            CHECK(is_marked(in / "log", 2));
            CHECK(!is_marked(in / "log", 3));
            CHECK(the_disk.synced.size() == 2);
        });
    }

    TEST_CASE("with an interval what is not synced is bounded, and survives a failed sync") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options;
            options.durable = durability::interval(1h);
            options.unsynced_bytes_max = 300;
            pipeline log = co_await opened(in / "log", options);
            the_disk.on_sync = fails_once();
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
        });
    }

    TEST_CASE("a close has everything on disk, whatever the interval") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options;
            options.durable = durability::interval(1h);
            pipeline log = co_await opened(in / "log", options);
            const lsn place = co_await append(log, "one");
            the_disk.synced.clear();
            co_await log.close();
            CHECK(the_disk.synced.size() == 1);
            CHECK(co_await outcome_of_durable(log, place) == "");
        });
    }

    TEST_CASE("with an interval, too, what is on disk is kept no longer, and nothing is due then") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options;
            options.durable = durability::interval(10ms);
            options.give_up_after = 1s;
            pipeline log = co_await opened(in / "log", options);
            co_await log.durable(co_await append(log, "one"));
            co_await log.durable(co_await append(log, "two"));
            CHECK(is_marked(in / "log", 1)); // what is above it was on disk
            the_disk.on_write = [](const io_uring_sqe&) { return std::optional(-EIO); };
            the_disk.on_sync = the_disk.on_write;
            CHECK_NOTHROW(co_await log.close()); // there is nothing to be written or synced
            CHECK(lines_in(in / "log") == std::vector<std::string>{"1 one", "2 two"});
        });
    }

    TEST_CASE("a segment that is long enough is set aside, and the numbers go on") {
        on_both_disks([](planned_disk&, const temporary_directory& in) -> task<> {
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
            CHECK(is_marked(in / "log.0000000000000005", 0));
            CHECK(is_marked(in / "log", 0));
            pipeline log = co_await opened(in / "log", options);
            CHECK(co_await append(log, "text 6") == lsn{6});
            co_await log.close();
        });
    }

    TEST_CASE("where no segment can be begun the log goes on in the one that it has, and says so") {
        on_both_disks([](planned_disk&, const temporary_directory& in) -> task<> {
            const std::string path = in / "log";
            pipeline_options options = durable();
            options.segment_bytes_max = 120;
            pipeline log = co_await opened(path, options);
            std::filesystem::create_directory(path + ".next");
            bool was_degraded = false;
            log.on_health([&](const sapwood::log_health&) { was_degraded = true; });
            for (int i = 1; i <= 5; ++i) {
                co_await log.durable(co_await append(log, fmt::format("text {}", i)));
            }
            co_await sapwood::sleep_for(1s); // and once more
            co_await log.durable(co_await append(log, "text 6"));
            CHECK(!was_degraded);
            CHECK(log.counts().segments_begun == 0);
            const auto lines = lines_in(path);
            REQUIRE(lines.size() == 7);
            CHECK(lines[2] == fmt::format("0 cannot remove {0}.next: Is a directory: {0} goes on, "
                                          "and is longer than a segment should be; it is tried "
                                          "again \\(log)",
                                          path));
            CHECK(lines[6] == "6 text 6");

            std::filesystem::remove(path + ".next");
            co_await log.durable(co_await append(log, "text 7"));
            CHECK(log.counts().segments_begun == 0); // it is not time yet
            co_await sapwood::sleep_for(2s);
            co_await log.durable(co_await append(log, "text 8"));
            CHECK(log.counts().segments_begun == 1);
            CHECK(lines_in(path) == std::vector<std::string>{"8 text 8"});
            CHECK(lines_in(path + ".0000000000000008").size() == 8);
            co_await log.close();
            sapwood::log_verifier verifier;
            CHECK(verifier.verify(sapwood::log_verifier::segments_of(path)).is_whole());
        });
    }

    TEST_CASE("a log that is never synced begins segments, too, and asks for no sync of a file") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            const std::string path = in / "log";
            pipeline_options options;
            options.form = sapwood::layout::verbatim;
            options.segment_bytes_max = 12;
            pipeline log = co_await opened(path, options);
            for (int i = 1; i <= 7; ++i) {
                co_await log.written(co_await append(log, fmt::format("line {}", i)));
            }
            CHECK(log.counts().segments_begun == 3);
            CHECK(contents_of(path + ".0000000000000003") == "line 1\nline 2\n");
            CHECK(contents_of(path + ".0000000000000005") == "line 3\nline 4\n");
            CHECK(contents_of(path + ".0000000000000007") == "line 5\nline 6\n");
            CHECK(contents_of(path) == "line 7\n");
            co_await log.close();
            // Numbers begin anew with each run, and its files have names of their own.
            pipeline next = co_await opened(path, options);
            for (int i = 8; i <= 11; ++i) {
                co_await next.written(co_await append(next, fmt::format("line {}", i)));
            }
            co_await next.close();
            CHECK(contents_of(path + ".0000000000000002") == "line 7\nline 8\n");
            CHECK(contents_of(path + ".0000000000000004") == "line 9\nline 10\n");
            CHECK(contents_of(path) == "line 11\n");
            CHECK(next.counts().records_lost == 0);
            CHECK(the_disk.synced.empty());
        });
    }

    TEST_CASE("what is never synced goes on in its file, too, where no segment can be begun") {
        on_both_disks([](planned_disk&, const temporary_directory& in) -> task<> {
            const std::string path = in / "log";
            pipeline_options options;
            options.form = sapwood::layout::verbatim;
            options.segment_bytes_max = 12;
            pipeline log = co_await opened(path, options);
            std::filesystem::create_directory(in / "others");
            co_await log.written(co_await append(log, "line 1"));
            co_await log.written(co_await append(log, "line 2"));
            std::filesystem::rename(path, in / "others/log");
            std::filesystem::create_directory(path); // which is no file that it could go on in
            co_await log.written(co_await append(log, "line 3"));
            co_await log.written(co_await append(log, "line 4"));
            CHECK(log.counts().segments_begun == 0);
            CHECK(contents_of(in / "others/log") == "line 1\nline 2\nline 3\nline 4\n");
            std::filesystem::remove(path);
            co_await sapwood::sleep_for(2s);
            co_await log.written(co_await append(log, "line 5"));
            co_await log.written(co_await append(log, "line 6"));
            co_await log.written(co_await append(log, "line 7"));
            CHECK(log.counts().segments_begun == 1);
            CHECK(contents_of(path) == "line 7\n");
            CHECK(log.counts().records_lost == 0);
            co_await log.close();
        });
    }

    TEST_CASE("a log that begins segments is opened by no link, whether it is synced or not") {
        on_both_disks([](planned_disk&, const temporary_directory& in) -> task<> {
            std::filesystem::create_symlink(in / "elsewhere", in / "log");
            pipeline_options options;
            options.segment_bytes_max = 12;
            std::error_code why;
            try {
                (void)co_await opened(in / "log", options);
            } catch (const std::system_error& failure) {
                why = failure.code();
            }
            CHECK(why == std::errc::too_many_symbolic_link_levels);
        });
    }

    TEST_CASE(
        "a full disk: nothing is acknowledged, and it goes on by itself when there is space") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            int refusals = 0;
            the_disk.on_write = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                // As a kernel does: a part first, then the error.
                if (refusals == 0) {
                    ++refusals;
                    return sapwood::test::perform_some(sqe, 10);
                }
                return ++refusals < 8 ? -ENOSPC : perform(sqe);
            };
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
        });
    }

    TEST_CASE("while the disk refuses records, append waits, and memory is bounded") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options = durable();
            options.queue_records = 4;
            options.batch_bytes = 200;
            pipeline log = co_await opened(in / "log", options);
            the_disk.on_write = [](const io_uring_sqe&) { return std::optional(-EROFS); };
            std::vector<sapwood::join_handle<lsn>> producers;
            for (int i = 0; i < 50; ++i) {
                producers.push_back(sapwood::spawn(append(log, "text")));
            }
            co_await sapwood::sleep_for(1min);
            // Two batches, of three lines or four, and the queue.
            CHECK(log.counts().accepted <= lsn{12});
            CHECK(log.counts().durable == lsn::none);
            CHECK(log.counts().retries > 60);
            CHECK(log.counts().retries < 200);
            the_disk.on_write = nullptr;
            for (auto& each : producers) {
                (void)co_await each;
            }
            co_await log.close();
            CHECK(lines_in(in / "log").size() == 50);
            CHECK(log.counts().durable == lsn{50});
        });
    }

    TEST_CASE("with refuse, append throws what the disk says, for as long as it does") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options = durable();
            options.queue_records = 2;
            options.batch_bytes = 1;
            options.refused = when_refused::refuse;
            pipeline log = co_await opened(in / "log", options);
            the_disk.on_write = [](const io_uring_sqe&) { return std::optional(-EDQUOT); };
            std::error_code refused;
            std::uint64_t accepted = 0;
            while (!refused) {
                record item(level::info, 7, "text");
                const auto sent = co_await as_result(log.append(std::move(item)));
                if (sent) {
                    CHECK(*sent == lsn{++accepted});
                    co_await settle();
                } else {
                    refused = sent.error();
                    CHECK(item.message() == "text"); // it is still the caller's
                }
            }
            CHECK(refused == std::error_code(EDQUOT, std::generic_category()));
            CHECK(accepted <= 4);
            the_disk.on_write = nullptr;
            co_await log.durable(lsn{accepted});
            CHECK(co_await append(log, "again") == lsn{accepted + 1});
            co_await log.close();
            CHECK(lines_in(in / "log").size() == accepted + 1);
        });
    }

    TEST_CASE("with refuse, those who wait already when the disk begins to refuse are told, too") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options = durable();
            options.queue_records = 1;
            options.batch_bytes = 1;
            options.refused = when_refused::refuse;
            pipeline log = co_await opened(in / "log", options);
            the_disk.on_sync = [](const io_uring_sqe&) { return std::nullopt; };
            std::vector<std::error_code> outcomes;
            const auto append_one = [&]() -> task<> {
                record item(level::info, 7, "text");
                outcomes.push_back((co_await as_result(log.append(std::move(item)))).error());
            };
            std::vector<sapwood::join_handle<>> producers;
            for (int i = 0; i < 6; ++i) {
                producers.push_back(sapwood::spawn(append_one()));
                co_await settle();
            }
            const std::size_t accepted = outcomes.size();
            CHECK(accepted < 6);
            the_disk.on_sync = nullptr;
            the_disk.on_write = [](const io_uring_sqe&) { return std::optional(-ENOSPC); };
            the_disk.finish_sync(ENOSPC);
            for (const auto& each : producers) {
                co_await each;
            }
            REQUIRE(outcomes.size() == 6);
            for (std::size_t i = 0; i < outcomes.size(); ++i) {
                CHECK((outcomes[i] == std::errc::no_space_on_device) == (i >= accepted));
            }
            the_disk.on_write = nullptr;
            co_await log.durable(lsn{accepted}); // and it goes on
            co_await log.close();
        });
    }

    TEST_CASE("with refuse, who waits for room in the batch looks again when the disk refuses") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options = durable();
            options.batch_bytes = 1;
            options.refused = when_refused::refuse;
            pipeline log = co_await opened(in / "log", options);
            the_disk.on_sync = [](const io_uring_sqe&) { return std::nullopt; };
            const sapwood::record_view item{sapwood::wall_clock::now(), 7, level::info, "", "text"};
            CHECK(log.append_now(item) == lsn{1});
            co_await settle();
            CHECK(log.append_now(item) == lsn{2});
            const auto wait = [](pipeline& full) -> task<> { co_await full.room_now(); };
            auto waiting = sapwood::spawn(wait(log));
            co_await settle();
            CHECK(!waiting.done());
            the_disk.on_sync = nullptr;
            the_disk.on_write = [](const io_uring_sqe&) { return std::optional(-ENOSPC); };
            the_disk.finish_sync(ENOSPC);
            co_await waiting;
            CHECK(log.health().reason == std::errc::no_space_on_device);
            co_await log.room_now(); // nor does anybody wait now
            the_disk.on_write = nullptr;
            co_await log.durable(lsn{2});
            co_await log.close();
        });
    }

    TEST_CASE("with refuse, what other threads have sent is written when the disk takes it again") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options = durable();
            options.queue_records = 2;
            options.batch_bytes = 1;
            options.refused = when_refused::refuse;
            pipeline log = co_await opened(in / "log", options);
            the_disk.on_sync = [](const io_uring_sqe&) { return std::nullopt; };
            auto door = log.remote(2);
            std::uint64_t accepted = 0;
            const auto send = [&] { return door.try_send(record(level::info, 7, "text")); };
            bool has_room = true;
            while (has_room) { // until batch, queue and both halves of the door are full
                const std::uint64_t before = accepted;
                while (send()) {
                    ++accepted;
                }
                co_await settle();
                has_room = accepted > before;
            }
            the_disk.on_sync = nullptr;
            the_disk.on_write = [](const io_uring_sqe&) { return std::optional(-ENOSPC); };
            the_disk.finish_sync(ENOSPC);
            co_await settle();
            CHECK(log.health().reason == std::errc::no_space_on_device);
            CHECK_FALSE(send());

            the_disk.on_write = nullptr;
            CHECK(co_await sapwood::as_result(sapwood::timeout(1h, log.flush())));
            CHECK(send()); // nobody is held up any more
            co_await log.close();
            CHECK(lines_in(in / "log").size() == accepted + 1);
        });
    }

    CO_TEST_CASE("where an earlier segment has the number's name, the next free one is taken") {
        const temporary_directory folder;
        const auto path = folder / "log";
        sapwood::test::fill(path + ".0000000000000001", "an earlier one\n");
        sapwood::test::fill(path + ".0000000000000001-2", "another\n");
        const sapwood::file_sink_options options{.path = path, .numbered = true};
        auto sink = co_await sapwood::file_sink::open(options);
        co_await sink.write(sapwood::test::numbered(1, "text"));
        co_await sink.begin_segment({}, sapwood::test::numbered(1, "text"), lsn{1});
        co_await sink.close();
        CHECK(contents_of(path + ".0000000000000001") == "an earlier one\n");
        CHECK(contents_of(path + ".0000000000000001-2") == "another\n");
        CHECK(contents_of(path + ".0000000000000001-3") == sapwood::test::numbered(1, "text"));
        CHECK(contents_of(path) == sapwood::test::numbered(1, "text"));
    }

    TEST_CASE("one record that is lost is told in the singular, and its line is known for that") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options = durable();
            options.queue_records = 1;
            options.batch_bytes = 1;
            options.refused = when_refused::drop;
            pipeline log = co_await opened(in / "log", options);
            co_await log.durable(co_await append(log, "text"));
            the_disk.on_write = [](const io_uring_sqe&) { return std::optional(-ENOSPC); };
            lsn last = lsn::none;
            while (log.counts().lines_lost == 0) {
                last = co_await append(log, "text");
                co_await settle();
            }
            the_disk.on_write = nullptr;
            CHECK_THROWS_AS(co_await log.flush(), std::system_error); // it tells of it, too
            co_await log.close();
            CHECK(lines_in(in / "log").back() ==
                  fmt::format("{0} 1 record is missing here, number {0}: No space left on device "
                              "\\(log)",
                              to_number(last)));
            sapwood::log_verifier verifier;
            const auto found = verifier.verify(sapwood::log_verifier::segments_of(in / "log"));
            CHECK(found.is_whole());
            CHECK(found.missing_records_told == 1);
        });
    }

    TEST_CASE("with drop, what does not fit is lost, told to who waits, and in one line") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options = durable();
            options.queue_records = 2;
            options.batch_bytes = 1;
            options.refused = when_refused::drop;
            pipeline log = co_await opened(in / "log", options);
            co_await log.durable(co_await append(log, "first"));
            the_disk.on_write = [](const io_uring_sqe&) { return std::optional(-ENOSPC); };
            std::vector<std::string> outcomes;
            for (std::uint64_t i = 2; i <= 20; ++i) {
                CHECK(co_await append(log, fmt::format("text {}", i)) == lsn{i});
                co_await sapwood::sleep_for(1ms);
            }
            // Lost for sure, and known at once.
            CHECK(co_await outcome_of_durable(log, lsn{20}) == "the record was accepted and lost");
            the_disk.on_write = nullptr;
            co_await log.durable(lsn{2});
            co_await log.durable(co_await append(log, "last"));
            co_await log.close();
            const auto lines = lines_in(in / "log");
            const std::uint64_t lost = log.counts().lines_lost;
            CHECK(lost >= 15);
            CHECK(lines.size() == 20 - lost + 2);
            CHECK(lines.front() == "1 first");
            CHECK(lines.back() == "21 last");
            CHECK(lines[lines.size() - 2] ==
                  fmt::format("20 {} records are missing here, numbers {} to 20: No space left on "
                              "device \\(log)",
                              lost, 21 - lost));
            CHECK(co_await outcome_of_durable(log, lsn{20 - lost}) == "");
            CHECK(co_await outcome_of_durable(log, lsn{21 - lost}) != "");
            CHECK(co_await outcome_of_durable(log, lsn{21}) == "");
        });
    }

    TEST_CASE("without memory to tell what was dropped, it is told with the next record") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options = durable();
            options.queue_records = 2;
            options.batch_bytes = 1;
            options.refused = when_refused::drop;
            pipeline log = co_await opened(in / "log", options);
            co_await log.durable(co_await append(log, "first"));
            the_disk.on_write = [](const io_uring_sqe&) { return std::optional(-ENOSPC); };
            for (int i = 2; i <= 20; ++i) {
                (void)co_await append(log, "text");
                co_await sapwood::sleep_for(1ms);
            }
            std::optional<sapwood::test::failing_allocations> none;
            the_disk.on_write = [&](const io_uring_sqe& sqe) {
                none.reset();
                return perform(sqe);
            };
            the_disk.on_sync = [&](const io_uring_sqe& sqe) {
                const auto done = succeed(sqe);
                none.emplace(1); // until the next write
                return done;
            };
            co_await sapwood::sleep_for(1min);
            none.reset();
            the_disk.on_sync = nullptr;
            CHECK(!log.health().is_degraded());
            co_await log.durable(co_await append(log, "last"));
            co_await log.close();
            const auto lines = lines_in(in / "log");
            const std::uint64_t lost = log.counts().lines_lost;
            CHECK(lost >= 15);
            CHECK(lines.back() == "21 last");
            CHECK(lines[lines.size() - 2].starts_with(
                fmt::format("20 {} records are missing here, numbers {} to 20: No space left on",
                            lost, 21 - lost)));
        });
    }

    TEST_CASE("a log that is told to end gives up in time, and says what was lost") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options = durable();
            options.give_up_after = 3s;
            pipeline log = co_await opened(in / "log", options);
            co_await log.durable(co_await append(log, "kept"));
            the_disk.on_write = [](const io_uring_sqe&) { return std::optional(-EIO); };
            const lsn place = co_await append(log, "lost");
            auto waiting = sapwood::spawn(outcome_of_durable(log, place));
            auto waiting_for_write = sapwood::spawn(outcome_of_written(log, place));
            co_await sapwood::sleep_for(1min);
            CHECK(!waiting.done());
            const auto began = sapwood::event_loop::current().now();
            std::string failure;
            try {
                co_await log.close();
            } catch (const std::system_error& error) {
                failure = error.what();
            }
            const auto took = sapwood::event_loop::current().now() - began;
            CHECK(took >= 3s);
            CHECK(took < 4s);
            CHECK(failure.find(in / "log") != std::string::npos);
            CHECK(co_await waiting == "Input/output error");
            CHECK(co_await waiting_for_write == "Input/output error");
            const auto counts = log.counts();
            CHECK(counts.lines_written == 1);
            CHECK(counts.lines_lost == 1);
            CHECK(counts.durable == lsn{1});
            CHECK(counts.accepted == lsn{2});
            CHECK(lines_in(in / "log") == std::vector<std::string>{"1 kept"});
        });
    }

    TEST_CASE("a disk that does not answer is told of, and the loop lives") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            the_disk.on_sync = &planned_disk::never;
            std::vector<int> health;
            log.on_health([&](const sapwood::log_health& now) {
                health.push_back(now.is_degraded() ? 1 : 0);
            });
            const lsn place = co_await append(log, "text");
            co_await sapwood::sleep_for(900ms);
            CHECK(health.empty());
            co_await sapwood::sleep_for(200ms);
            CHECK(health == std::vector<int>{1});
            CHECK(log.health().reason == std::errc::timed_out);
            the_disk.finish_sync();
            co_await log.durable(place);
            co_await settle();
            CHECK(health == std::vector<int>{1, 0});
            the_disk.on_sync = nullptr;
            co_await log.close();
        });
    }

    TEST_CASE("a loop that is late itself does not take the disk for one that does not answer") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            the_disk.on_sync = &planned_disk::never;
            unsigned told = 0;
            log.on_health([&](const sapwood::log_health&) { ++told; });
            const lsn place = co_await append(log, "text");
            co_await settle();
            REQUIRE(the_disk.syncs_waiting() == 1);
            the_disk.finish_sync();
            the_disk.pass(1500ms); // the alarm is due before the loop sees the answer
            co_await log.durable(place);
            CHECK(told == 0);
            the_disk.on_sync = nullptr;
            co_await log.close();
        });
    }

    TEST_CASE("whenever the disk has another reason to refuse, that is told, and no reason twice") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            int writes = 0;
            the_disk.on_write = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                ++writes;
                return writes <= 4 ? -ENOSPC : writes <= 8 ? -EROFS : perform(sqe);
            };
            std::vector<std::string> health;
            log.on_health([&](const sapwood::log_health& now) {
                health.push_back(now.is_degraded() ? now.reason.message() : "healthy");
            });
            co_await log.durable(co_await append(log, "one"));
            CHECK(health == std::vector<std::string>{"No space left on device",
                                                     "Read-only file system", "healthy"});
            co_await log.close();
        });
    }

    TEST_CASE("an open writes once more what no mark says is on disk, and has it synced") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            const std::string proven = numbered(1, "above the mark");
            const std::string unproven = numbered(2, "marked", true) + numbered(3, "behind it");
            fill(in / "log", proven + unproven);
            std::vector<std::pair<std::uint64_t, std::string>> writes;
            std::size_t syncs_before_a_write = 0;
            the_disk.on_write = [&](const io_uring_sqe& sqe) {
                // NOLINTNEXTLINE(performance-no-int-to-ptr): so has an SQE its address.
                writes.emplace_back(sqe.off,
                                    std::string(reinterpret_cast<const char*>(sqe.addr), sqe.len));
                syncs_before_a_write = the_disk.synced.size();
                return perform(sqe);
            };
            pipeline log = co_await opened(in / "log", durable());
            REQUIRE(writes.size() == 1);
            CHECK(writes[0].first == proven.size());
            CHECK(writes[0].second == unproven);
            CHECK(the_disk.synced.size() > syncs_before_a_write);
            CHECK(log.counts().durable == lsn{3});
            co_await log.close();
        });
    }

    TEST_CASE("a batch behind a line of the log's own is marked: that line is synced first") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            co_await log.durable(co_await append(log, "one"));
            std::filesystem::rename(in / "log", in / "log.1");
            co_await sapwood::sleep_for(1s);
            std::vector<std::size_t> syncs_before; // each write
            the_disk.on_write = [&](const io_uring_sqe& sqe) {
                syncs_before.push_back(the_disk.synced.size());
                return perform(sqe);
            };
            co_await log.durable(co_await append(log, "two"));
            co_await log.durable(co_await append(log, "three"));
            co_await log.close();
            const auto lines = lines_in(in / "log");
            REQUIRE(lines.size() == 3);
            CHECK(lines[0].starts_with("0 ")); // the log's own
            CHECK(is_marked(in / "log", 1));
            CHECK(is_marked(in / "log", 2));
            REQUIRE(syncs_before.size() >= 2);
            CHECK(syncs_before[1] > syncs_before[0]);
        });
    }

    TEST_CASE("standard error is told of what a log without lines of its own has to tell, and of "
              "warnings") {
        for (const auto form : {sapwood::layout::verbatim, sapwood::layout::numbered}) {
            for (const bool is_warning : {false, true}) {
                CAPTURE(is_warning);
                const temporary_directory folder;
                const int standard_error = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
                const int file =
                    ::open((folder / "errors").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
                ::dup2(file, STDERR_FILENO);
                ::close(file);
                planned_disk disk(true);
                disk.run(
                    [](const temporary_directory& in, sapwood::layout with, bool warns) -> task<> {
                        pipeline_options options = durable();
                        options.form = with;
                        pipeline log = co_await opened(in / "log", options);
                        co_await log.durable(co_await append(log, "one"));
                        std::filesystem::rename(in / "log", in / "log.1");
                        if (warns) { // it cannot be opened anew
                            std::filesystem::create_directory(in / "log");
                        }
                        co_await sapwood::sleep_for(1s);
                        co_await log.durable(co_await append(log, "two"));
                        co_await log.close();
                    }(folder, form, is_warning));
                ::dup2(standard_error, STDERR_FILENO);
                ::close(standard_error);
                const std::string told = contents_of(folder / "errors");
                if (is_warning) {
                    CHECK(told.find("which has lost its name") != told.npos);
                } else if (form == sapwood::layout::verbatim) {
                    CHECK(told == fmt::format("sapwood: {0} was renamed or removed; the log goes "
                                              "on in this file\n",
                                              folder / "log"));
                    CHECK(contents_of(folder / "log") == "two\n");
                } else {
                    CHECK(told.empty());
                }
            }
        }
    }

    TEST_CASE("a log whose file is taken away goes on in a new one, with what was not synced") {
        on_both_disks([](planned_disk&, const temporary_directory& in) -> task<> {
            pipeline_options options;
            options.durable = durability::interval(1h);
            pipeline log = co_await opened(in / "log", options);
            co_await log.written(co_await append(log, "one"));
            std::filesystem::rename(in / "log", in / "log.1");
            co_await sapwood::sleep_for(1s);
            co_await log.written(co_await append(log, "two"));
            co_await log.close();
            CHECK(lines_in(in / "log.1") == std::vector<std::string>{"1 one"});
            const auto lines = lines_in(in / "log");
            REQUIRE(lines.size() == 3);
            CHECK(lines[0].starts_with("0 ")); // the log's own
            CHECK(lines[1] == "1 one");
            CHECK(lines[2] == "2 two");
        });
    }

    TEST_CASE("without memory for a moment a log of which all is on disk closes well") {
        on_both_disks([](planned_disk&, const temporary_directory& in) -> task<> {
            for (std::size_t nth = 1; nth <= 6; ++nth) {
                CAPTURE(nth);
                pipeline log = co_await opened(in / fmt::format("log{}", nth), durable());
                co_await log.durable(co_await append(log, "one"));
                auto closing = log.close();
                std::optional<sapwood::test::no_frames> frames;
                std::optional<sapwood::test::failing_allocations> none;
                const auto giving_back =
                    spawn([](std::optional<sapwood::test::no_frames>& kept,
                             std::optional<sapwood::test::failing_allocations>& all) -> task<> {
                        for (int turn = 0; turn < 3; ++turn) {
                            co_await sapwood::yield();
                        }
                        all.reset();
                        kept.reset();
                    }(frames, none));
                frames.emplace();
                none.emplace(nth);
                co_await std::move(closing);
                co_await giving_back;
            }
        });
    }

    TEST_CASE("what others have done to a file whose next segment fails is told all the same") {
        for (const bool is_cut : {true, false}) {
            CAPTURE(is_cut);
            on_both_disks([is_cut](planned_disk& the_disk,
                                   const temporary_directory& in) -> task<> {
                const std::string path = in / "log";
                pipeline log = co_await opened(path, durable());
                co_await log.durable(co_await append(log, "one"));
                bool is_full = false;
                bool has_failed = false;
                the_disk.on_sync = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                    if (std::exchange(has_failed, true)) {
                        return perform(sqe);
                    }
                    is_full = true;
                    if (is_cut) {
                        std::filesystem::resize_file(path, std::filesystem::file_size(path) - 3);
                    } else {
                        std::filesystem::rename(path, path + ".1");
                    }
                    return -EIO;
                };
                the_disk.on_write = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                    return std::exchange(is_full, false) ? std::optional(-ENOSPC) : perform(sqe);
                };
                // More than is written and synced in one.
                co_await log.durable(co_await append(log, std::string(20'000, 'x')));
                co_await log.durable(co_await append(log, "three"));
                co_await log.close();
                const std::string what =
                    is_cut ? fmt::format("somebody has cut 3 bytes off {}", path)
                           : fmt::format("{} was renamed or removed; the log goes on in this file",
                                         path);
                std::size_t told = 0;
                for (const std::string& line : lines_in(path)) {
                    told += line.find(what) != std::string::npos ? 1 : 0;
                }
                CHECK(told == 1);
                CHECK(lines_in(path).back() == "3 three");
            });
        }
    }

    TEST_CASE("without memory for a moment a log that the disk may end goes on") {
        on_both_disks([](planned_disk&, const temporary_directory& in) -> task<> {
            for (std::size_t nth = 1; nth <= 16; ++nth) {
                CAPTURE(nth);
                pipeline log = co_await opened(in / fmt::format("log{}", nth), {});
                co_await log.written(co_await append(log, "one"));
                co_await sapwood::sleep_for(1s); // it looks at its name again
                std::optional<sapwood::test::no_frames> frames;
                std::optional<sapwood::test::failing_allocations> none;
                const auto giving_back =
                    spawn([](std::optional<sapwood::test::no_frames>& kept,
                             std::optional<sapwood::test::failing_allocations>& all) -> task<> {
                        co_await sapwood::sleep_for(100ms);
                        all.reset();
                        kept.reset();
                    }(frames, none));
                co_await sapwood::yield();
                const lsn place = co_await append(log, "two");
                frames.emplace();
                none.emplace(nth);
                co_await log.written(place);
                co_await giving_back;
                CHECK(!log.health().is_degraded());
                co_await log.written(co_await append(log, "three"));
                co_await log.close();
                CHECK(log.counts().records_lost == 0);
            }
        });
    }

    TEST_CASE("a log that is told to end waits for memory no longer than for a disk") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options;
            options.give_up_after = 3s;
            pipeline log = co_await opened(in / "log", options);
            the_disk.on_write = [](const io_uring_sqe&) { return std::optional(-ENOMEM); };
            co_await append(log, "lost");
            co_await sapwood::sleep_for(1min);
            CHECK(log.health().reason == std::errc::not_enough_memory);
            const auto began = sapwood::event_loop::current().now();
            std::error_code failure;
            try {
                co_await log.close();
            } catch (const std::system_error& error) {
                failure = error.code();
            }
            CHECK(failure == std::errc::not_enough_memory);
            const auto took = sapwood::event_loop::current().now() - began;
            CHECK(took >= 3s);
            CHECK(took < 4s);
            CHECK(log.counts().records_lost == 1);
        });
    }

    TEST_CASE("no memory for an attempt is a reason to try again as others are, and told as such") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline log = co_await opened(in / "log", durable());
            std::optional<sapwood::test::failing_allocations> none;
            int writes = 0;
            the_disk.on_write = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                ++writes;
                if (writes == 1) {
                    return -ENOSPC;
                }
                if (writes == 2) {
                    none.emplace(1); // for the failure's text, and for anything behind it
                    return -ENOSPC;
                }
                return perform(sqe);
            };
            std::array<std::error_code, 3> reasons;
            std::size_t told = 0;
            log.on_health([&](const sapwood::log_health& now) {
                if (told < reasons.size()) {
                    reasons[told] = now.reason;
                }
                ++told;
                if (now.reason == std::errc::not_enough_memory) {
                    none.reset(); // with sanitizers each attempt needs some
                }
            });
            co_await log.durable(co_await append(log, "one"));
            CHECK(told == 3);
            CHECK(reasons[0] == std::errc::no_space_on_device);
            CHECK(reasons[1] == std::errc::not_enough_memory);
            CHECK(!reasons[2]);
            co_await log.close();
            CHECK(lines_in(in / "log") == std::vector<std::string>{"1 one"});
        });
    }

    TEST_CASE("whole lines that a full disk has taken are there once, also where nobody can tell") {
        bool has_failed = true;
        for (std::size_t nth = 1; has_failed; ++nth) {
            CAPTURE(nth);
            on_both_disks([nth, &has_failed](planned_disk& the_disk,
                                             const temporary_directory& in) -> task<> {
                pipeline log = co_await opened(in / "log", durable());
                co_await append(log, "one");
                co_await append(log, "two");
                const lsn last = co_await append(log, "six");
                std::optional<sapwood::test::failing_allocations> none;
                int writes = 0;
                the_disk.on_write = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                    if (++writes == 1) { // a line and a half
                        return sapwood::test::perform_some(sqe, 90);
                    }
                    if (writes == 2) {
                        none.emplace(nth);
                        return -ENOSPC;
                    }
                    return perform(sqe);
                };
                log.on_health([&](const sapwood::log_health&) {
                    has_failed = none && none->struck();
                    none.reset();
                });
                co_await log.durable(last);
                CHECK(lines_in(in / "log") == std::vector<std::string>{"1 one", "2 two", "3 six"});
                co_await log.close();
            });
        }
    }

    TEST_CASE("a failed sync that there was no memory to tell is not believed the next time") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            const std::string path = in / "log";
            pipeline log = co_await opened(path, durable());
            co_await log.durable(co_await append(log, "one"));
            std::optional<sapwood::test::failing_allocations> none;
            bool has_failed = false;
            the_disk.on_sync = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                if (std::exchange(has_failed, true)) {
                    return succeed(sqe);
                }
                none.emplace(1);
                return -EIO;
            };
            bool was_without_memory = false;
            log.on_health([&](const sapwood::log_health& now) {
                none.reset();
                was_without_memory |= now.reason == std::errc::not_enough_memory;
            });
            co_await log.durable(co_await append(log, "two"));
            CHECK(was_without_memory);
            CHECK(log.counts().segments_begun == 1);
            CHECK(lines_in(path) == std::vector<std::string>{"2 two"});
            co_await log.close();
        });
    }

    TEST_CASE("whole lines that a full disk has taken are there once, however often it is full") {
        enum class meanwhile : std::uint8_t { nothing, renamed, cut, cut_and_seen };
        for (const meanwhile happens :
             {meanwhile::nothing, meanwhile::renamed, meanwhile::cut, meanwhile::cut_and_seen}) {
            const bool is_taken_away = happens == meanwhile::renamed;
            const bool is_cut = happens == meanwhile::cut || happens == meanwhile::cut_and_seen;
            CAPTURE(static_cast<int>(happens));
            on_both_disks([=](planned_disk& the_disk, const temporary_directory& in) -> task<> {
                pipeline log = co_await opened(in / "log", durable());
                co_await append(log, "one");
                co_await append(log, "two");
                const lsn last = co_await append(log, "six");
                int writes = 0;
                bool is_full = false;
                the_disk.on_write = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                    ++writes; // a line and a half twice, then nothing for longer
                    if (is_full) {
                        return -ENOSPC;
                    }
                    if (writes > 4) {
                        return perform(sqe);
                    }
                    is_full = writes == 4;
                    return writes % 2 == 0 ? -ENOSPC : sapwood::test::perform_some(sqe, 90);
                };
                co_await sapwood::sleep_for(3s);
                if (is_taken_away) {
                    std::filesystem::rename(in / "log", in / "log.1");
                    co_await sapwood::sleep_for(3s);
                }
                if (is_cut) {
                    std::filesystem::resize_file(in / "log", 0);
                    co_await sapwood::sleep_for(happens == meanwhile::cut ? 0s : 3s);
                }
                is_full = false;
                co_await log.durable(last);
                co_await log.close();
                CHECK(writes > 5);
                auto lines = lines_in(in / "log");
                if (is_taken_away || is_cut) {
                    if (is_taken_away) {
                        CHECK(lines_in(in / "log.1") == std::vector<std::string>{"1 one", "2 two"});
                    }
                    std::erase_if(lines, [](const std::string& line) {
                        return line.starts_with("0 "); // the log's own
                    });
                }
                CHECK(lines == std::vector<std::string>{"1 one", "2 two", "3 six"});
            });
        }
    }

    TEST_CASE("with an interval a sync that came early puts off the next") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options;
            options.durable = durability::interval(200ms);
            options.unsynced_bytes_max = 1000;
            pipeline log = co_await opened(in / "log", options);
            the_disk.synced.clear();
            co_await log.written(co_await append(log, "one"));
            co_await sapwood::sleep_for(50ms);
            co_await log.durable(co_await append(log, std::string(1000, 'x')));
            CHECK(the_disk.synced.size() == 1);
            co_await sapwood::sleep_for(100ms);
            const lsn last = co_await append(log, "three");
            co_await log.written(last);
            co_await sapwood::sleep_for(150ms); // the first one's time is over
            CHECK(the_disk.synced.size() == 1);
            co_await log.durable(last);
            CHECK(the_disk.synced.size() == 2);
            co_await log.close();
        });
    }

    TEST_CASE("few lines are written and synced in one operation, more of them in two") {
        for (const std::size_t more : {0u, 1u}) {
            const temporary_directory folder;
            planned_disk disk(true);
            disk.run([](planned_disk& the_disk, const temporary_directory& in,
                        std::size_t longer) -> task<> {
                pipeline log = co_await opened(in / "log", durable());
                co_await log.durable(co_await append(log, ""));
                const std::size_t empty = contents_of(in / "log").size();
                int synced_writes = 0;
                the_disk.on_write = [&](const io_uring_sqe& sqe) {
                    synced_writes += (sqe.rw_flags & RWF_DSYNC) != 0 ? 1 : 0;
                    return perform(sqe);
                };
                co_await log.durable(
                    co_await append(log, std::string((16u << 10) - empty + longer, 'x')));
                CHECK(synced_writes == (longer == 0 ? 1 : 0));
                co_await log.close();
            }(disk, folder, more));
        }
    }

    TEST_CASE(
        "where another file has the name when a segment is begun, the log goes on in that one") {
        for (const bool is_batch : {true, false}) {
            for (const std::size_t bytes : {10u, 20'000u}) { // in one operation, or in two
                CAPTURE(is_batch);
                CAPTURE(bytes);
                on_both_disks([=](planned_disk& the_disk, const temporary_directory& in) -> task<> {
                    pipeline_options options;
                    options.durable = is_batch ? durability::batch() : durability::interval(10ms);
                    pipeline log = co_await opened(in / "log", options);
                    co_await log.durable(co_await append(log, "one"));
                    co_await sapwood::sleep_for(1s);
                    co_await log.durable(co_await append(log, "two"));
                    const auto began = sapwood::event_loop::current().now();
                    if (!is_batch) {
                        co_await log.written(co_await append(log, "three"));
                    }
                    std::filesystem::rename(in / "log", in / "log.1");
                    fill(in / "log", "");
                    the_disk.on_sync = fails_once();
                    const std::string four(bytes, 'x');
                    co_await log.durable(co_await append(log, four));
                    // Sooner than it looks at its name by itself.
                    CHECK(sapwood::event_loop::current().now() - began < 200ms);
                    CHECK(log.counts().segments_begun == 0);
                    co_await log.close();
                    std::vector<std::string> expected{(is_batch ? "3 " : "4 ") + four};
                    if (!is_batch) {
                        expected.insert(expected.begin(), "3 three");
                    }
                    expected.insert(
                        expected.begin(),
                        fmt::format("0 {} was renamed or removed; the log goes on in this file "
                                    "\\(log)",
                                    in / "log"));
                    CHECK(lines_in(in / "log") == expected);
                });
            }
        }
    }

    TEST_CASE("a new segment begins with a mark, whatever is in it, and lines stay as they are") {
        for (const bool is_numbered : {true, false}) {
            CAPTURE(is_numbered);
            on_both_disks([is_numbered](planned_disk& the_disk,
                                        const temporary_directory& in) -> task<> {
                pipeline_options options;
                options.durable = durability::interval(1h);
                options.form = is_numbered ? sapwood::layout::numbered : sapwood::layout::verbatim;
                pipeline log = co_await opened(in / "log", options);
                co_await log.written(co_await append(log, "a line that is longer than a head"));
                the_disk.on_sync = fails_once();
                const auto syncs = log.counts().syncs;
                co_await log.close();
                CHECK(log.counts().segments_begun == 1);
                CHECK(log.counts().syncs == syncs + 1);
                if (is_numbered) {
                    CHECK(is_marked(in / "log", 0));
                } else {
                    CHECK(contents_of(in / "log") == "a line that is longer than a head\n");
                }
            });
        }
    }

    TEST_CASE("where the log is cut, what was not synced comes again behind a mark") {
        for (const bool is_numbered : {true, false}) {
            for (const bool is_all_synced : {true, false}) {
                CAPTURE(is_numbered);
                CAPTURE(is_all_synced);
                on_both_disks([=](planned_disk& the_disk, const temporary_directory& in) -> task<> {
                    pipeline_options options;
                    options.durable =
                        is_all_synced ? durability::batch() : durability::interval(1h);
                    options.form =
                        is_numbered ? sapwood::layout::numbered : sapwood::layout::verbatim;
                    pipeline log = co_await opened(in / "log", options);
                    const lsn first = co_await append(log, "a line that is longer than a head");
                    if (is_all_synced) {
                        co_await log.durable(first);
                    } else {
                        co_await log.written(first);
                    }
                    std::filesystem::resize_file(in / "log", 3);
                    the_disk.synced.clear();
                    co_await log.written(co_await append(log, "one more that is not shorter"));
                    // The end of the line that was cut, before what is behind it is marked.
                    CHECK((is_all_synced || the_disk.synced.size() == 1));
                    co_await log.close();
                    std::string found = contents_of(in / "log");
                    CHECK(found.starts_with(is_numbered ? "000\n" : "a l\n"));
                    found.erase(0, 4);
                    if (!is_numbered) {
                        CHECK(found == std::string(is_all_synced
                                                       ? ""
                                                       : "a line that is longer than a head\n") +
                                           "one more that is not shorter\n");
                        co_return;
                    }
                    fill(in / "log", found);
                    CHECK(lines_in(in / "log") ==
                          (is_all_synced
                               ? std::vector<std::string>{"2 one more that is not shorter"}
                               : std::vector<std::string>{"1 a line that is longer than a head",
                                                          "2 one more that is not shorter"}));
                    CHECK(is_marked(in / "log", 0));
                });
            }
        }
    }

    TEST_CASE(
        "what somebody has cut off comes again before it is acknowledged, whoever saw it first") {
        // By the alarm alone, by the look at the name, whose line is the next to be written, by
        // both.
        for (const bool is_looked_at : {false, true}) {
            for (const bool comes_more : {false, true}) {
                CAPTURE(is_looked_at);
                CAPTURE(comes_more);
                on_both_disks([=](planned_disk& the_disk, const temporary_directory& in) -> task<> {
                    pipeline_options options;
                    options.durable = durability::interval(2s);
                    pipeline log = co_await opened(in / "log", options);
                    const lsn first = co_await append(log, "one");
                    co_await log.written(first);
                    std::filesystem::resize_file(in / "log", 0);
                    if (is_looked_at) {
                        co_await sapwood::sleep_for(600ms);
                    }
                    if (comes_more) {
                        co_await log.written(co_await append(log, "two"));
                    }
                    co_await log.durable(first);
                    auto lines = lines_in(in / "log");
                    std::erase_if(lines, [](const std::string& line) {
                        return line.starts_with("0 "); // the log's own
                    });
                    CHECK(lines.front() == "1 one");
                    CHECK(lines.size() == (comes_more ? 2 : 1));
                    // The log's own line is on disk, too: the next batch needs no sync for it.
                    the_disk.synced.clear();
                    co_await log.written(co_await append(log, "three"));
                    CHECK(the_disk.synced.empty());
                    co_await log.close();
                });
            }
        }
    }

    TEST_CASE(
        "what is cut off while it is written or synced comes again before it is acknowledged") {
        for (const auto level : {durability::batch(), durability::interval(1s)}) {
            for (const bool while_synced : {false, true}) {
                CAPTURE(while_synced);
                on_both_disks([=](planned_disk& the_disk, const temporary_directory& in) -> task<> {
                    pipeline_options options;
                    options.durable = level;
                    pipeline log = co_await opened(in / "log", options);
                    co_await log.durable(co_await append(log, "one"));
                    bool is_cut = false;
                    const auto cut_once = [&](const io_uring_sqe& sqe) {
                        const auto done = while_synced ? succeed(sqe) : perform(sqe);
                        if (!std::exchange(is_cut, true)) {
                            std::filesystem::resize_file(in / "log", 0);
                        }
                        return done;
                    };
                    if (while_synced) {
                        the_disk.on_sync = cut_once;
                    } else {
                        the_disk.on_write = cut_once;
                    }
                    co_await log.durable(co_await append(log, "two"));
                    CHECK(is_cut);
                    CHECK(lines_in(in / "log").back() == "2 two"); // behind the log's own, perhaps
                    the_disk.on_sync = nullptr;
                    the_disk.on_write = nullptr;
                    co_await log.close();
                });
            }
        }
    }

    TEST_CASE("nothing is acknowledged in a file that was removed, not even for half a second") {
        for (const auto level : {durability::batch(), durability::interval(100ms)}) {
            on_both_disks([=](planned_disk&, const temporary_directory& in) -> task<> {
                const std::string folder = in / "logs";
                const std::string path = folder + "/log";
                std::filesystem::create_directory(folder);
                pipeline_options options;
                options.durable = level;
                pipeline log = co_await opened(path, options);
                co_await log.durable(co_await append(log, "one"));
                std::filesystem::remove(path);
                co_await log.durable(co_await append(log, "two"));
                CHECK(lines_in(path).back() == "2 two");
                CHECK(!log.health().is_degraded());
                std::filesystem::remove_all(folder);
                const lsn three = co_await append(log, "three");
                auto waiting = sapwood::spawn(outcome_of_durable(log, three));
                co_await sapwood::sleep_for(10s);
                CHECK(!waiting.done());
                CHECK(log.health().reason == std::errc::no_such_file_or_directory);
                std::filesystem::create_directory(folder);
                CHECK(co_await waiting == "");
                CHECK(lines_in(path).back() == "3 three");
                co_await log.close();
                CHECK(log.counts().lines_lost == 0);
            });
        }
    }

    TEST_CASE("what a file had that was removed has not got there when the log is given up") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            const std::string folder = in / "logs";
            const std::string path = folder + "/log";
            std::filesystem::create_directory(folder);
            pipeline log = co_await opened(path, durable());
            co_await log.durable(co_await append(log, "one"));
            const std::size_t line = contents_of(path).size();
            the_disk.on_write = [=, first = true](const io_uring_sqe& sqe) mutable {
                return std::exchange(first, false)
                           ? sapwood::test::perform_some(sqe, static_cast<unsigned>(line) + 10)
                           : std::optional(-ENOSPC);
            };
            const lsn two = co_await append(log, "two");
            (void)co_await append(log, "three");
            auto waiting = sapwood::spawn(outcome_of_written(log, two));
            co_await sapwood::sleep_for(1ms);
            CHECK(lines_in(path) == std::vector<std::string>{"1 one", "2 two"});
            std::filesystem::remove_all(folder);
            const std::error_code why = co_await failure_of_close(log);
            CHECK(why == std::errc::no_such_file_or_directory);
            CHECK(co_await waiting != "");
            CHECK(log.counts().written == lsn{1});
            CHECK(log.counts().records_lost == 2);
        });
    }

    TEST_CASE("nor what it had got of the batch with which it was given up") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            const std::string path = in / "log";
            pipeline_options options = durable();
            options.refused = when_refused::end;
            pipeline log = co_await opened(path, options);
            co_await log.durable(co_await append(log, "one"));
            const std::size_t line = contents_of(path).size();
            the_disk.on_write =
                [=,
                 is_first = true](const io_uring_sqe& sqe) mutable -> std::optional<std::int32_t> {
                if (std::exchange(is_first, false)) {
                    return sapwood::test::perform_some(sqe, static_cast<unsigned>(line) + 10);
                }
                std::filesystem::remove(path); // with all of the second line
                return -ENOSPC;
            };
            const lsn two = co_await append(log, "two");
            (void)co_await append(log, "three");
            CHECK(co_await outcome_of_written(log, two) != "");
            CHECK(co_await failure_of_close(log) == std::errc::no_space_on_device);
            CHECK(log.counts().written == lsn{1});
            CHECK(log.counts().records_lost == 2);
        });
    }

    TEST_CASE("nor what earlier batches had there, and no sync had reached") {
        on_both_disks([](planned_disk&, const temporary_directory& in) -> task<> {
            const std::string folder = in / "logs";
            const std::string path = folder + "/log";
            std::filesystem::create_directory(folder);
            pipeline_options options;
            options.durable = durability::interval(1h);
            pipeline log = co_await opened(path, options);
            co_await log.written(co_await append(log, "one"));
            co_await log.written(co_await append(log, "two"));
            CHECK(log.counts().records_written_only == 2);
            std::filesystem::remove_all(folder);
            const std::error_code why = co_await failure_of_close(log);
            CHECK(why == std::errc::no_such_file_or_directory);
            CHECK(log.counts().records_written_only == 0);
            CHECK(log.counts().records_lost == 2);
            CHECK(log.counts().lines_written == 0);
            CHECK(log.counts().lines_lost == 2);
        });
    }

    TEST_CASE("a mark from a file that was cut is none in the next file, nor above another cut") {
        for (const bool is_renamed : {true, false}) {
            CAPTURE(is_renamed);
            on_both_disks([=](planned_disk&, const temporary_directory& in) -> task<> {
                pipeline_options options;
                options.durable = durability::interval(1h);
                pipeline log = co_await opened(in / "log", options);
                for (const char* text : {"one", "two", "six", "ten"}) {
                    co_await log.written(co_await append(log, text));
                }
                const std::size_t each = contents_of(in / "log").size() / 4;
                std::filesystem::resize_file(in / "log", 2 * each + 5); // six comes again
                co_await log.written(co_await append(log, "five"));
                if (is_renamed) {
                    std::filesystem::rename(in / "log", in / "log.old");
                    co_await sapwood::sleep_for(600ms);
                } else {
                    std::filesystem::resize_file(in / "log", each + 5);
                }
                co_await log.written(co_await append(log, "last"));
                const std::string text = contents_of(in / "log");
                const auto is_marked_at = [&](std::string_view message) {
                    const std::size_t begin = text.rfind('\n', text.find(message)) + 1;
                    return text[begin + numbered_line::mark_at] == numbered_line::mark;
                };
                CHECK(text.find(" last\n") != text.npos);
                CHECK(is_marked_at(" two\n") == !is_renamed);
                CHECK(!is_marked_at(" six\n"));
                CHECK(!is_marked_at(" ten\n"));
                co_await log.close();
            });
        }
    }

    TEST_CASE("nothing is written to a segment that has not got its name yet") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            const std::string path = in / "log";
            pipeline_options options = durable();
            options.segment_bytes_max = 1;
            pipeline log = co_await opened(path, options);
            co_await log.durable(co_await append(log, "one"));
            int failures = 0;
            int writes = 0;
            the_disk.on_directory_sync = [&](const io_uring_sqe& sqe) {
                const bool fails = !std::filesystem::exists(path) && ++failures <= 3;
                return fails ? std::optional(-EIO) : perform(sqe);
            };
            the_disk.on_write = [&](const io_uring_sqe& sqe) {
                writes += failures > 0 ? 1 : 0;
                return perform(sqe);
            };
            co_await log.durable(co_await append(log, "two"));
            CHECK(failures == 4);
            CHECK(writes == 0);
            CHECK(lines_in(path) == std::vector<std::string>{"2 two"});
            CHECK(log.counts().records_durable == 2);
            co_await log.close();
        });
    }

    TEST_CASE("a segment that somebody takes for himself as it is begun has no line twice") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            const std::string path = in / "log";
            pipeline_options options = durable();
            options.segment_bytes_max = 1;
            pipeline log = co_await opened(path, options);
            co_await log.durable(co_await append(log, "one"));
            the_disk.on_directory_sync = [&](const io_uring_sqe& sqe) {
                if (std::filesystem::exists(path + ".next") && !std::filesystem::exists(path)) {
                    std::filesystem::rename(path + ".next", in / "taken");
                    std::filesystem::create_directory(path); // so that it cannot be opened
                }
                return perform(sqe);
            };
            const lsn two = co_await append(log, "two");
            co_await sapwood::sleep_for(50ms);
            CHECK(lines_in(in / "taken") == std::vector<std::string>{"2 two"});
            CHECK(log.counts().durable == lsn{1});
            the_disk.on_directory_sync = nullptr;
            std::filesystem::remove(path);
            co_await log.durable(two);
            CHECK(lines_in(in / "taken") == std::vector<std::string>{"2 two"});
            CHECK(lines_in(path).back() == "2 two");
            co_await log.close();
        });
    }

    TEST_CASE("as many bytes as may be not synced are synced, and a segment is full to the byte") {
        on_both_disks([](planned_disk&, const temporary_directory& in) -> task<> {
            std::size_t line = 0;
            for (const std::size_t more : {0u, 1u}) {
                pipeline_options options;
                options.durable = durability::interval(1h);
                {
                    pipeline log = co_await opened(in / "measure", options);
                    co_await append(log, "text");
                    co_await log.close();
                    line = contents_of(in / "measure").size();
                    std::filesystem::remove(in / "measure");
                }
                options.unsynced_bytes_max = 2 * line + more;
                pipeline log = co_await opened(in / "log", options);
                const lsn first = log.counts().durable;
                co_await log.written(co_await append(log, "text"));
                co_await log.written(co_await append(log, "text"));
                co_await settle();
                CHECK(log.counts().durable == (more == 0 ? first + 2 : first));
                co_await log.close();
            }
            pipeline_options options = durable();
            options.segment_bytes_max = 4 * line;
            pipeline log = co_await opened(in / "log", options);
            co_await log.durable(co_await append(log, "text"));
            CHECK(log.counts().segments_begun == 1);
            co_await log.close();
        });
    }

    TEST_CASE("while it ends, a log tries again ten times a second, however long it was refused") {
        on_both_disks([](planned_disk& the_disk, const temporary_directory& in) -> task<> {
            pipeline_options options = durable();
            options.give_up_after = 1h;
            pipeline log = co_await opened(in / "log", options);
            bool refuses = true;
            the_disk.on_write = [&](const io_uring_sqe& sqe) {
                return refuses ? std::optional(-EIO) : perform(sqe);
            };
            co_await append(log, "one");
            co_await sapwood::sleep_for(1min);
            auto closing =
                sapwood::spawn([](pipeline& its) -> task<> { co_await its.close(); }(log));
            co_await sapwood::sleep_for(10s);
            refuses = false;
            const auto began = sapwood::event_loop::current().now();
            co_await closing;
            CHECK(sapwood::event_loop::current().now() - began <= 100ms);
            CHECK(lines_in(in / "log") == std::vector<std::string>{"1 one"});
        });
    }

    CO_TEST_CASE("a form without numbers is durable all the same, where one is asked for") {
        const temporary_directory folder;
        pipeline_options options = durable();
        options.form = sapwood::layout::verbatim;
        pipeline log = co_await opened(folder / "log", options);
        co_await log.durable(co_await append(log, "text"));
        co_await log.close();
        CHECK(contents_of(folder / "log") == "text\n");
    }

    CO_TEST_CASE("numbered lines need a file that was opened for them") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        const sapwood::file_sink_options options{.path = path};
        auto sink = co_await sapwood::file_sink::open(options);
        CHECK_THROWS_WITH_AS(pipeline(std::move(sink), durable()),
                             doctest::Contains("file_sink_options::numbered"),
                             std::invalid_argument);
    }
}
