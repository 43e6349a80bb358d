// rotating_log_sink: files by size and by time, none written over, none too many.
#include "support/allocations.hpp"
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/log_files.hpp"
#include "support/no_frames.hpp"
#include "support/spoiled_log.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include "compress_file.hpp"

#include <sapwood/logger.hpp>
#include <sapwood/rotating_log_sink.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sanitizers.hpp>
#include <sapwood/sleep.hpp>

#include <filesystem>
#include <fmt/chrono.h>
#include <liburing.h>
#include <optional>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::contents_of;
using test::files_like;
using test::fill;
using test::numbers;
using test::put;
using test::temporary_directory;
using strings = std::vector<std::string>;
using time_point = std::chrono::system_clock::time_point;

/// 2026-11-26 14:00:00 UTC.
constexpr time_point two_o_clock{std::chrono::seconds(1'795'701'600)};

/// A wall clock that goes as the loop's does, from `start`.
std::function<time_point()> wall_from(time_point start) {
    return [start, began = event_loop::current().now()] {
        return start + std::chrono::duration_cast<time_point::duration>(
                           event_loop::current().now() - began);
    };
}

/// The lines of all of a log's files, the oldest first.
std::string all_of(const std::string& path) {
    std::string text;
    for (const auto& each : files_like(path)) {
        text += contents_of(each);
    }
    return text + contents_of(path);
}

std::string without_news(const std::string& text) {
    std::string kept;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = text.find('\n', begin) + 1;
        if (text[begin] != '#') {
            kept.append(text, begin, end - begin);
        }
        begin = end;
    }
    return kept;
}

/// Opens `sink`, writes each batch, closes it.
task<> write_batches(log_sink& sink, const strings& batches) {
    co_await sink.open();
    for (const auto& each : batches) {
        co_await put(sink, each);
    }
    co_await sink.close();
}

} // namespace

