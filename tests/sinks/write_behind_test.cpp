// Lines that the kernel is to write back before their sync: what is begun when, and that what comes
// of it is the sync's.
#include "support/allocations.hpp"
#include "support/log_files.hpp"
#include "support/no_frames.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include "write_behind.hpp"

#include <sapwood/file.hpp>
#include <sapwood/file_log_sink.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <liburing.h>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using sapwood::durability;
using sapwood::file_log_sink;
using sapwood::file_log_sink_options;
using sapwood::file_sink;
using sapwood::pipeline;
using sapwood::pipeline_options;
using sapwood::record;
using sapwood::task;
using sapwood::test::contents_of;
using sapwood::test::files_like;
using sapwood::test::loop_with_writes;
using sapwood::test::perform;
using sapwood::test::temporary_directory;

/// Of a file.
using byte_ranges = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

/// A disk that tells what it was asked for. Time is virtual.
class watched_disk {
  public:
    watched_disk()
        : loop_([this](const io_uring_sqe& sqe) {
              steps += "write ";
              return perform(sqe);
          }) {
        auto usual = loop_.ring().answer;
        loop_.ring().answer = [this, usual](const io_uring_sqe& sqe) {
            if (sqe.opcode == IORING_OP_FSYNC) {
                steps += "sync ";
            }
            if (sqe.opcode == IORING_OP_FADVISE) {
                CHECK(sqe.fadvise_advice == POSIX_FADV_DONTNEED);
                dropped.emplace_back(sqe.off, sqe.off + sqe.len);
            }
            if (sqe.opcode != IORING_OP_SYNC_FILE_RANGE) {
                return usual(sqe);
            }
            steps += "back ";
            ranges.emplace_back(sqe.off, sqe.off + sqe.len);
            return on_writeback ? on_writeback(sqe) : perform(sqe);
        };
    }

    template <class T>
    T run(task<T> main) {
        return loop_.run(std::move(main));
    }

    /// Ends a write-back that has not been answered.
    void finish(std::int32_t value) {
        const auto& all = loop_.ring().in_flight();
        const auto found = std::ranges::find_if(
            all, [](const auto& sqe) { return sqe.opcode == IORING_OP_SYNC_FILE_RANGE; });
        REQUIRE(found != all.end());
        loop_.ring().complete(found->user_data, value);
    }

    std::function<std::optional<std::int32_t>(const io_uring_sqe&)> on_writeback;
    std::string steps;
    byte_ranges ranges;
    byte_ranges dropped;

  private:
    loop_with_writes loop_;
};

task<pipeline> opened(const std::string& path, durability durable, std::size_t writeback_bytes,
                      std::uint64_t cached_bytes_max = 0) {
    pipeline_options options;
    options.durable = durable;
    options.writeback_bytes = writeback_bytes;
    const sapwood::file_sink_options file{.path = path, .cached_bytes_max = cached_bytes_max};
    pipeline log = co_await pipeline::open(file, options);
    log.on_loss([](const std::string&) {});
    co_return log;
}

/// A batch of its own.
task<> write(pipeline& log, std::string_view message) {
    record item(sapwood::level::info, 7, message);
    co_await log.written(co_await log.append(std::move(item)));
}

/// Returns when every other task has got as far as it can without time passing or the disk
/// answering.
task<> settle() {
    for (int turn = 0; turn < 5; ++turn) {
        co_await sapwood::idle(1h);
    }
}

task<> note_end(task<> of, bool& is_over) {
    co_await std::move(of);
    is_over = true;
}

std::optional<std::int32_t> never(const io_uring_sqe&) {
    return std::nullopt;
}

} // namespace

