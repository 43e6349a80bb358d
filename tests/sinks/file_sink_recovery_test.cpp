// file_sink: what a power cut or a kill has left of a numbered log, and what an open makes of it.
#include "support/co_test.hpp"
#include "support/log_files.hpp"
#include "support/numbered_lines.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/file.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/log_verifier.hpp>
#include <sapwood/sanitizers.hpp>
#include <sapwood/sim_world.hpp>

#include <cerrno>
#include <chrono>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <liburing.h>
#include <optional>
#include <string>
#include <string_view>

namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
using sapwood::file_sink;
using sapwood::file_sink_options;
using sapwood::lsn;
using sapwood::task;
using sapwood::test::contents_of;
using sapwood::test::fill;
using sapwood::test::numbered;
using sapwood::test::temporary_directory;

/// CPU of this thread: what others on the machine do does not count.
std::chrono::nanoseconds worked() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

struct outcome {
    std::uint64_t last;
    std::uint64_t torn_bytes;

    friend bool operator==(const outcome&, const outcome&) = default;
};

task<outcome> opened_and_closed(const std::string& path) {
    const sapwood::file_sink_options options{.path = path, .numbered = true};
    file_sink sink = co_await file_sink::open(options);
    const outcome found{sapwood::to_number(sink.last_lsn()), sink.torn_bytes()};
    CHECK(sink.size() == std::filesystem::file_size(path)); // what was moved aside does not count
    co_await sink.close();
    co_return found;
}

/// Opens a log that has `good`, which stays, and `bad`, which is moved aside.
task<> check(std::string good, std::string bad, std::uint64_t last) {
    const temporary_directory folder;
    const std::string path = folder / "log";
    fill(path, good + bad);
    CAPTURE(good.size());
    CAPTURE(bad.size());
    const outcome found = co_await opened_and_closed(path);
    CHECK(found.last == last);
    CHECK(found.torn_bytes == bad.size());
    CHECK(contents_of(path) == good);
    if (!bad.empty()) {
        CHECK(contents_of(path + ".torn") == bad + "\n");
    }
    // And once more: nothing is left to be done.
    CHECK(co_await opened_and_closed(path) == outcome{last, 0});
    CHECK(contents_of(path) == good);
}

std::string lines(std::uint64_t first, std::uint64_t last, std::uint64_t marked_every = 0) {
    std::string text;
    for (std::uint64_t i = first; i <= last; ++i) {
        text += numbered(i, fmt::format("2026-11-21 22:39:56.123 1 info line {}", i),
                         marked_every != 0 && i % marked_every == 0);
    }
    return text;
}

/// What a writer that was killed leaves: with the kernel, and perhaps its sync has failed.
task<> write_unsynced(std::string path, std::string text, bool fails) {
    sapwood::file made = co_await sapwood::file::open(path, {.flags = O_WRONLY | O_CREAT});
    co_await made.write_all(text);
    if (fails) {
        CHECK(!co_await as_result(made.datasync()));
    }
    co_await made.close();
}

task<> open_and_close(std::string path, lsn& last) {
    const file_sink_options options{.path = path, .numbered = true};
    file_sink sink = co_await file_sink::open(options);
    last = sink.last_lsn();
    co_await sink.close();
}

/// The power is cut at a step of the open that finds a segment in the making; or the process is
/// killed there, and the power cut behind that. Then it is opened again. Whether it has come to its
/// end.
bool open_with_outage(std::uint64_t seed, bool has_failed, std::uint64_t last, std::uint64_t step,
                      sapwood::sim_crash how) {
    sapwood::sim_world world({.seed = seed});
    world.put("/log", lines(1, last));
    if (has_failed) {
        world.set_faults({.sync_error = 1});
    }
    REQUIRE(world.run(write_unsynced("/log.next", lines(4, 6) + "torn", has_failed)));
    world.heal();
    lsn found = lsn::none;
    world.crash_at(step, how);
    const bool has_ended = world.run(open_and_close("/log", found));
    if (has_ended || how == sapwood::sim_crash::kill) {
        world.crash(sapwood::sim_crash::power_cut);
    }
    REQUIRE(world.run(open_and_close("/log", found)));
    CHECK(found >= lsn{last}); // else numbers that were acknowledged are given again
    std::string all;
    for (const std::string& name : world.names()) {
        all += world.contents("/" + name).value_or("");
    }
    for (std::uint64_t i = 1; i <= last; ++i) {
        CHECK(all.find(lines(i, i)) != all.npos);
    }
    CHECK((!world.contents("/log.next.torn")));
    return has_ended;
}

} // namespace

