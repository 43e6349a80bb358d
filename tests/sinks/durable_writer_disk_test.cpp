// durable_writer: what it keeps, marks and syncs where operations on its file fail, on real files.
#include "support/allocations.hpp"
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/no_frames.hpp"
#include "support/numbered_lines.hpp"
#include "support/spoiled_log.hpp"

#include <sapwood/rotating_log_sink.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::contents_of;
using test::is_rename;
using test::is_sync;
using test::is_write;
using test::numbered;
using test::outcome;
using test::perform;
using test::put;
using test::spoiled_log;
using test::strings;
using test::sync_of;
using test::write_to;

const std::string others_line = numbered(0, "others'");

/// Its size in the file.
std::size_t bytes_of(std::string_view message) {
    return numbered_line::head_bytes + message.size() + 1;
}

/// A disk that syncs by itself only, whose `nth` sync from now on fails, and whose `nth_rename`.
void spoil(spoiled_log& log, int nth_sync, int nth_rename = 0) {
    log.loop.ring().answer = [nth_sync,
                              nth_rename](const io_uring_sqe& sqe) mutable -> spoiled_log::answer {
        if (is_write(sqe) && (sqe.rw_flags & RWF_DSYNC) != 0) {
            return -EOPNOTSUPP;
        }
        const bool fails =
            (is_sync(sqe) && --nth_sync == 0) || (is_rename(sqe) && --nth_rename == 0);
        return fails ? std::optional(-EIO) : perform(sqe);
    };
}

rotating_log_sink_options rotating(const spoiled_log& log, std::uint64_t bytes_max,
                                   bool is_numbered = true) {
    rotating_log_sink_options options{.path = log.path, .bytes_max = bytes_max};
    options.durable = durability::batch();
    options.numbered = is_numbered;
    return options;
}

} // namespace