TEST_SUITE("rotating_log_sink") {

    // --- by size ---

    CO_TEST_CASE("no file is longer than bytes_max, and all are cut between records") {
        for (const std::uint64_t bytes_max : {9u, 10u, 11u, 95u, 100u, 1'000u, 100'000u}) {
            CAPTURE(bytes_max);
            const temporary_directory directory;
            const auto path = directory / "log";
            rotating_log_sink sink({.path = path, .bytes_max = bytes_max});
            const strings batches{numbers(1, 5), numbers(6, 6), numbers(7, 200)};
            co_await write_batches(sink, batches);
            REQUIRE(all_of(path) == numbers(1, 200));
            auto files = files_like(path);
            files.push_back(path);
            for (std::size_t i = 0; i < files.size(); ++i) {
                const auto text = contents_of(files[i]);
                REQUIRE(text.ends_with('\n'));
                const bool is_one_line = text.find('\n') == text.size() - 1;
                const bool fits = text.size() <= bytes_max || is_one_line;
                REQUIRE(fits);
                if (i + 1 < files.size()) { // the next line did not fit
                    const auto next = contents_of(files[i + 1]);
                    REQUIRE(text.size() + next.find('\n') + 1 > bytes_max);
                }
            }
            CHECK(sink.counts().rotated == files.size() - 1);
        }
    }

    CO_TEST_CASE("a record that is longer than a file may be has one of its own") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const std::string one(100, '1');
        rotating_log_sink sink({.path = path, .bytes_max = 20});
        const strings batches{"a\nb\n" + one + "\nc\n"};
        co_await write_batches(sink, batches);
        const auto files = files_like(path);
        REQUIRE(files.size() == 2);
        CHECK(contents_of(files[0]) == "a\nb\n");
        CHECK(contents_of(files[1]) == one + "\n");
        CHECK(contents_of(path) == "c\n");
    }

    CO_TEST_CASE("a crash during a rotation writes the rest of the batch, and no line twice") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const std::string lines = numbers(1, 4);
        log_sink* crashing = nullptr;
        std::string at_crash;
        const auto now = [&] {
            if (log_sink* const sink = std::exchange(crashing, nullptr)) {
                CHECK(sink->write_in_crash(lines));
                at_crash = contents_of(path);
            }
            return two_o_clock;
        };
        rotating_log_sink sink({.path = path, .bytes_max = lines.size() / 2, .now = now});
        co_await sink.open();
        crashing = &sink;
        co_await sink.write(lines);
        CHECK(at_crash == lines);
        co_await sink.close();
    }

    CO_TEST_CASE("what is in the file when the log begins counts") {
        const temporary_directory directory;
        const auto path = directory / "log";
        fill(path, numbers(1, 5));
        rotating_log_sink sink({.path = path, .bytes_max = 60});
        const strings batches{numbers(6, 7)};
        co_await write_batches(sink, batches);
        REQUIRE(files_like(path).size() == 1);
        CHECK(contents_of(files_like(path)[0]) == numbers(1, 6));
        CHECK(contents_of(path) == numbers(7, 7));
    }

    // --- by time ---

    CO_TEST_CASE("every hour means at the full hour, and waits for a line") {
        const temporary_directory directory;
        const auto path = directory / "log";
        rotating_log_sink sink({.path = path, .every = 1h, .now = wall_from(two_o_clock + 20min)});
        co_await sink.open();
        co_await put(sink, "14:20\n");
        co_await sleep_for(39min + 59s);
        co_await put(sink, "14:59:59\n");
        CHECK(files_like(path).empty());
        co_await sleep_for(1s);
        co_await put(sink, "15:00\n");
        co_await sleep_for(3h + 30min);
        co_await put(sink, ""); // nothing was logged
        CHECK(files_like(path).size() == 2);
        co_await sleep_for(1h);
        co_await put(sink, "19:30\n"); // an empty file is not rotated
        CHECK(files_like(path) ==
              strings{path + ".20261126T150000.000Z", path + ".20261126T183000.000Z"});
        CHECK(contents_of(files_like(path)[0]) == "14:20\n14:59:59\n");
        CHECK(contents_of(files_like(path)[1]) == "15:00\n");
        CHECK(contents_of(path) == "19:30\n");
        co_await sink.close();
    }

    CO_TEST_CASE("once a day, and by size, and by hours: whichever comes first") {
        const temporary_directory directory;
        const auto path = directory / "log";
        rotating_log_sink sink({.path = path,
                                .bytes_max = 25,
                                .every = 1h,
                                .daily_at = daily_time{.hour = 14, .minute = 30, .utc = true},
                                .now = wall_from(two_o_clock)});
        co_await sink.open();
        co_await put(sink, "14:00 a\n14:00 b\n14:00 c\n14:00 d\n");
        co_await sleep_for(30min);
        co_await put(sink, "14:30\n");
        co_await sleep_for(30min);
        co_await put(sink, "15:00\n");
        CHECK(files_like(path) == strings{path + ".20261126T140000.000Z",
                                          path + ".20261126T143000.000Z",
                                          path + ".20261126T150000.000Z"});
        CHECK(contents_of(files_like(path)[0]) == "14:00 a\n14:00 b\n14:00 c\n");
        CHECK(contents_of(path) == "15:00\n");
        co_await sink.close();
    }

    CO_TEST_CASE(
        "a file that was last written before the full hour is rotated when the log begins") {
        const temporary_directory directory;
        const auto path = directory / "log";
        for (const auto& [written, files] :
             {std::pair{two_o_clock - 1s, 1u}, std::pair{two_o_clock, 0u}}) {
            fill(path, "old\n");
            std::filesystem::last_write_time(
                path, std::filesystem::file_time_type::clock::from_sys(written));
            rotating_log_sink sink(
                {.path = path, .every = 1h, .now = wall_from(two_o_clock + 1min)});
            const strings batches{"new\n"};
            co_await write_batches(sink, batches);
            CHECK(files_like(path).size() == files);
            CHECK(all_of(path) == "old\nnew\n");
            for (const auto& each : files_like(path)) {
                std::filesystem::remove(each);
            }
            std::filesystem::remove(path);
        }
    }

    CO_TEST_CASE(
        "a clock that is set back puts rotation off by what was set, and names stay in order") {
        const temporary_directory directory;
        const auto path = directory / "log";
        time_point now = two_o_clock + 300 * 24h; // it is wrong
        rotating_log_sink sink({.path = path, .every = 1h, .now = [&now] { return now; }});
        co_await sink.open();
        co_await put(sink, "one\n");
        now += 1h;
        co_await put(sink, "two\n");
        now = two_o_clock;
        co_await put(sink, "three\n");
        now += 1h;
        co_await put(sink, "four\n");
        CHECK(files_like(path).size() == 2);
        CHECK(all_of(path) == "one\ntwo\nthree\nfour\n");
        co_await sink.close();
    }

    CO_TEST_CASE("what is rotated after a clock was set back between two runs is the newest") {
        const temporary_directory directory;
        const auto path = directory / "log";
        time_point now = two_o_clock + 300 * 24h; // it is wrong
        const rotating_log_sink_options options{
            .path = path, .bytes_max = 10, .keep_files = 2, .now = [&now] { return now; }};
        rotating_log_sink first(options);
        const strings of_first{"line 1\n", "line 2\n", "line 3\n", "line 4\n"};
        co_await write_batches(first, of_first);
        now = two_o_clock;
        rotating_log_sink second(options);
        const strings of_second{"line 5\n", "line 6\n"};
        co_await write_batches(second, of_second);
        CHECK(all_of(path) == "line 4\nline 5\nline 6\n");
    }

    // --- asked for ---

    CO_TEST_CASE("a rotation that is asked for is done, unless the file has no line") {
        const temporary_directory directory;
        const auto path = directory / "log";
        rotating_log_sink sink({.path = path});
        co_await sink.open();
        co_await put(sink, "", {.rotate = true});
        CHECK(files_like(path).empty());
        co_await put(sink, "one\n");
        co_await put(sink, "two\n", {.rotate = true});
        REQUIRE(files_like(path).size() == 1);
        CHECK(contents_of(files_like(path)[0]) == "one\n");
        CHECK(contents_of(path) == "two\n");
        co_await sink.close();
    }

    CO_TEST_CASE(
        "what an earlier run has left is rotated when the log begins, if it is asked for") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const rotating_log_sink_options options{.path = path, .rotate_at_open = true};
        const strings first{"one\n", "two\n"};
        const strings second{"three\n", "four\n"};
        for (const auto& lines : {first, second}) {
            rotating_log_sink sink(options);
            co_await write_batches(sink, lines);
        }
        CHECK(contents_of(path) == "three\nfour\n");
        REQUIRE(files_like(path).size() == 1);
        CHECK(contents_of(files_like(path)[0]) == "one\ntwo\n");
    }

    CO_TEST_CASE("what somebody cuts off is noticed, told, and counts no more") {
        const temporary_directory directory;
        const auto path = directory / "log";
        rotating_log_sink sink({.path = path, .bytes_max = 300});
        co_await sink.open();
        co_await put(sink, std::string(199, 'x') + "\n");
        std::filesystem::resize_file(path, 0);
        co_await sleep_for(1s);
        co_await put(sink, "after it\n");
        co_await put(sink, std::string(150, 'y') + "\n");
        const auto text = contents_of(path);
        CAPTURE(text);
        CHECK(text.starts_with("# "));
        CHECK(text.find("200 bytes") != text.npos);
        CHECK(text.ends_with("after it\n" + std::string(150, 'y') + "\n"));
        CHECK(files_like(path).empty()); // it was not full
        co_await sink.close();
    }

    TEST_CASE("where rotated files are to survive the machine, each is synced before its name is") {
        for (const bool sync : {false, true}) {
            const temporary_directory directory;
            const auto path = directory / "log";
            test::loop_with_writes disk(test::perform);
            std::string steps;
            disk.ring().answer = [&](const io_uring_sqe& sqe) {
                steps += sqe.opcode == IORING_OP_FSYNC      ? "sync "
                         : sqe.opcode == IORING_OP_RENAMEAT ? "rename "
                         : sqe.opcode == IORING_OP_WRITE    ? "write "
                                                            : "";
                return test::perform(sqe);
            };
            rotating_log_sink sink({.path = path, .bytes_max = 10, .sync = sync});
            const auto body = [&]() -> task<> {
                co_await sink.open();
                co_await put(sink, "line 1\n");
                steps.clear();
                co_await put(sink, "line 2\n");
                co_await sink.close();
            };
            disk.run(body());
            const auto renamed = steps.find("rename");
            const auto written = steps.find("write");
            CAPTURE(steps);
            CHECK(renamed < written);
            CHECK((steps.find("sync") < renamed) == sync);
            CHECK((steps.substr(renamed, written - renamed).find("sync") != steps.npos) == sync);
        }
    }

    TEST_CASE("a file whose sync fails is rotated, and it is said that it may not be on disk") {
        const temporary_directory directory;
        const auto path = directory / "log";
        test::loop_with_writes disk(test::perform);
        rotating_log_sink sink({.path = path, .bytes_max = 10, .sync = true});
        const auto body = [&]() -> task<> {
            co_await sink.open();
            co_await put(sink, "line 1\n");
            int syncs = 0;
            disk.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                return sqe.opcode == IORING_OP_FSYNC && ++syncs == 1 ? -EIO : test::perform(sqe);
            };
            co_await sink.write(std::string_view("line 2\n"));
            disk.ring().answer = test::perform;
            CHECK(sink.counts().rotations_failed == 0);
            const strings rotated = files_like(path);
            REQUIRE(rotated.size() == 1);
            CHECK(contents_of(rotated[0]) == "line 1\n");
            CHECK(contents_of(path) == "line 2\n");
            const log_news news = co_await sink.tend({});
            CHECK(news.importance == sapwood::level::warning);
            CHECK(news.text ==
                  fmt::format("{} may not be on disk, and what it has gone when the machine loses "
                              "its power: cannot sync {}: Input/output error",
                              rotated[0], path));
            co_await sink.close();
        };
        disk.run(body());
    }

    TEST_CASE("logger::rotate() has happened when a flush returns") {
        const temporary_directory directory;
        const auto path = directory / "log";
        logger_options options;
        options.outputs.push_back(
            {.sink = std::make_unique<rotating_log_sink>(rotating_log_sink_options{.path = path}),
             .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%v"})});
        const logger log(std::move(options));
        for (int i = 1; i <= 5; ++i) {
            log.info("number {}", i);
            log.flush_blocking();
            log.rotate();
            log.flush_blocking();
            REQUIRE(files_like(path).size() == static_cast<std::size_t>(i));
        }
        CHECK(all_of(path) == numbers(1, 5));
    }

    TEST_CASE("every record of threads that log is in one of the files, once, in order") {
        const temporary_directory directory;
        const auto path = directory / "log";
        constexpr int records = 20'000;
        {
            logger_options options;
            options.outputs.push_back(
                {.sink = std::make_unique<rotating_log_sink>(
                     rotating_log_sink_options{.path = path, .bytes_max = 10'000}),
                 .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%v"})});
            const logger log(std::move(options));
            for (int i = 1; i <= records; ++i) {
                log.info("number {}", i);
            }
        }
        CHECK(files_like(path).size() > 20);
        CHECK(all_of(path) == numbers(1, records));
    }

    // --- what stands in the way ---

    CO_TEST_CASE("names that are taken are passed over, and what has them is not touched") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const auto first = path + ".20261126T140000.000Z";
        const auto second = path + ".20261126T140000.001Z";
        fill(first, "theirs\n");
        std::filesystem::create_symlink(directory / "elsewhere", second);
        rotating_log_sink sink({.path = path, .bytes_max = 4, .now = wall_from(two_o_clock)});
        const strings batches{"one\ntwo\n"};
        co_await write_batches(sink, batches);
        CHECK(contents_of(first) == "theirs\n");
        CHECK(!std::filesystem::exists(directory / "elsewhere"));
        CHECK(contents_of(path + ".20261126T140000.002Z") == "one\n");
        CHECK(contents_of(path) == "two\n");
    }

    CO_TEST_CASE("a log that is a symbolic link is refused") {
        const temporary_directory directory;
        const auto path = directory / "log";
        std::filesystem::create_symlink(directory / "elsewhere", path);
        rotating_log_sink sink({.path = path});
        CHECK_THROWS_WITH_AS(co_await sink.open(), doctest::Contains("symbolic link"),
                             std::system_error);
    }

    TEST_CASE("a rotation that fails at any step leaves the log as it was, says so once, is tried "
              "again") {
        for (const auto& [opcode, failure] :
             {std::pair{IORING_OP_RENAMEAT, -EACCES}, std::pair{IORING_OP_RENAMEAT, -EROFS},
              std::pair{IORING_OP_OPENAT, -ENOSPC}, std::pair{IORING_OP_OPENAT, -EMFILE},
              std::pair{IORING_OP_STATX, -EIO}}) {
            CAPTURE(static_cast<int>(opcode));
            CAPTURE(failure);
            const temporary_directory directory;
            const auto path = directory / "log";
            test::loop_with_writes disk(test::perform);
            bool is_broken = false;
            int failed = 0;
            disk.ring().answer = [&, opcode = opcode, failure = failure](
                                     const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                // The name is given back by a renaming that succeeds.
                if (is_broken && sqe.opcode == opcode &&
                    (opcode != IORING_OP_OPENAT || (sqe.open_flags & O_CREAT) != 0)) {
                    ++failed;
                    return failure;
                }
                return test::perform(sqe);
            };
            rotating_log_sink sink({.path = path, .bytes_max = 20});
            const auto body = [&]() -> task<> {
                co_await sink.open();
                co_await put(sink, numbers(1, 2));
                is_broken = true;
                co_await put(sink, numbers(3, 4));
                co_await put(sink, numbers(5, 6));
                CHECK(sink.counts().rotations_failed == 1); // not at each batch
                is_broken = false;
                co_await put(sink, numbers(7, 7));
                CHECK(files_like(path).empty());
                CHECK(without_news(contents_of(path)) == numbers(1, 7));
                co_await sleep_for(1s);
                co_await put(sink, numbers(8, 9));
                co_await sink.close();
            };
            disk.run(body());
            CHECK(failed >= 1);
            const auto text = all_of(path);
            CHECK(without_news(text) == numbers(1, 9));
            CHECK(std::count(text.begin(), text.end(), '#') == 1);
            CHECK(text.find("is not rotated, and goes on") != text.npos);
            REQUIRE(files_like(path).size() == 1);
            CHECK(contents_of(path) == numbers(8, 9));
        }
    }

    TEST_CASE("a rotation that was asked for and failed is tried again, too") {
        const temporary_directory directory;
        const auto path = directory / "log";
        test::loop_with_writes disk(test::perform);
        bool is_broken = true;
        disk.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            return is_broken && sqe.opcode == IORING_OP_RENAMEAT ? -EACCES : test::perform(sqe);
        };
        rotating_log_sink sink({.path = path});
        const auto body = [&]() -> task<> {
            co_await sink.open();
            co_await put(sink, numbers(1, 2));
            co_await put(sink, numbers(3, 4), {.rotate = true});
            CHECK(sink.counts().rotations_failed == 1);
            is_broken = false;
            co_await sleep_for(1s);
            co_await put(sink, numbers(5, 6));
            co_await put(sink, numbers(7, 8)); // once
            co_await sink.close();
        };
        disk.run(body());
        CHECK(sink.counts().rotated == 1);
        REQUIRE(files_like(path).size() == 1);
        CHECK(without_news(contents_of(files_like(path)[0])) == numbers(1, 4));
        CHECK(without_news(contents_of(path)) == numbers(5, 8));
    }

    TEST_CASE("killed at any step of a rotation, no line is lost or there twice, and the next open "
              "goes on") {
        bool was_whole = false;
        for (int steps = 0; !was_whole; ++steps) {
            CAPTURE(steps);
            REQUIRE(steps < 200);
            const temporary_directory directory;
            const auto path = directory / "log";
            const auto ended = test::in_child([&] {
                test::loop_with_writes disk(test::perform);
                int left = steps;
                disk.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                    if (left-- == 0) {
                        ::_exit(9);
                    }
                    return test::perform(sqe);
                };
                rotating_log_sink sink({.path = path, .bytes_max = 20, .sync = true});
                const strings batches{numbers(1, 2), numbers(3, 4), numbers(5, 6)};
                disk.run(write_batches(sink, batches));
                return std::string("whole");
            });
            was_whole = ended == "whole";
            rotating_log_sink sink({.path = path, .bytes_max = 20});
            const strings batches{"last\n"};
            test::run_virtual(write_batches(sink, batches));
            const auto text = all_of(path);
            const auto whole = numbers(1, 6);
            REQUIRE(text.ends_with("last\n"));
            const auto before = text.substr(0, text.size() - 5);
            REQUIRE(before == whole.substr(0, before.size()));
            REQUIRE((!was_whole || before == whole));
        }
    }

    TEST_CASE("a write that fails after a rotation tells how much went into both files") {
        const temporary_directory directory;
        const auto path = directory / "log";
        int writes = 0;
        test::loop_with_writes disk([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            ++writes;
            if (writes == 2) {
                return test::perform_some(sqe, 12);
            }
            return writes == 3 ? -ENOSPC : test::perform(sqe);
        });
        rotating_log_sink sink({.path = path, .bytes_max = 20});
        const auto body = [&]() -> task<std::size_t> {
            co_await sink.open();
            std::size_t kept = 0;
            try {
                co_await sink.write(numbers(1, 4));
            } catch (const write_error& error) {
                kept = error.bytes_kept;
            }
            co_await sink.close();
            co_return kept;
        };
        CHECK(disk.run(body()) == numbers(1, 3).size());
        CHECK(all_of(path) == numbers(1, 3));
    }

    CO_TEST_CASE("a log that somebody has renamed goes on, and is rotated from there") {
        const temporary_directory directory;
        const auto path = directory / "log";
        rotating_log_sink sink({.path = path, .bytes_max = 20, .now = wall_from(two_o_clock)});
        co_await sink.open();
        co_await put(sink, numbers(1, 1));
        std::filesystem::rename(path, directory / "mine");
        co_await put(sink, numbers(2, 3), {.reopen = true});
        co_await put(sink, numbers(4, 4));
        CHECK(contents_of(directory / "mine") == numbers(1, 1));
        REQUIRE(files_like(path).size() == 1);
        CHECK(contents_of(files_like(path)[0]) == numbers(2, 3));
        CHECK(contents_of(path) == numbers(4, 4));
        // Renamed just now: the file is not mistaken for what has its name.
        std::filesystem::rename(path, directory / "mine again");
        fill(path, "theirs\n");
        co_await put(sink, numbers(5, 7));
        co_await put(sink, numbers(8, 8));
        CHECK(contents_of(directory / "mine again") == numbers(4, 5));
        CHECK(files_like(path).size() > 1);
        CHECK(without_news(all_of(path)) ==
              numbers(2, 3) + "theirs\n" + numbers(6, 6) + numbers(7, 8));
        co_await sink.close();
    }

    CO_TEST_CASE("who opens a log that his own process writes is not told to end the process") {
        const temporary_directory directory;
        const auto path = directory / "log";
        rotating_log_sink sink({.path = path});
        co_await sink.open();
        rotating_log_sink second({.path = path});
        CHECK_THROWS_WITH_AS(co_await second.open(),
                             doctest::Contains("is writing it already; close that log first, or"),
                             std::system_error);
        co_await sink.close();
    }

    CO_TEST_CASE("the new file is locked, and the old one no longer is") {
        const temporary_directory directory;
        const auto path = directory / "log";
        rotating_log_sink sink({.path = path, .bytes_max = 9});
        co_await sink.open();
        co_await put(sink, numbers(1, 2));
        rotating_log_sink second({.path = path});
        CHECK_THROWS_WITH_AS(co_await second.open(), doctest::Contains("is writing it already"),
                             std::system_error);
        REQUIRE(files_like(path).size() == 1);
        rotating_log_sink free({.path = files_like(path)[0]});
        co_await free.open();
        co_await free.close();
        co_await sink.close();
    }

    CO_TEST_CASE("a child that was forked leaves rotation to its parent, and follows it") {
        const temporary_directory directory;
        const auto path = directory / "log";
        rotating_log_sink sink({.path = path, .bytes_max = 20, .now = wall_from(two_o_clock)});
        co_await sink.open();
        co_await put(sink, numbers(1, 2));
        const pid_t child = ::fork();
        if (child == 0) {
            event_loop loop;
            const auto body = [](log_sink& inherited) -> task<> {
                co_await put(inherited, numbers(3, 4), {.rotate = true});
            };
            loop.run(body(sink));
            ::_exit(0);
        }
        int status = -1;
        REQUIRE(::waitpid(child, &status, 0) == child);
        CHECK(status == 0);
        CHECK(contents_of(path) == numbers(1, 4));
        co_await put(sink, numbers(5, 5));
        CHECK(files_like(path).size() == 1);
        CHECK(all_of(path) == numbers(1, 5));
        co_await sink.close();
    }

    CO_TEST_CASE("what a child has yet to write to a rotated file is not compressed away") {
        if (!detail::can_compress()) {
            co_return;
        }
        for (const bool is_durable : {false, true}) {
            CAPTURE(is_durable);
            const temporary_directory directory;
            const auto path = directory / "log";
            rotating_log_sink_options options{.path = path, .compress = true};
            options.durable = is_durable ? durability::batch() : durability::none();
            options.numbered = false;
            rotating_log_sink sink(options);
            co_await sink.open();
            co_await put(sink, numbers(1, 1));
            int go_on[2];
            int is_open[2];
            REQUIRE(::pipe(go_on) == 0);
            REQUIRE(::pipe(is_open) == 0);
            const pid_t child = ::fork();
            if (child == 0) {
                event_loop loop;
                const auto body = [](log_sink& inherited, int told, int tell) -> task<> {
                    co_await inherited.open_in_child();
                    char byte = 0;
                    bool is_well = ::write(tell, &byte, 1) == 1 && ::read(told, &byte, 1) == 1;
                    co_await inherited.write(std::string_view("the child's\n"));
                    ::_exit(is_well ? 0 : 1);
                };
                loop.run(body(sink, go_on[0], is_open[1]));
                ::_exit(1);
            }
            char byte = 0;
            CHECK(::read(is_open[0], &byte, 1) == 1);
            co_await put(sink, "", {.rotate = true});
            co_await put(sink, numbers(2, 2));
            co_await sink.housekeeping();
            CHECK(::write(go_on[1], &byte, 1) == 1);
            int status = -1;
            CHECK(::waitpid(child, &status, 0) == child);
            CHECK(status == 0);
            REQUIRE(files_like(path).size() == 1);
            CHECK(contents_of(files_like(path)[0]) == numbers(1, 1) + "the child's\n");
            for (const int fd : {go_on[0], go_on[1], is_open[0], is_open[1]}) {
                ::close(fd);
            }
            co_await sink.close();
        }
    }

    // --- what there is no memory for ---

    CO_TEST_CASE("where memory is missing for who looks after rotated files, the lines that began "
                 "the new one are there once, and it is done with the next look") {
        const temporary_directory directory;
        const auto path = directory / "log";
        rotating_log_sink_options options{.path = path, .bytes_max = 40, .keep_files = 1};
        options.durable = durability::batch();
        std::optional<test::no_frames> frames;
        std::optional<test::failing_allocations> none;
        bool is_due = false;
        options.now = [&] { // asked when it is rotated, as well
            if (is_due && !none && files_like(path).size() == 2) {
                frames.emplace();
                none.emplace(1);
            }
            return std::chrono::system_clock::now();
        };
        rotating_log_sink sink(options);
        co_await sink.open();
        co_await sink.write(std::string_view("one\n"));
        co_await sink.housekeeping();
        co_await sink.write(std::string_view("two\n"));
        co_await sink.housekeeping();
        is_due = true;
        bool is_there = false;
        try {
            co_await sink.write(std::string_view("three\n"));
            is_there = true;
        } catch (const std::bad_alloc&) {
        }
        CHECK((none && none->struck()));
        none.reset();
        frames.reset();
        is_due = false;
        CHECK(is_there);
        CHECK(test::spoiled_log::lines_of(path) == strings{"3 three"});
        CHECK(sink.counts().removed == 0);
        (void)co_await sink.tend({});
        co_await sink.housekeeping();
        CHECK(sink.counts().removed == 1);
        co_await sink.close();
    }

    TEST_CASE("where memory is missing to tell of rotated files, they are looked after with the "
              "next rotation, and a close closes") {
        if (!detail::can_compress()) {
            return;
        }
        for (const bool is_closing : {false, true}) {
            bool has_failed = true;
            for (std::size_t nth = 1; has_failed; ++nth) {
                CAPTURE(is_closing);
                CAPTURE(nth);
                has_failed = false;
                const temporary_directory directory;
                const auto path = directory / "log";
                rotating_log_sink sink({.path = path, .keep_files = 1, .compress = true, .now = [] {
                                            return two_o_clock;
                                        }});
                std::filesystem::create_directory(path + ".20261126T140000.000Z.zst.tmp");
                run([](rotating_log_sink& its, std::size_t failing, bool closes,
                       bool& failed) -> task<> {
                    co_await its.open();
                    co_await its.write(std::string_view("one\n"));
                    (void)co_await its.tend({.rotate = true});
                    bool is_closed = false;
                    {
                        const test::failing_allocations none(failing);
                        try {
                            if (closes) {
                                co_await its.close();
                                is_closed = true;
                            } else {
                                co_await its.housekeeping();
                            }
                        } catch (const std::bad_alloc&) {
                        }
                        failed = none.struck();
                    }
                    if (closes) { // where a sanitizer is, no frame is to be had without memory
                        CHECK((is_closed || SAPWOOD_ADDRESS_SANITIZER != 0));
                        co_return;
                    }
                    co_await its.write(std::string_view("two\n"));
                    (void)co_await its.tend({.rotate = true});
                    co_await its.housekeeping();
                    CHECK(its.counts().removed == 1);
                    co_await its.close();
                }(sink, nth, is_closing, has_failed));
            }
        }
    }

    CO_TEST_CASE("of failures that come faster than they are told those that are too many are "
                 "counted") {
        if (!detail::can_compress()) {
            co_return;
        }
        const temporary_directory directory;
        const auto path = directory / "log";
        rotating_log_sink sink(
            {.path = path, .bytes_max = 9, .compress = true, .now = [] { return two_o_clock; }});
        co_await sink.open();
        // What is in the way of a compression, each time.
        std::filesystem::create_directory(path + ".20261126T140000.000Z.zst.tmp");
        for (int i = 0; i < 80; ++i) {
            co_await sink.write(numbers(7, 7));
            co_await sink.housekeeping();
        }
        int told = 0;
        std::string last;
        for (log_news news = co_await sink.tend({}); news; news = co_await sink.tend({})) {
            last = news.text;
            ++told;
        }
        CHECK(told == 65);
        CHECK(last.find("more of what its rotations had to tell are left out") != last.npos);
        co_await sink.close();
    }

    TEST_CASE("an option that makes no sense is named") {
        const auto refused = [](rotating_log_sink_options options, const char* what) {
            CHECK_THROWS_WITH_AS(rotating_log_sink(std::move(options)), doctest::Contains(what),
                                 std::invalid_argument);
        };
        refused({.path = ""}, "path");
        refused({.path = "folder/"}, "path");
        refused({.path = "x", .every = -1s}, "every");
        refused({.path = "x", .daily_at = daily_time{.hour = 24}}, "daily_at.hour");
        refused({.path = "x", .daily_at = daily_time{.minute = 60}}, "daily_at.minute");
        refused({.path = "x", .keep_for = -1s}, "keep_for");
        refused({.path = "x", .compression_level = 0}, "compression_level");
    }
}