TEST_SUITE("write_behind") {
    TEST_CASE("with an interval, what is written is begun to be written back before its sync") {
        const temporary_directory folder;
        watched_disk disk;
        disk.run([](watched_disk& on, std::string path) -> task<> {
            pipeline log = co_await opened(path, durability::interval(1h), 100);
            on.steps.clear();
            co_await write(log, std::string(60, 'a')); // with its head more than a hundred
            const std::uint64_t first = contents_of(path).size();
            co_await write(log, "b");
            co_await write(log, std::string(60, 'c'));
            const std::uint64_t second = contents_of(path).size();
            co_await settle();
            CHECK(on.steps == "write back write write back ");
            CHECK(on.ranges == byte_ranges{{0, first}, {first, second}});
            co_await log.close();
            CHECK(on.steps == "write back write write back sync ");
        }(disk, folder / "log"));
    }

    TEST_CASE("a logger's file with an interval is written back early as a pipeline's is") {
        const temporary_directory folder;
        watched_disk disk;
        disk.run([](watched_disk& on, std::string path) -> task<> {
            file_log_sink_options options{.path = path};
            options.durable = durability::interval(1h);
            options.writeback_bytes = 100;
            file_log_sink sink(options);
            co_await sink.open();
            on.steps.clear();
            co_await sink.write(std::string(100, 'a') + "\n");
            co_await settle();
            const std::uint64_t first = contents_of(path).size();
            co_await sink.write("b\n"sv);
            co_await settle();
            CHECK(on.steps == "write back write ");
            CHECK(on.ranges == byte_ranges{{0, first}});
            on.on_writeback = [](const io_uring_sqe&) { return std::optional(-EIO); };
            co_await sink.write(std::string(100, 'c') + "\n");
            co_await settle();
            CHECK(contents_of(path).ends_with("c\n"));
            on.on_writeback = {};
            CHECK(files_like(path).empty());
            co_await sink.sync(); // it has failed, whatever it would say: a segment begins
            CHECK(files_like(path).size() == 1);
            co_await sink.close();
        }(disk, folder / "log"));
    }

    TEST_CASE("where each batch is synced nothing is written back early, nor where none is and the "
              "kernel decides what stays cached") {
        for (const durability level : {durability::none(), durability::batch()}) {
            const temporary_directory folder;
            watched_disk disk;
            disk.run([](std::string path, durability durable) -> task<> {
                pipeline log = co_await opened(path, durable, 1);
                co_await write(log, "one");
                co_await write(log, "two");
                co_await log.close();
            }(folder / "log", level));
            CHECK(disk.ranges.empty());
        }
    }

    TEST_CASE("a write-back that fails is a sync that has failed, whatever the sync would say") {
        const temporary_directory folder;
        watched_disk disk;
        disk.on_writeback = [is_first = true](const io_uring_sqe&) mutable {
            return std::optional(std::exchange(is_first, false) ? -ENOSPC : 0);
        };
        disk.run([](std::string path) -> task<> {
            pipeline log = co_await opened(path, durability::interval(1h), 1);
            co_await write(log, "one");
            co_await write(log, "two");
            co_await log.close();
            CHECK(log.counts().segments_begun == 1);
            CHECK(log.counts().records_durable == 2);
        }(folder / "log"));
        CHECK(std::filesystem::exists(folder / "log.0000000000000001"));
        const std::string all = contents_of(folder / "log");
        CHECK(all.find(" one\n") != all.npos);
        CHECK(all.find(" two\n") != all.npos);
    }

    TEST_CASE("who knows no write-back is asked once, and that is no failure") {
        for (const int refusal : {EINVAL, ENOSYS, EPERM, EOPNOTSUPP}) {
            const temporary_directory folder;
            watched_disk disk;
            disk.on_writeback = [refusal](const io_uring_sqe&) { return std::optional(-refusal); };
            disk.run([](std::string path) -> task<> {
                pipeline log = co_await opened(path, durability::interval(1h), 1);
                co_await write(log, "one");
                co_await write(log, "two");
                co_await write(log, "three");
                co_await log.close();
                CHECK(log.counts().segments_begun == 0);
            }(folder / "log"));
            CHECK(disk.ranges.size() == 1);
        }
    }

    TEST_CASE("one is under way at a time, and a sync comes behind it") {
        const temporary_directory folder;
        watched_disk disk;
        disk.on_writeback = &never;
        disk.run([](watched_disk& on, std::string path) -> task<> {
            pipeline log = co_await opened(path, durability::interval(1h), 1);
            on.steps.clear();
            co_await write(log, "one");
            co_await write(log, "two");
            bool is_closed = false;
            auto closing = sapwood::spawn(note_end(log.close(), is_closed));
            co_await settle();
            CHECK(on.steps == "write back write ");
            CHECK(!is_closed);
            on.finish(0);
            co_await closing;
            CHECK(on.steps == "write back write sync ");
        }(disk, folder / "log"));
    }

    TEST_CASE(
        "without memory a write-back is left out, or its sync fails, and nothing is missing") {
        bool has_failed = true;
        for (std::size_t nth = 1; has_failed; ++nth) {
            CAPTURE(nth);
            has_failed = false;
            const temporary_directory folder;
            watched_disk disk;
            disk.run([](std::string path, std::size_t failing, bool& failed) -> task<> {
                const sapwood::file_sink_options options{.path = path};
                file_sink sink = co_await file_sink::open(options);
                co_await sink.write("one\n"sv);
                std::optional<sapwood::test::failing_allocations> none;
                {
                    const sapwood::test::no_frames spare;
                    none.emplace(failing);
                    try {
                        co_await sink.begin_writeback(1);
                        co_await sapwood::yield(); // it begins
                    } catch (const std::bad_alloc&) {
                    }
                    failed = none->struck();
                    none.reset();
                }
                try {
                    co_await sink.datasync();
                } catch (const sapwood::sync_error&) { // nothing else
                    CHECK(failed);
                }
                co_await sink.close();
            }(folder / "log", nth, has_failed));
            CHECK(contents_of(folder / "log") == "one\n");
        }
    }

    TEST_CASE("a file is let go only when its write-back is over, whose failure is its own") {
        const temporary_directory folder;
        watched_disk disk;
        disk.on_writeback = &never;
        disk.run([](watched_disk& on, std::string path) -> task<> {
            const sapwood::file_sink_options options{.path = path};
            file_sink sink = co_await file_sink::open(options);
            co_await sink.write("one\n"sv);
            co_await sink.begin_writeback(1);
            bool is_rotated = false;
            auto rotating = sapwood::spawn(note_end(sink.rotate(path + ".1", false), is_rotated));
            co_await settle();
            CHECK(!is_rotated);
            on.finish(-EIO);
            co_await rotating;
            co_await sink.write("two\n"sv);
            co_await sink.datasync();         // of the new one
            co_await sink.begin_writeback(1); // nothing has come since
            CHECK(on.ranges.size() == 1);
            co_await sink.close();
        }(disk, folder / "log"));
        CHECK(contents_of(folder / "log") == "two\n");
    }

    TEST_CASE("what has been written back is dropped from the cache but for the log's end") {
        for (const durability level : {durability::none(), durability::interval(1h)}) {
            const temporary_directory folder;
            watched_disk disk;
            disk.run([](watched_disk& on, std::string path, durability durable) -> task<> {
                pipeline log = co_await opened(path, durable, 1, 100);
                std::vector<std::uint64_t> sizes{0};
                for (int i = 0; i < 4; ++i) {
                    co_await write(log, std::string(150, 'a'));
                    sizes.push_back(contents_of(path).size());
                    co_await settle();
                }
                // A write-back's own range is still on its way when it is begun.
                CHECK(on.ranges == byte_ranges{{0, sizes[1]},
                                               {sizes[1], sizes[2]},
                                               {sizes[2], sizes[3]},
                                               {sizes[3], sizes[4]}});
                // The second time again: the kernel may not have let go of all.
                CHECK(on.dropped == byte_ranges{{sizes[1], sizes[2]}, {sizes[1], sizes[3]}});
                co_await log.close();
            }(disk, folder / "log", level));
        }
    }

    TEST_CASE("who never syncs goes on after a write-back that fails, and drops nothing by it") {
        const temporary_directory folder;
        watched_disk disk;
        int count = 0;
        disk.on_writeback = [&count](const io_uring_sqe&) {
            return std::optional(++count == 3 ? -EIO : 0);
        };
        disk.run([](watched_disk& on, std::string path) -> task<> {
            pipeline log = co_await opened(path, durability::none(), 1, 1);
            std::vector<std::uint64_t> sizes{0};
            for (int i = 0; i < 5; ++i) {
                co_await write(log, "line");
                sizes.push_back(contents_of(path).size());
                co_await settle();
            }
            // The fourth is not begun, for it finds that the third has failed.
            CHECK(on.ranges.size() == 4);
            CHECK(on.ranges.back().second == sizes[5]);
            CHECK(on.dropped == byte_ranges{{sizes[1], sizes[3]}});
            co_await log.close();
            CHECK(log.counts().records_lost == 0);
            CHECK(log.counts().segments_begun == 0);
        }(disk, folder / "log"));
    }

    TEST_CASE("of what was there before a log was opened nothing is dropped") {
        const temporary_directory folder;
        const std::string before(10'000, 'x');
        std::ofstream(folder / "log") << before << '\n';
        watched_disk disk;
        disk.run([](watched_disk& on, std::string path) -> task<> {
            pipeline log = co_await opened(path, durability::none(), 1, 1);
            for (int i = 0; i < 4; ++i) {
                co_await write(log, "line");
                co_await settle();
            }
            REQUIRE(!on.dropped.empty());
            for (const auto& [begin, end] : on.dropped) {
                CHECK(begin > 10'000);
                CHECK(end > begin);
            }
            co_await log.close();
        }(disk, folder / "log"));
    }

    TEST_CASE("however much is to stay cached, what is before that is dropped") {
        for (const std::uint64_t mebibytes : {32u, 1000u, 1022u, 1024u, 3000u}) {
            CAPTURE(mebibytes);
            const temporary_directory folder;
            watched_disk disk;
            disk.on_writeback = [](const io_uring_sqe&) { return std::optional(0); };
            disk.run([](watched_disk& on, std::string path, std::uint64_t cached) -> task<> {
                sapwood::file log =
                    co_await sapwood::file::open(path, {.flags = O_WRONLY | O_CREAT});
                sapwood::detail::write_behind behind(0, cached);
                constexpr std::uint64_t step = 64u << 20; // so late it is dropped
                std::uint64_t dropped = 0;
                for (std::uint64_t size = 0; size <= (8ull << 30); size += step) {
                    co_await behind.go_on(log, size, 1); // nothing of it is there
                    CHECK(!(co_await behind.end()));
                    for (const auto& [begin, end] : on.dropped) {
                        CHECK(begin <= dropped);
                        dropped = std::max(dropped, end);
                    }
                    on.dropped.clear();
                    CHECK(dropped + std::max(cached, step) >= size);
                    CHECK(dropped <= size - std::min(size, cached));
                }
                co_await log.close();
            }(disk, folder / "log", mebibytes << 20));
        }
    }
}