TEST_SUITE("durable_writer_disk") {
    // --- when it is synced ---

    TEST_CASE("with an interval a line that comes when it is over is synced, and not before") {
        spoiled_log log(true, durability::interval(10ms));
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            CHECK(its.syncs_from_now() == 0);
            co_await put(*its.sink, "one\n");
            CHECK(its.sink->sync_at() == event_loop::current().now() + 10ms);
            co_await sleep_for(9ms);
            co_await put(*its.sink, "two\n");
            CHECK(its.syncs == 0);
            co_await sleep_for(1ms);
            co_await put(*its.sink, "three\n");
            CHECK(its.syncs == 1);
            CHECK(its.sink->sync_at() == clock::time_point::max());
            co_await its.sink->close();
        }(log));
    }

    TEST_CASE("as many bytes as may be not synced are synced, and one less is not") {
        for (const std::size_t less : {0u, 1u}) {
            spoiled_log log;
            file_log_sink_options options{.path = log.path};
            options.durable = durability::interval(1h);
            options.unsynced_bytes_max = bytes_of("one") + bytes_of("two") + less;
            log.sink = std::make_unique<file_log_sink>(options);
            log.loop.run([](spoiled_log& its, bool is_less) -> task<> {
                co_await its.sink->open();
                CHECK(its.syncs_from_now() == 0);
                co_await put(*its.sink, "one\n");
                CHECK(its.syncs == 0);
                co_await put(*its.sink, "two\n");
                CHECK(its.syncs == (is_less ? 0 : 1));
                co_await its.sink->close();
            }(log, less != 0));
        }
    }

    TEST_CASE("as much may be not synced as recovery looks at") {
        file_log_sink_options options{.path = "log"};
        options.unsynced_bytes_max = 8u << 20;
        CHECK_NOTHROW(file_log_sink{options});
    }

    TEST_CASE("a batch whose lines get long by their heads goes to the file in parts") {
        for (const std::size_t part_that_fails : {0u, 2u}) {
            CAPTURE(part_that_fails);
            spoiled_log log;
            log.loop.run([](spoiled_log& its, std::size_t failing) -> task<> {
                co_await its.sink->open();
                std::size_t longest = 0;
                std::size_t parts = 0;
                its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                    if (!is_write(sqe)) {
                        return perform(sqe);
                    }
                    longest = std::max<std::size_t>(longest, sqe.len);
                    return ++parts == failing ? std::optional(-EIO) : perform(sqe);
                };
                std::string lines;
                while (lines.size() < 200'000) {
                    lines += "x\n";
                }
                lines += std::string(2u << 20, 'y') + "\n";
                const auto how = co_await write_to(*its.sink, lines);
                CHECK(how.failure == (failing == 0
                                          ? std::error_code()
                                          : std::error_code(EIO, std::generic_category())));
                if (failing != 0) { // whole lines, and it is known how many
                    CHECK(how.kept > 0);
                    CHECK(how.kept < 200'000);
                    its.loop.ring().answer = perform;
                    CHECK(!(co_await write_to(*its.sink, lines.substr(how.kept))).failure);
                } else {
                    CHECK(parts == 4); // 100,000 lines of 28 bytes, and the long one
                    CHECK(longest == bytes_of(std::string(2u << 20, 'y')));
                }
                co_await its.sink->close();
            }(log, part_that_fails));
            const auto found = sapwood::log_verifier().verify({log.path});
            CHECK(found.is_whole());
            CHECK(found.lines == 100'001);
        }
    }

    TEST_CASE("without memory for a part of a batch the parts before it are kept, and come once") {
        for (const bool is_rotating : {false, true}) { // by its pieces
            CAPTURE(is_rotating);
            spoiled_log log;
            rotating_log_sink rotated(rotating(log, 0));
            log_sink& sink = is_rotating ? static_cast<log_sink&>(rotated) : *log.sink;
            log.loop.run([](spoiled_log& its, log_sink& to) -> task<> {
                co_await to.open();
                const std::string first = "first\n";
                const std::string lines = first + std::string(2u << 20, 'y') + "\n";
                std::optional<test::failing_allocations> none;
                its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                    const auto done = perform(sqe);
                    if (is_write(sqe)) { // and nothing for the next part
                        none.emplace(1);
                    }
                    return done;
                };
                std::size_t kept = 0;
                try {
                    co_await to.write(lines);
                    kept = lines.size();
                } catch (const write_error& error) {
                    kept = error.bytes_kept;
                } catch (const std::bad_alloc&) {
                }
                none.reset();
                its.loop.ring().answer = perform;
                co_await to.write(std::string_view(lines).substr(kept));
                co_await to.close();
            }(log, sink));
            const auto found = sapwood::log_verifier().verify({log.path});
            CHECK(found.is_whole());
            CHECK(found.lines == 2);
        }
    }

    TEST_CASE(
        "a batch of up to 16 KiB is written and synced in one operation, a longer one in two") {
        for (const std::size_t more : {0u, 1u}) {
            spoiled_log log;
            log.loop.run([](spoiled_log& its, std::size_t longer) -> task<> {
                co_await its.sink->open();
                CHECK(its.syncs_from_now() == 0);
                co_await put(*its.sink,
                             std::string((16u << 10) - bytes_of("") + longer, 'x') + "\n");
                CHECK(its.syncs == static_cast<int>(longer));
                co_await its.sink->close();
            }(log, more));
        }
    }

    // --- a disk that fails ---

    TEST_CASE("a failure is told with its reason once") {
        spoiled_log log;
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            its.fail(1, is_write);
            std::string what;
            try {
                co_await its.sink->write(std::string_view("one\n"));
            } catch (const write_error& error) {
                what = error.what();
            }
            CHECK(what == "cannot write " + its.path + ": Input/output error");
            CHECK(its.sink->sync_at() == clock::time_point::max()); // nothing is there to be synced
            co_await its.sink->close();
        }(log));
    }

    TEST_CASE("what a failed write has kept comes once, whatever there is no memory to tell") {
        const auto play = [](bool is_numbered, durability level, std::size_t nth) {
            bool has_failed = false;
            spoiled_log log(is_numbered, level);
            log.loop.run(
                [](spoiled_log& its, bool numbers, std::size_t failing, bool& failed) -> task<> {
                    co_await its.sink->open();
                    const auto some = static_cast<unsigned>((numbers ? bytes_of("one") : 4) + 3);
                    std::optional<test::failing_allocations> none;
                    int writes = 0;
                    its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                        if (!is_write(sqe) || ++writes > 2) {
                            return perform(sqe);
                        }
                        if (writes == 1) {
                            return test::perform_some(sqe, some);
                        }
                        none.emplace(failing);
                        return -ENOSPC;
                    };
                    const std::string_view lines = "one\ntwo\n";
                    std::size_t kept = 0;
                    try {
                        co_await its.sink->write(lines);
                    } catch (const write_error& error) {
                        kept = error.bytes_kept;
                    } catch (const std::bad_alloc&) {
                    }
                    failed = none && none->struck();
                    none.reset();
                    its.loop.ring().answer = perform;
                    CHECK(kept == 4);
                    co_await its.sink->write(lines.substr(kept));
                    co_await its.sink->close();
                }(log, is_numbered, nth, has_failed));
            CHECK(test::files_like(log.path).empty());
            if (is_numbered) {
                CHECK(log.lines() == strings{"1 one", "2 two"});
            } else {
                CHECK(contents_of(log.path) == "one\ntwo\n");
            }
            return has_failed;
        };
        for (const durability level :
             {durability::none(), durability::batch(), durability::interval(1h)}) {
            for (const bool is_numbered : {false, true}) {
                CAPTURE(is_numbered);
                CAPTURE(level.is_none());
                CAPTURE(level.is_batch());
                bool has_failed = !(is_numbered && level.is_none());
                for (std::size_t nth = 1; has_failed; ++nth) {
                    CAPTURE(nth);
                    has_failed = play(is_numbered, level, nth);
                }
            }
        }
    }

    TEST_CASE("of a segment that somebody cuts as it is begun, and there is no memory to tell it, "
              "no line "
              "is taken for another") {
        bool has_failed = true;
        for (std::size_t nth = 1; has_failed; ++nth) {
            CAPTURE(nth);
            has_failed = false;
            spoiled_log log;
            log.loop.run([](spoiled_log& its, std::size_t failing, bool& failed) -> task<> {
                co_await its.sink->open();
                std::optional<test::failing_allocations> none;
                int syncs = 0;
                int renames = 0;
                its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                    if (is_write(sqe) && (sqe.rw_flags & RWF_DSYNC) != 0) {
                        return -EOPNOTSUPP;
                    }
                    if (is_sync(sqe) && ++syncs == 1) {
                        return -EIO;
                    }
                    const auto done = perform(sqe);
                    if (is_rename(sqe) && ++renames == 2) { // it has the log's name
                        std::filesystem::resize_file(its.path, bytes_of("one"));
                        none.emplace(failing);
                    }
                    return done;
                };
                const std::string_view lines = "one\ntwo\n";
                std::size_t kept = lines.size();
                try {
                    co_await its.sink->write(lines);
                } catch (const write_error& error) {
                    kept = error.bytes_kept;
                } catch (const std::bad_alloc&) {
                    kept = 0;
                }
                failed = none && none->struck();
                none.reset();
                co_await its.sink->write("news\n" + std::string(lines.substr(kept)));
                co_await its.sink->sync();
                co_await its.sink->close();
            }(log, nth, has_failed));
            CHECK(log.lines() == strings{"1 one", "2 two", "3 news"});
            CHECK(log.is_whole());
        }
    }

    TEST_CASE("without memory for a moment a log's end has everything on disk all the same") {
        for (std::size_t nth = 1; nth <= 4; ++nth) {
            CAPTURE(nth);
            test::spoiled_log log(true, durability::interval(std::chrono::hours(1)));
            log.loop.run([](test::spoiled_log& its, std::size_t failing) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\n");
                (void)its.syncs_from_now();
                auto closing = its.sink->close();
                std::optional<test::no_frames> frames;
                std::optional<test::failing_allocations> none;
                const auto giving_back =
                    spawn([](std::optional<test::no_frames>& kept,
                             std::optional<test::failing_allocations>& failure) -> task<> {
                        failure.reset();
                        kept.reset();
                        co_return;
                    }(frames, none));
                frames.emplace();
                none.emplace(failing);
                co_await std::move(closing);
                CHECK(its.syncs == 1);
                co_await giving_back;
            }(log, nth));
            CHECK(log.lines() == strings{"1 one"});
        }
    }

    TEST_CASE("a failed sync that there was no memory to tell is not believed the next time") {
        for (const bool is_numbered : {true, false}) {
            for (const durability level : {durability::batch(), durability::interval(1h)}) {
                CAPTURE(is_numbered);
                CAPTURE(level.is_batch());
                spoiled_log log(is_numbered, level);
                log.loop.run([](spoiled_log& its) -> task<> {
                    co_await its.sink->open();
                    std::optional<test::failing_allocations> none;
                    its.once(is_sync, [&](const io_uring_sqe&) -> spoiled_log::answer {
                        none.emplace(1);
                        return -EIO;
                    });
                    for (bool is_durable = false; !is_durable;) {
                        try {
                            if (its.sink->sync_at() == clock::time_point::max()) {
                                co_await its.sink->write(std::string_view("one\n"));
                            }
                            co_await its.sink->sync();
                            is_durable = true;
                        } catch (const std::bad_alloc&) {
                            none.reset();
                        }
                    }
                    co_await its.sink->close();
                }(log));
                CHECK(test::files_like(log.path).size() == 1); // what was not to be believed
                CHECK(contents_of(log.path).ends_with("one\n"));
                CHECK(std::filesystem::file_size(log.path) == (is_numbered ? bytes_of("one") : 4));
            }
        }
    }

    TEST_CASE("whole lines of a write that failed are synced soon, and come again where need be") {
        for (const bool is_taken_away : {false, true}) {
            spoiled_log log(true, durability::interval(1h));
            log.loop.run([](spoiled_log& its, bool loses) -> task<> {
                co_await its.sink->open();
                int writes = 0;
                its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                    if (is_write(sqe) && ++writes <= 2) {
                        const auto some = static_cast<unsigned>(bytes_of("one") + 3);
                        return writes == 1 ? test::perform_some(sqe, some) : -ENOSPC;
                    }
                    return perform(sqe);
                };
                CHECK((co_await write_to(*its.sink, "one\ntwo\n")).kept == 4);
                CHECK(its.sink->sync_at() == event_loop::current().now());
                if (loses) {
                    std::filesystem::remove(its.path);
                    (void)co_await its.sink->tend({.reopen = true});
                }
                co_await put(*its.sink, "two\n");
                CHECK(its.sink->sync_at() == clock::time_point::max());
                co_await its.sink->close();
            }(log, is_taken_away));
            CHECK(log.lines() == strings{"1 one", "2 two"});
        }
    }

    TEST_CASE(
        "a new segment begins with a mark, whatever comes first in it, and lines stay as they "
        "are") {
        for (const bool is_numbered : {true, false}) {
            for (const bool has_unsynced : {true, false}) {
                CAPTURE(is_numbered);
                CAPTURE(has_unsynced);
                spoiled_log log(is_numbered, durability::interval(1h));
                log.loop.run([](spoiled_log& its, bool has_some) -> task<> {
                    co_await its.sink->open();
                    co_await put(*its.sink, "a line that is longer than a head\n");
                    if (!has_some) {
                        co_await its.sink->sync();
                        std::ofstream(its.path, std::ios::app) << others_line;
                    }
                    spoil(its, 1);
                    co_await put(*its.sink, "one more line that is not shorter\n");
                    co_await its.sink->sync();
                    CHECK(its.sink->sync_at() == clock::time_point::max());
                    CHECK(its.syncs_from_now() == 0);
                    co_await its.sink->sync();
                    CHECK(its.syncs == 0); // all is on disk
                    co_await its.sink->close();
                }(log, has_unsynced));
                const std::string one = "a line that is longer than a head";
                const std::string two = "one more line that is not shorter";
                const std::string expected =
                    is_numbered ? (has_unsynced ? numbered(1, one, true) + numbered(2, two)
                                                : numbered(2, two, true))
                                : (has_unsynced ? one + "\n" : "") + two + "\n";
                CHECK(contents_of(log.path) == expected);
            }
        }
    }

    TEST_CASE("a second segment is begun behind what the first one has on disk") {
        spoiled_log log;
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            spoil(its, 1);
            co_await put(*its.sink, "one\n");
            spoil(its, 1);
            co_await put(*its.sink, "two\n");
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"2 two"});
        CHECK(spoiled_log::lines_of(log.path + ".0000000000000002") == strings{"1 one", "2 two"});
        CHECK(log.is_whole());
    }

    TEST_CASE(
        "a segment whose name cannot be had is not acknowledged, and no line is twice in it") {
        for (const bool is_synced : {true, false}) { // before the next line comes, or with it
            CAPTURE(is_synced);
            spoiled_log log;
            log.loop.run([](spoiled_log& its, bool syncs) -> task<> {
                co_await its.sink->open();
                spoil(its, 1, 2);
                const outcome how = co_await write_to(*its.sink, "one\n");
                CHECK(how.failure == std::errc::io_error);
                CHECK(how.kept == 4);
                CHECK(!std::filesystem::exists(its.path));
                CHECK(its.sink->sync_at() == clock::time_point::min());
                if (syncs) {
                    CHECK(!(co_await sync_of(*its.sink)));
                    CHECK(std::filesystem::exists(its.path));
                    CHECK(its.sink->sync_at() == clock::time_point::max());
                }
                co_await put(*its.sink, "two\n");
                co_await its.sink->close();
            }(log, is_synced));
            CHECK(contents_of(log.path) == numbered(1, "one", true) + numbered(2, "two", true));
        }
    }

    TEST_CASE("a segment that got another name than the log's is not acknowledged as the log") {
        spoiled_log log;
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            spoil(its, 1, 2);
            CHECK((co_await write_to(*its.sink, "one\n")).kept == 4);
            std::filesystem::rename(its.path + ".next", its.path + ".theirs");
            CHECK(co_await sync_of(*its.sink) == std::errc::no_such_file_or_directory);
            CHECK(!(co_await sync_of(*its.sink)));
            CHECK(contents_of(its.path) == numbered(1, "one", true));
            co_await its.sink->close();
        }(log));
        CHECK(contents_of(log.path) == numbered(1, "one", true));
    }

    TEST_CASE("of a segment that has no name yet all comes again where its sync fails later") {
        spoiled_log log;
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            spoil(its, 1, 2);
            CHECK((co_await write_to(*its.sink, "one\n")).kept == 4);
            CHECK(its.sink->write_in_crash(std::string_view()));
            its.loop.ring().answer = [syncs = 0](const io_uring_sqe& sqe) mutable {
                // The directory's before and after it has the name, then those of the file.
                return is_sync(sqe) && ++syncs == 3 ? std::optional(-EIO) : perform(sqe);
            };
            co_await its.sink->sync();
            co_await its.sink->close();
        }(log));
        CHECK(contents_of(log.path) == numbered(1, "one", true));
        CHECK(test::files_like(log.path).size() == 1); // that one was of no use any more
    }

    TEST_CASE("what is taken away is not a file that has failed any more") {
        spoiled_log log(true, durability::interval(1h));
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            spoil(its, 1, 1);
            CHECK(co_await sync_of(*its.sink)); // neither synced nor set aside
            std::filesystem::remove(its.path);
            (void)co_await its.sink->tend({.reopen = true});
            co_await its.sink->sync();
            co_await its.sink->close();
        }(log));
        CHECK(contents_of(log.path) == numbered(1, "one"));
        CHECK(test::files_like(log.path).empty());
    }

    TEST_CASE(
        "where nothing is missing in a file that has failed, no segment is begun for nothing") {
        spoiled_log log;
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            CHECK(its.sink->write_in_crash(std::string_view()));
            spoil(its, 1);
            co_await its.sink->sync();
            CHECK(test::files_like(its.path).empty());
            co_await put(*its.sink, "two\n");
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"2 two"});
        CHECK(spoiled_log::lines_of(log.path + ".0000000000000002") == strings{"1 one"});
    }

    // --- others ---

    TEST_CASE("where the log is cut, what was not synced comes again behind a mark") {
        for (const bool is_numbered : {true, false}) {
            for (const bool is_all_synced : {false, true}) {
                CAPTURE(is_numbered);
                CAPTURE(is_all_synced);
                spoiled_log log(is_numbered, durability::interval(1h));
                log.loop.run([](spoiled_log& its, bool syncs) -> task<> {
                    co_await its.sink->open();
                    co_await put(*its.sink, "a line that is longer than a head\n");
                    if (syncs) {
                        co_await its.sink->sync();
                    }
                    std::filesystem::resize_file(its.path, 3);
                    CHECK(its.syncs_from_now() == 0);
                    co_await put(*its.sink, "one more line that is not shorter\n");
                    CHECK(its.syncs == 1); // what is above the mark is on disk
                    co_await its.sink->close();
                }(log, is_all_synced));
                const std::string one = "a line that is longer than a head";
                const std::string two = "one more line that is not shorter";
                const std::string front = is_numbered ? "000\n" : "a l\n";
                const std::string expected =
                    is_numbered ? (is_all_synced ? numbered(2, two, true)
                                                 : numbered(1, one, true) + numbered(2, two))
                                : (is_all_synced ? "" : one + "\n") + two + "\n";
                CHECK(contents_of(log.path) == front + expected);
            }
        }
    }

    TEST_CASE("in a child lines have no number, no sync, and come once where a write fails") {
        spoiled_log log;
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
        }(log));
        const auto childs = [&](test::loop_with_writes& own) -> task<std::string> {
            co_await log.sink->open_in_child();
            int syncs = 0;
            int writes = 0;
            own.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                syncs += is_sync(sqe) || (is_write(sqe) && (sqe.rw_flags & RWF_DSYNC) != 0) ? 1 : 0;
                writes += is_write(sqe) ? 1 : 0;
                if (is_write(sqe) && writes == 1) {
                    const auto done = perform(sqe);
                    CHECK(log.sink->write_in_crash(std::string_view("three\nfour\n")));
                    return done;
                }
                if (is_write(sqe) && writes <= 3) {
                    const auto some = static_cast<unsigned>(bytes_of("five") + 3);
                    return writes == 2 ? test::perform_some(sqe, some) : -ENOSPC;
                }
                return perform(sqe);
            };
            co_await put(*log.sink, "two\n");
            const outcome how = co_await write_to(*log.sink, "five\nsix\n");
            co_await put(*log.sink, "six\nseven\n");
            co_await log.sink->sync();
            co_await log.sink->close();
            co_return fmt::format("{} bytes kept, {} syncs", how.kept, syncs);
        };
        CHECK(test::in_child([&] {
                  test::loop_with_writes own(perform);
                  return own.run(childs(own));
              }) == "5 bytes kept, 0 syncs");
        std::string expected = numbered(1, "one", true);
        for (const char* each : {"two", "three", "four", "five", "six", "seven"}) {
            expected += numbered(0, each);
        }
        CHECK(contents_of(log.path) == expected);
    }

    // --- files that are rotated ---

    TEST_CASE("a file is filled to the last byte that it may have, and no further") {
        for (const std::size_t more : {0u, 1u}) {
            spoiled_log log;
            rotating_log_sink sink(rotating(log, 3 * bytes_of("x") + more));
            log.loop.run([](rotating_log_sink& its) -> task<> {
                co_await its.open();
                co_await put(its, "1\n2\n3\n4\n5\n6\n7\n");
                co_await its.close();
            }(sink));
            auto files = test::files_like(log.path);
            files.push_back(log.path);
            REQUIRE(files.size() == 3);
            CHECK(spoiled_log::lines_of(files[0]) == strings{"1 1", "2 2", "3 3"});
            CHECK(spoiled_log::lines_of(files[1]) == strings{"4 4", "5 5", "6 6"});
            CHECK(spoiled_log::lines_of(files[2]) == strings{"7 7"});
        }
    }

    TEST_CASE("a rotated file's successor begins with a mark, has nothing to be synced, and lines "
              "stay as they are") {
        for (const bool is_numbered : {true, false}) {
            spoiled_log log;
            rotating_log_sink sink(rotating(log, 70, is_numbered));
            const std::string one(40, 'x');
            const std::string two(40, 'y');
            log.loop.run([](rotating_log_sink& its, std::string first, std::string next) -> task<> {
                co_await its.open();
                co_await put(its, first + "\n");
                co_await put(its, next + "\n");
                CHECK(its.sync_at() == clock::time_point::max());
                co_await its.close();
            }(sink, one, two));
            CHECK(contents_of(log.path) == (is_numbered ? numbered(2, two, true) : two + "\n"));
            CHECK(test::files_like(log.path).size() == 1);
        }
    }

    TEST_CASE("a file that is rotated has lines of others on disk, too") {
        for (const bool has_others : {false, true}) {
            spoiled_log log;
            rotating_log_sink sink(rotating(log, 40));
            log.loop.run([](rotating_log_sink& its, spoiled_log& on, bool others) -> task<> {
                co_await its.open();
                co_await put(its, "one\n");
                if (others) {
                    std::ofstream(on.path, std::ios::app) << "by hand";
                }
                CHECK(on.syncs_from_now() == 0);
                co_await put(its, "two\n");
                // The new file and its name, twice; and what others have written.
                CHECK(on.syncs == (others ? 4 : 3));
                co_await its.close();
            }(sink, log, has_others));
            const auto before = test::files_like(log.path);
            REQUIRE(before.size() == 1);
            CHECK(contents_of(before[0]).ends_with(has_others ? "by hand\n" : " one\n"));
        }
    }

    TEST_CASE("a rotated file's successor whose name cannot be had is not acknowledged") {
        spoiled_log log;
        rotating_log_sink sink(rotating(log, 40));
        log.loop.run([](rotating_log_sink& its, spoiled_log& on) -> task<> {
            co_await its.open();
            co_await put(its, "one\n");
            spoil(on, 0, 2);
            CHECK((co_await write_to(its, "two\n")).kept == 4);
            CHECK(!std::filesystem::exists(on.path));
            CHECK(its.sync_at() == clock::time_point::min());
            co_await its.sync();
            CHECK(its.sync_at() == clock::time_point::max());
            co_await its.close();
        }(sink, log));
        CHECK(contents_of(log.path) == numbered(2, "two", true));
    }

    TEST_CASE("a rotation leaves a file that has failed behind, and its successor is none") {
        spoiled_log log;
        rotating_log_sink sink(rotating(log, 40));
        log.loop.run([](rotating_log_sink& its, spoiled_log& on) -> task<> {
            co_await its.open();
            co_await put(its, "one\n");
            CHECK(its.write_in_crash(std::string_view()));
            spoil(on, 1);
            CHECK((co_await write_to(its, "two\n")).kept == 4);
            CHECK((co_await write_to(its, "three\n")).kept == 6);
            co_await its.close();
        }(sink, log));
        CHECK(log.lines() == strings{"3 three"});
        CHECK(test::files_like(log.path).size() == 2);
        CHECK(!std::filesystem::exists(log.path + ".0000000000000002")); // no segment
    }
}