TEST_SUITE("file_sink_recovery") {
    CO_TEST_CASE("a new log has no number yet, and a whole one goes on") {
        co_await check("", "", 0);
        co_await check(lines(1, 3), "", 3);
        co_await check(lines(5, 300, 10), "", 300);
    }

    CO_TEST_CASE("a last line that is cut anywhere is moved aside") {
        const std::string line = numbered(4, "text");
        for (std::size_t size = 1; size < line.size(); ++size) {
            co_await check(lines(1, 3), line.substr(0, size), 3);
        }
    }

    TEST_CASE("an open whose reads are short, at any byte, sees all of it") {
        for (const unsigned bytes : {1u, 7u, 64u, 1000u}) {
            CAPTURE(bytes);
            sapwood::test::loop_with_writes loop(&sapwood::test::perform);
            loop.ring().answer = [bytes](const io_uring_sqe& sqe) {
                return sqe.opcode == IORING_OP_READ ? sapwood::test::perform_some(sqe, bytes)
                                                    : sapwood::test::perform(sqe);
            };
            loop.run(check(lines(1, 30, 10), "a torn line", 30));
        }
    }

    TEST_CASE("an open of plain lines whose reads are short moves the torn line, and all of it") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        const std::string torn(100'000, 'x');
        fill(path, "whole\n" + torn);
        sapwood::test::loop_with_writes loop(&sapwood::test::perform);
        loop.ring().answer = [](const io_uring_sqe& sqe) {
            return sqe.opcode == IORING_OP_READ ? sapwood::test::perform_some(sqe, 1000)
                                                : sapwood::test::perform(sqe);
        };
        loop.run([](std::string of) -> task<> {
            const sapwood::file_sink_options options{.path = of};
            file_sink sink = co_await file_sink::open(options);
            CHECK(sink.torn_bytes() == 100'000);
            co_await sink.close();
        }(path));
        CHECK(contents_of(path) == "whole\n");
        CHECK(contents_of(path + ".torn") == torn + "\n");
    }

    CO_TEST_CASE("an end of zeros is moved aside, whatever comes behind it") {
        co_await check(lines(1, 3), std::string(4096, '\0'), 3);
        co_await check(lines(1, 3), std::string(5000, '\0') + "\n", 3);
        co_await check(lines(1, 3), std::string(100, '\0') + "rest of a line\n" + lines(9, 12), 3);
        co_await check("", std::string(10, '\0'), 0);
    }

    CO_TEST_CASE(
        "space that was preallocated and never written to is no line, and no piece of one") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path, std::string(8192, '\0'));
        CHECK(co_await opened_and_closed(path) == outcome{0, 0});
        CHECK(contents_of(path).empty());
        CHECK(!std::filesystem::exists(path + ".torn"));
    }

    TEST_CASE("a log that is cut to nothing is so on the disk, too, before it is opened") {
        sapwood::sim_world world({.seed = 1});
        world.put("/log", std::string(5000, '\0')); // no space: that ends with a block
        CHECK(world.run([]() -> task<> {
            const sapwood::file_sink_options options{.path = "/log", .numbered = true};
            file_sink sink = co_await file_sink::open(options);
            CHECK(sink.size() == 0);
            co_await sink.close();
        }()));
        CHECK(world.contents("/log") == "");
        CHECK(world.durable_contents("/log") == "");
    }

    CO_TEST_CASE("a durable log without numbers goes on in a segment that was made, too") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path + ".next", "one\n");
        const sapwood::file_sink_options options{.path = path, .has_segments = true};
        file_sink sink = co_await file_sink::open(options);
        co_await sink.close();
        CHECK(contents_of(path) == "one\n");
    }

    CO_TEST_CASE("from a line with a wrong checksum on, what is behind the last mark is moved") {
        std::string wrong = numbered(4, "text");
        wrong[30] ^= 1;
        co_await check(lines(1, 3), wrong + lines(5, 6), 3);
        co_await check(lines(1, 3) + numbered(4, "text", true), wrong, 4);
        co_await check("", wrong + lines(5, 6), 0);
    }

    CO_TEST_CASE("somebody's broken piece takes nothing with it: the numbers go on behind it") {
        const std::string half = "0000000000000000 deadbeef half of a li\n";
        const std::string zero = "somebody's\0line\n"s;
        for (const std::string& piece : {half, zero, half + zero, half + "more of it\n"}) {
            CAPTURE(piece);
            co_await check(lines(1, 1) + piece + lines(2, 2), "", 2);
            co_await check(piece + lines(1, 3), "", 3);
            co_await check(lines(1, 2) + piece + numbered(0, "a child's") + lines(3, 3), "", 3);
            co_await check(lines(1, 3, 3) + piece + lines(4, 5) + piece + lines(6, 6), "torn", 6);
            co_await check(lines(1, 2) + piece + lines(2, 3), "", 3); // what comes again
            co_await check(lines(1, 2), piece + numbered(0, "a child's"), 2);
        }
    }

    CO_TEST_CASE("behind a broken piece, what tells of lost records stands for them") {
        const std::string piece = "0000000000000000 deadbeef half of a li\n";
        const auto gap = [](std::uint64_t from, std::uint64_t to) {
            return numbered(to, fmt::format("2026-11-21 22:39:56.123 0 warning {} records are "
                                            "missing here, numbers {} to {}: no space \\(log)",
                                            to - from + 1, from, to));
        };
        co_await check(lines(1, 3) + piece + gap(4, 9) + lines(10, 11), "", 11);
        co_await check(lines(1, 3), piece + gap(5, 9) + lines(10, 11), 3);
    }

    CO_TEST_CASE("a line of ours that is broken and comes again is there") {
        std::string wrong = numbered(3, "text");
        wrong[30] ^= 1;
        co_await check(lines(1, 2) + wrong + lines(4, 4) + lines(3, 4), "", 4);
        co_await check(lines(1, 2), wrong + lines(4, 5), 2);
    }

    CO_TEST_CASE("a mark in a line with a wrong checksum says nothing") {
        std::string wrong = numbered(3, "text", true);
        wrong[30] ^= 1;
        co_await check(lines(1, 2), wrong + lines(4, 5), 2);
    }

    CO_TEST_CASE("a segment in the making that goes on where the log ends becomes the log") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path, lines(1, 3));
        fill(path + ".next", lines(4, 6));
        CHECK(co_await opened_and_closed(path) == outcome{6, 0});
        CHECK(contents_of(path) == lines(4, 6));
        CHECK(contents_of(path + ".0000000000000004") == lines(1, 3));
        CHECK(!std::filesystem::exists(path + ".next"));
    }

    CO_TEST_CASE("what a log has lost with a failed sync stands in the segment in the making") {
        // 4 to 7 were written; their sync failed, and 4, 5 or none of them are in the log.
        for (const std::uint64_t last : {3u, 4u, 5u}) {
            CAPTURE(last);
            const temporary_directory folder;
            const std::string path = folder / "log";
            const std::string made = numbered(4, "2026-11-21 22:39:56.123 1 info line 4", true) +
                                     lines(5, 7) + numbered(8, "half of it").substr(0, 30);
            fill(path, lines(1, last) + std::string(100, '\0'));
            fill(path + ".next", made);
            const file_sink_options options{.path = path, .numbered = true};
            file_sink sink = co_await file_sink::open(options);
            CHECK(sink.last_lsn() == lsn{7});
            const sapwood::log_news told = co_await sink.follow();
            CHECK(told.text.find("had not all that a writer which was killed has written: it is " +
                                 path + ".0000000000000004 now") != std::string::npos);
            co_await sink.write(lines(8, 8));
            co_await sink.close();
            CHECK(contents_of(path) == made.substr(0, made.size() - 30) + lines(8, 8));
            CHECK(contents_of(path + ".0000000000000004") == lines(1, last));
            CHECK(!std::filesystem::exists(path + ".next"));
            sapwood::log_verifier verifier;
            const auto found = verifier.verify(sapwood::log_verifier::segments_of(path));
            CHECK(found.is_whole());
            CHECK(found.last == lsn{8});
            CHECK(found.repeated == 0);
            CHECK(found.superseded == last - 3);
        }
    }

    CO_TEST_CASE("a segment that was given up, and whose numbers came again, is removed") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path, lines(1, 4));
        fill(path + ".next", numbered(4, "2026-11-21 22:39:56.123 1 info another") + lines(5, 6));
        CHECK(co_await opened_and_closed(path) == outcome{4, 0});
        CHECK(contents_of(path) == lines(1, 4));
        CHECK(!std::filesystem::exists(path + ".next"));
    }

    CO_TEST_CASE(
        "another log that is called as a segment in the making does not supersede the log") {
        // Of these more than their ends is never compared.
        for (const std::uint64_t last : {500u, 9000u}) {
            CAPTURE(last);
            const temporary_directory folder;
            const std::string path = folder / "log";
            const std::string log = lines(1, last, 100);
            fill(path, log);
            fill(path + ".next", lines(1, 20'000, 100));
            CHECK(co_await opened_and_closed(path) == outcome{last, 0});
            CHECK((contents_of(path) == log));
            CHECK(sapwood::test::files_like(path).empty());
        }
    }

    TEST_CASE("a segment in the making is whole on disk before it, or nobody, has the log's name") {
        using sapwood::sim_crash;
        for (const bool has_failed : {false, true}) { // its writer's sync
            for (const std::uint64_t last : {3u, 5u}) {
                for (const sim_crash how : {sim_crash::power_cut, sim_crash::kill}) {
                    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
                        CAPTURE(seed);
                        std::uint64_t step = 1;
                        while (!open_with_outage(seed, has_failed, last, step, how)) {
                            ++step;
                        }
                        CHECK(step > 10);
                    }
                }
            }
        }
    }

    CO_TEST_CASE("a segment in the making that begins with what tells of lost records is one") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        const std::string made =
            numbered(9, "2026-11-21 22:39:56.123 0 warning 6 records are missing here, numbers 4 "
                        "to 9: no space \\(log)") +
            lines(10, 11);
        fill(path, lines(1, 3));
        fill(path + ".next", made);
        CHECK(co_await opened_and_closed(path) == outcome{11, 0});
        CHECK(contents_of(path) == made);
        CHECK(contents_of(path + ".0000000000000004") == lines(1, 3));
        CHECK(!std::filesystem::exists(path + ".next"));
    }

    TEST_CASE("of a segment in the making the beginning and the end are looked at") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path, lines(1, 6));
        fill(path + ".next", lines(4, 4));
        std::filesystem::resize_file(path + ".next", 200u << 20); // which is somebody's line
        {
            std::ofstream file(path + ".next", std::ios::binary | std::ios::app);
            file << '\n' << lines(5, 6, 1);
        }
        sapwood::test::loop_with_writes loop(&sapwood::test::perform);
        std::uint64_t read = 0;
        loop.ring().answer = [&read](const io_uring_sqe& sqe) {
            read += sqe.opcode == IORING_OP_READ ? sqe.len : 0;
            return sapwood::test::perform(sqe);
        };
        loop.run([](std::string of) -> task<> {
            CHECK(co_await opened_and_closed(of) == outcome{6, 0});
        }(path));
        CHECK(read < (20u << 20));
        CHECK(!std::filesystem::exists(path + ".next"));
        fill(path + ".next", numbered(9, std::string(8u << 20, 'x')));
        loop.run([](std::string of) -> task<> {
            const outcome found = co_await opened_and_closed(of);
            CHECK(found.last == 9);
            CHECK(found.torn_bytes == 0);
        }(path));
    }

    CO_TEST_CASE("numbers go on behind all that are there, also where some came again") {
        // Cut behind 7, and killed while what was not synced came again.
        const std::string good = lines(1, 7) + numbered(1, "again", true) + numbered(2, "again");
        co_await check(good, "half of a line", 7);
    }

    TEST_CASE("behind the last mark a batch is seen whole, however long its last record is") {
        std::string good = numbered(1, "marked", true);
        std::uint64_t number = 2;
        while (good.size() < (1u << 20)) {
            good += numbered(number++, std::string(10'000, 'x'));
        }
        std::string bad;
        std::uint64_t next = number;
        while (bad.size() < (3u << 20)) {
            bad += numbered(next++, std::string(10'000, 'y'));
        }
        bad.replace(0, 8192, std::string(8192, '\0')); // a hole, as a power cut leaves it
        bad += numbered(next, std::string(6u << 20, 'z'));
        sapwood::test::loop_with_writes loop(&sapwood::test::perform);
        loop.run(check(good, bad, number - 1));
    }

    CO_TEST_CASE("what stands above a mark was on disk: damage there is not an open's to touch") {
        std::string wrong = numbered(2, "text");
        wrong[30] ^= 1;
        const std::string log = lines(1, 1) + wrong + lines(3, 4) + numbered(5, "text", true);
        co_await check(log + lines(6, 7), numbered(8, "text").substr(0, 12), 7);
    }

    CO_TEST_CASE("lines without a number stay where numbered ones follow or came never before") {
        co_await check("an old log\nof plain lines\n", "", 0);
        co_await check("an old log\n" + lines(1, 3), "", 3);
        co_await check(lines(1, 3) + "somebody's own\n" + lines(4, 5), "", 5);
        co_await check(lines(1, 3), "somebody's own\n", 3);
        co_await check("an old log\n", "torn", 0);
    }

    CO_TEST_CASE("a line that is longer than all that is looked at first is found") {
        const std::string message(3u << 20, 'x');
        co_await check(numbered(1, "text", true) + numbered(2, message), "", 2);
        co_await check(lines(1, 1) + numbered(2, message), message, 2);
    }

    CO_TEST_CASE(
        "a last line that is as long as all that is looked at is found, be it torn or not") {
        const std::string message((8u << 20) - 100, 'x');
        const std::string log = lines(1, 4000) + numbered(4001, message);
        co_await check(log, "", 4001);
        co_await check(log, "torn", 4001);
    }

    CO_TEST_CASE(
        "a log without a mark is looked at for some megabytes, and not from its beginning") {
        std::string early = lines(1, 1);
        early[30] ^= 1;
        std::string rest;
        std::uint64_t place = 2;
        while (rest.size() < (9u << 20)) {
            rest += numbered(place++, std::string(20'000, 'x'));
        }
        co_await check(early + rest, numbered(place, "text").substr(0, 20), place - 1);
    }

    TEST_CASE("a log of ten gigabytes is opened by its end alone") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        // A hole in front, which no open may read.
        constexpr std::uint64_t size = 10ull << 30;
        fill(path, "");
        std::filesystem::resize_file(path, size);
        {
            std::ofstream file(path, std::ios::binary | std::ios::app);
            file << '\n' << lines(1'000'000, 1'003'000, 1000) << "torn";
        }
        sapwood::test::loop_with_writes loop(&sapwood::test::perform);
        std::uint64_t read = 0;
        loop.ring().answer = [&read](const io_uring_sqe& sqe) {
            read += sqe.opcode == IORING_OP_READ ? sqe.len : 0;
            return sapwood::test::perform(sqe);
        };
        const auto began = worked();
        const outcome found = loop.run(opened_and_closed(path));
        const auto took = worked() - began;
        CHECK(read <= (9u << 20));
        CHECK(found == outcome{1'003'000, 4});
        // Some 1 ms; to read all of it takes seconds.
        CHECK(took < (SAPWOOD_ADDRESS_SANITIZER ? 500ms : 50ms));
    }

    CO_TEST_CASE("numbers go on behind others' lines, however many these are, whole or not") {
        const std::string of_a_child = sapwood::test::numbered(0, std::string(2000, 'c'));
        const std::string broken = "0000000000000000 deadbeef somebody's half of a li\n";
        for (const std::string& others : {of_a_child, std::string("by hand\n"), broken}) {
            const temporary_directory folder;
            const std::string path = folder / "log";
            std::string text = lines(1, 3);
            const std::size_t ours = text.size();
            while (text.size() < (9u << 20)) {
                text += others;
            }
            fill(path, text);
            const outcome found = co_await opened_and_closed(path);
            CHECK(found.last == 3);
            CHECK(contents_of(path).substr(0, ours) == lines(1, 3));
            fill(path, text + lines(4, 6));
            CHECK(co_await opened_and_closed(path) == outcome{6, 0});
        }
    }

    TEST_CASE("numbers go on behind any amount of others' lines: none is given a second time") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path, "by hand\n" + lines(1, 3));
        std::filesystem::resize_file(path, 600u << 20); // a hole, which is somebody's line
        {
            std::ofstream file(path, std::ios::binary | std::ios::app);
            file << '\n';
            for (std::size_t bytes = 0; bytes < (9u << 20); bytes += 8) {
                file << "by hand\n";
            }
        }
        sapwood::test::loop_with_writes loop(&sapwood::test::perform);
        CHECK(loop.run(opened_and_closed(path)).last == 3);
    }

    CO_TEST_CASE("a segment that had been made when its writer was killed becomes the log") {
        const temporary_directory folder;
        fill(folder / "log.next", lines(4, 6));
        fill(folder / "log.0000000000000004", lines(1, 3));
        CHECK(co_await opened_and_closed(folder / "log") == outcome{6, 0});
        CHECK(contents_of(folder / "log") == lines(4, 6));
        CHECK(!std::filesystem::exists(folder / "log.next"));
    }

    CO_TEST_CASE(
        "a segment in the making whose first line is broken is removed, whatever follows") {
        const temporary_directory folder;
        std::string next = lines(6, 9);
        next[30] ^= 1; // as where the power went off before its first sync
        fill(folder / "log", lines(1, 3));
        fill(folder / "log.next", next);
        CHECK(co_await opened_and_closed(folder / "log") == outcome{3, 0});
        CHECK(contents_of(folder / "log") == lines(1, 3));
        CHECK(!std::filesystem::exists(folder / "log.next"));
    }

    CO_TEST_CASE("a file that is called as a segment is is not a plain log's to take") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path + ".next", "somebody's\n");
        const sapwood::file_sink_options options{.path = path};
        file_sink sink = co_await file_sink::open(options);
        co_await sink.close();
        CHECK(contents_of(path).empty());
        CHECK(contents_of(path + ".next") == "somebody's\n");
    }

    CO_TEST_CASE("a segment that is another writer's at that moment is left alone") {
        const temporary_directory folder;
        const std::string path = folder / "log.next";
        const sapwood::file_sink_options others{.path = path, .numbered = true};
        file_sink other = co_await file_sink::open(others);
        std::string failure;
        try {
            (void)co_await opened_and_closed(folder / "log");
        } catch (const std::system_error& error) {
            failure = error.what();
        }
        CHECK(failure.find("is writing it already") != std::string::npos);
        CHECK(!std::filesystem::exists(folder / "log"));
        co_await other.close();
    }

    CO_TEST_CASE(
        "a segment in the making of which the log has everything is removed: nothing is to come") {
        for (const std::uint64_t last : {4u, 5u}) {
            const temporary_directory folder;
            const std::string path = folder / "log";
            fill(path, lines(1, 5));
            fill(path + ".next", lines(4, last));
            CHECK(co_await opened_and_closed(path) == outcome{5, 0});
            CHECK(contents_of(path) == lines(1, 5));
            CHECK(sapwood::test::files_like(path).empty());
        }
    }

    CO_TEST_CASE(
        "without numbers a segment in the making stays beside its log, unless it is empty") {
        for (const std::string_view made : {""sv, "four\nfi"sv}) {
            const temporary_directory folder;
            const std::string path = folder / "log";
            fill(path, "one\n");
            fill(path + ".next", made);
            const file_sink_options options{.path = path, .has_segments = true};
            file_sink sink = co_await file_sink::open(options);
            const sapwood::log_news told = co_await sink.follow();
            co_await sink.close();
            CHECK(contents_of(path) == "one\n");
            CHECK(!std::filesystem::exists(path + ".next"));
            CHECK(static_cast<bool>(told) == !made.empty());
            CHECK(sapwood::test::files_like(path).size() == (made.empty() ? 0 : 1));
            if (!made.empty()) {
                CHECK(contents_of(path + ".0000000000000000") == made);
            }
        }
    }

    CO_TEST_CASE("what is called as a segment, and is no file, stays there") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path, lines(1, 5));
        const std::string next = path + ".next";
        std::filesystem::create_directory(next);
        CHECK(co_await opened_and_closed(path) == outcome{5, 0});
        CHECK(std::filesystem::is_directory(next));
    }

    CO_TEST_CASE(
        "who finds or makes a file while the log's writer is between two names is refused") {
        for (const std::string_view others : {""sv, "somebody's\n"sv}) {
            const temporary_directory folder;
            const std::string path = folder / "log";
            fill(path, others);
            const std::string next = path + ".next";
            const sapwood::file_sink_options between{.path = next, .numbered = true};
            file_sink writer = co_await file_sink::open(between);
            std::string failure;
            try {
                (void)co_await opened_and_closed(path);
            } catch (const std::system_error& error) {
                failure = error.what();
            }
            CHECK(failure.find(next + " for writing") != std::string::npos);
            CHECK(failure.find("is writing it already") != std::string::npos);
            CHECK(std::filesystem::exists(next));
            CHECK(contents_of(path) == others);
            co_await writer.close();
        }
    }

    CO_TEST_CASE(
        "a file that took the log's name before the killed writer's segment is set aside") {
        for (const std::string_view others : {""sv, "somebody's\n"sv}) {
            const temporary_directory folder;
            const std::string path = folder / "log";
            fill(path + ".0000000000000004", lines(1, 3));
            fill(path + ".next", lines(4, 6));
            fill(path, others);
            CHECK(co_await opened_and_closed(path) == outcome{6, 0});
            CHECK(contents_of(path) == lines(4, 6));
            CHECK(!std::filesystem::exists(path + ".next"));
            CHECK(contents_of(path + ".0000000000000004-2") == others);
        }
        // The same before the log had anything on disk.
        for (const std::string_view others : {""sv, "somebody's\n"sv}) {
            const temporary_directory folder;
            const std::string path = folder / "log";
            fill(path + ".0000000000000001", lines(1, 2));
            fill(path + ".next", lines(1, 3));
            fill(path, others);
            CHECK(co_await opened_and_closed(path) == outcome{3, 0});
            CHECK(contents_of(path) == lines(1, 3));
            CHECK(contents_of(path + ".0000000000000001-2") == others);
        }
    }

    TEST_CASE(
        "a file system that cannot rename and refuse in one step: new segments all the same") {
        sapwood::sim_world world({.seed = 1});
        world.script([](const io_uring_sqe& sqe) {
            const bool refuses = sqe.opcode == IORING_OP_RENAMEAT && sqe.rename_flags != 0;
            return refuses ? std::optional<std::int32_t>(-EINVAL) : std::nullopt;
        });
        CHECK(world.run([]() -> task<> {
            const sapwood::file_sink_options options{.path = "/log", .numbered = true};
            file_sink sink = co_await file_sink::open(options);
            const std::string first = lines(1, 3);
            const std::string second = lines(4, 6);
            co_await sink.write(first);
            co_await sink.begin_segment(second, {}, lsn{4});
            CHECK(!sink.is_unnamed());
            co_await sink.close();
        }()));
        CHECK(world.durable_contents("/log") == lines(4, 6));
        CHECK(world.contents("/log.0000000000000004") == lines(1, 3));
    }

    // --- what docs/durability.md says of other people ---

    CO_TEST_CASE("a log whose file was taken away while nothing wrote it begins anew at 1") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path, lines(1, 3));
        CHECK(co_await opened_and_closed(path) == outcome{3, 0});
        std::filesystem::rename(path, folder / "elsewhere");
        CHECK(co_await opened_and_closed(path) == outcome{0, 0}); // the next is the first
    }

    CO_TEST_CASE("what somebody appends by hand stays where it is, but at the very end") {
        co_await check(lines(1, 3) + "by hand\nand more\n" + lines(4, 5), "", 5);
        co_await check(lines(1, 3), "by hand\nand more\n", 3);
    }

    CO_TEST_CASE("a numbered log, and one that has segments, may not be a symbolic link") {
        for (const bool is_there : {false, true}) { // what it leads to
            for (const bool is_numbered : {false, true}) {
                const temporary_directory folder;
                if (is_there) {
                    fill(folder / "elsewhere", "");
                }
                std::filesystem::create_symlink(folder / "elsewhere", folder / "log");
                const std::string path = folder / "log";
                const file_sink_options options{
                    .path = path, .numbered = is_numbered, .has_segments = !is_numbered};
                std::string failure;
                try {
                    file_sink sink = co_await file_sink::open(options);
                } catch (const std::system_error& error) {
                    failure = error.what();
                }
                CHECK(failure.find("it is a symbolic link, which is not followed; name the file "
                                   "itself") != failure.npos);
                CHECK(std::filesystem::exists(folder / "elsewhere") == is_there);
            }
        }
    }
}
