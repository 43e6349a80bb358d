// durable_writer: what was cut off, or is in a file that was removed, where memory is missing at
// the same time, what is there cannot be read, or a signal's handler comes: nothing is acknowledged
// that is not in the log, and no number stands for two lines.
#include "support/allocations.hpp"
#include "support/numbered_lines.hpp"
#include "support/spoiled_log.hpp"

#include <sapwood/numbered_line.hpp>
#include <sapwood/rotating_log_sink.hpp>
#include <sapwood/sleep.hpp>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::contents_of;
using test::files_like;
using test::is_read;
using test::is_rename;
using test::is_sync;
using test::is_write;
using test::numbered;
using test::perform;
using test::put;
using test::spoiled_log;
using test::strings;

bool is_read_of_end(const io_uring_sqe& sqe) {
    return is_read(sqe) && sqe.len > 1;
}

/// How two lines are written in one batch, of which the second is cut off when they have been
/// synced; what comes then is done as `meanwhile` says, or as ever.
std::function<spoiled_log::answer(const io_uring_sqe&)>
cutting(const std::string& path,
        std::function<spoiled_log::answer(const io_uring_sqe&)> meanwhile) {
    const std::size_t keep = std::filesystem::file_size(path) + numbered(2, "two").size();
    return [=, syncs = 0](const io_uring_sqe& sqe) mutable -> spoiled_log::answer {
        if (is_write(sqe) && (sqe.rw_flags & RWF_DSYNC) != 0) {
            return -EOPNOTSUPP;
        }
        if (syncs > 0) {
            if (const auto answer = meanwhile(sqe)) {
                return answer;
            }
        }
        const auto done = perform(sqe);
        if (is_sync(sqe) && ++syncs == 1) {
            std::filesystem::resize_file(path, keep);
        }
        return done;
    };
}

} // namespace

TEST_SUITE("durable_writer_cut") {
    TEST_CASE("where memory is missing as a file is followed, what was not synced comes again") {
        for (const bool is_asked : {false, true}) {
            bool has_failed = true;
            for (std::size_t nth = 1; has_failed; ++nth) {
                CAPTURE(is_asked);
                CAPTURE(nth);
                has_failed = false;
                spoiled_log log(true, durability::interval(1h));
                log.loop.run(
                    [](spoiled_log& its, bool asked, std::size_t failing, bool& failed) -> task<> {
                        co_await its.sink->open();
                        co_await put(*its.sink, "one\n");
                        std::filesystem::remove(its.path);
                        co_await sleep_for(1s); // a look is due
                        const log_sink_requests how{.reopen = asked};
                        {
                            const test::failing_allocations none(failing);
                            try {
                                (void)co_await its.sink->tend(how);
                            } catch (const std::bad_alloc&) {
                            }
                            failed = none.struck();
                        }
                        co_await sleep_for(1s);
                        (void)co_await its.sink->tend(how);
                        co_await put(*its.sink, "two\n");
                        co_await its.sink->sync();
                        co_await its.sink->close();
                    }(log, is_asked, nth, has_failed));
                CHECK(log.lines() == strings{"1 one", "2 two"});
            }
        }
    }

    TEST_CASE("where memory is missing to tell of a cut, nothing is acknowledged for it") {
        bool has_failed = true;
        for (std::size_t nth = 1; has_failed; ++nth) {
            CAPTURE(nth);
            has_failed = false;
            spoiled_log log(true, durability::interval(1h));
            log.loop.run([](spoiled_log& its, std::size_t failing, bool& failed) -> task<> {
                co_await its.sink->open();
                for (const char* line : {"one\n", "two\n", "three\n", "four\n"}) {
                    co_await put(*its.sink, line);
                }
                // Damage in the midst, and the end is cut off: two is not there, and three is.
                std::string text = contents_of(its.path);
                text[text.find(" two\n") + 1] = 'X';
                text.resize(text.find(" four\n") - 10);
                test::fill(its.path, text);
                std::optional<test::failing_allocations> none;
                its.loop.ring().answer = [&](const io_uring_sqe& sqe) {
                    const auto done = perform(sqe);
                    if (is_read_of_end(sqe) && !none) {
                        none.emplace(failing);
                    }
                    return done;
                };
                bool is_durable = false;
                try {
                    co_await its.sink->sync();
                    is_durable = true;
                } catch (const std::bad_alloc&) {
                } catch (const std::system_error&) {
                }
                failed = none && none->struck();
                none.reset();
                its.loop.ring().answer = perform;
                if (!is_durable) {
                    co_await its.sink->sync();
                }
                co_await its.sink->close();
            }(log, nth, has_failed));
            CHECK(log.lines() == strings{"1 one", "2 two", "3 three", "4 four"});
        }
    }

    TEST_CASE("a handler goes on with what comes again after a cut, and nothing is there twice") {
        spoiled_log log;
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            bool has_come = false;
            its.loop.ring().answer =
                cutting(its.path, [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                    if (!is_write(sqe) || std::exchange(has_come, true)) {
                        return std::nullopt;
                    }
                    const auto done = perform(sqe);
                    CHECK(its.sink->write_in_crash(std::string_view("four\n")));
                    return done;
                });
            try {
                co_await its.sink->write(std::string_view("two\nthree\n"));
            } catch (const std::system_error&) { // it was taken over
            }
            CHECK(has_come);
            its.loop.ring().answer = perform;
            co_await its.sink->sync();
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two", "3 three", "4 four"});
    }

    TEST_CASE("where it cannot be read what a cut has left, its numbers stand for no other lines") {
        spoiled_log log;
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            bool has_failed = false;
            its.loop.ring().answer =
                cutting(its.path, [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                    const bool fails = is_read_of_end(sqe) && !std::exchange(has_failed, true);
                    return fails ? std::optional(-EAGAIN) : std::nullopt;
                });
            const auto how = co_await test::write_to(*its.sink, "two\nthree\n");
            CHECK(how.failure == std::errc::resource_unavailable_try_again);
            CHECK(how.kept == 0);
            its.loop.ring().answer = perform;
            co_await its.sink->write(std::string_view("news\ntwo\nthree\n")); // before the batch
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"2 news", "3 two", "4 three"});
        CHECK(spoiled_log::lines_of(log.path + ".0000000000000002").front() == "1 one");
        CHECK(log.is_whole());
    }

    TEST_CASE("where memory is missing for a rotated file's successor, its lines are there once") {
        bool has_failed = true;
        for (std::size_t nth = 1; has_failed; ++nth) {
            CAPTURE(nth);
            has_failed = false;
            spoiled_log log;
            rotating_log_sink_options options{.path = log.path, .bytes_max = 40};
            options.durable = durability::batch();
            rotating_log_sink sink(options);
            log.loop.run([](rotating_log_sink& its, spoiled_log& on, std::size_t failing,
                            bool& failed) -> task<> {
                co_await its.open();
                co_await put(its, "one\n");
                std::optional<test::failing_allocations> none;
                on.loop.ring().answer = [&](const io_uring_sqe& sqe) {
                    const auto done = perform(sqe);
                    if (is_rename(sqe) && !none) {
                        none.emplace(failing);
                    }
                    return done;
                };
                bool is_there = false;
                try {
                    co_await its.write(std::string_view("two\n"));
                    is_there = true;
                } catch (const std::bad_alloc&) {
                } catch (const std::system_error&) {
                }
                failed = none && none->struck();
                none.reset();
                on.loop.ring().answer = perform;
                if (!is_there) {
                    co_await its.write(std::string_view("two\n"));
                }
                co_await its.close();
            }(sink, log, nth, has_failed));
            strings all;
            for (const auto& each : files_like(log.path)) {
                const auto lines = spoiled_log::lines_of(each);
                all.insert(all.end(), lines.begin(), lines.end());
            }
            const auto last = log.lines();
            all.insert(all.end(), last.begin(), last.end());
            CHECK(all == strings{"1 one", "2 two"});
        }
    }

    // --- where lines come again ---

    TEST_CASE("a mark from a file that was cut is none in the next file, nor above another cut") {
        const auto is_marked = [](const std::string& text, std::string_view message) {
            const std::size_t begin = text.rfind('\n', text.find(message)) + 1; // npos + 1 is 0
            return text[begin + numbered_line::mark_at] == numbered_line::mark;
        };
        for (const bool is_renamed : {true, false}) {
            CAPTURE(is_renamed);
            spoiled_log log(true, durability::interval(1h));
            log.loop.run([](spoiled_log& its, bool renames) -> task<> {
                co_await its.sink->open();
                for (const char* line : {"one\n", "two\n", "three\n", "four\n"}) {
                    co_await put(*its.sink, line);
                }
                const std::size_t each = numbered(1, "one").size();
                std::filesystem::resize_file(its.path, 2 * each + 5); // three comes again
                co_await put(*its.sink, "five\n");
                if (renames) {
                    std::filesystem::rename(its.path, its.path + ".old");
                    co_await sleep_for(1s);
                } else {
                    std::filesystem::resize_file(its.path, each + 5);
                }
                co_await its.sink->write(std::string_view("six\n"));
                if (renames) { // which only a look has told
                    (void)co_await its.sink->tend({});
                    co_await its.sink->write(std::string_view("seven\n"));
                }
            }(log, is_renamed));
            const std::string text = contents_of(log.path);
            CHECK(text.find("four\n") != text.npos);
            CHECK(is_marked(text, "two\n") == !is_renamed);
            CHECK(!is_marked(text, "three\n"));
            CHECK(!is_marked(text, "four\n"));
            log.loop.run([](spoiled_log& its) -> task<> { co_await its.sink->close(); }(log));
        }
    }

    TEST_CASE("of what comes again after a cut, what a full disk has taken is there once") {
        spoiled_log log(true, durability::interval(1h));
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            for (const char* line : {"one\n", "two\n", "three\n", "four\n"}) {
                co_await put(*its.sink, line);
            }
            std::filesystem::resize_file(its.path, 2 * numbered(1, "one").size());
            its.loop.ring().answer =
                [writes = 0](const io_uring_sqe& sqe) mutable -> spoiled_log::answer {
                if (!is_write(sqe)) {
                    return perform(sqe);
                }
                if (++writes > 1) {
                    return -ENOSPC;
                }
                io_uring_sqe part = sqe;
                part.len = static_cast<std::uint32_t>(numbered(3, "three").size());
                return perform(part);
            };
            const auto how = co_await test::write_to(*its.sink, "five\n");
            CHECK(how.kept == 0);
            its.loop.ring().answer = perform;
            co_await put(*its.sink, "five\n");
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two", "3 three", "4 four", "5 five"});
    }

    TEST_CASE("a mark from a file that was cut is none in a segment that a failed sync begins") {
        spoiled_log log(true, durability::interval(1h));
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            for (const char* line : {"one\n", "two\n", "three\n", "four\n"}) {
                co_await put(*its.sink, line);
            }
            const std::size_t each = numbered(1, "one").size();
            std::filesystem::resize_file(its.path, 2 * each + 5); // three comes again
            co_await put(*its.sink, "five\n");
            its.fail(1, is_sync);
            bool is_synced = false;
            while (!is_synced) {
                try {
                    co_await its.sink->sync();
                    is_synced = true;
                } catch (const std::system_error&) { // the one that fails
                }
            }
        }(log));
        CHECK(files_like(log.path).size() == 1); // set aside
        const std::string text = contents_of(log.path);
        strings marked;
        for (std::size_t begin = 0; begin < text.size(); begin = text.find('\n', begin) + 1) {
            if (text[begin + numbered_line::mark_at] == numbered_line::mark) {
                const std::size_t at = begin + numbered_line::head_bytes;
                marked.push_back(text.substr(at, text.find('\n', begin) - at));
            }
        }
        CHECK(marked == strings{"one"});
        CHECK(text.find("five\n") != text.npos);
        log.loop.run([](spoiled_log& its) -> task<> { co_await its.sink->close(); }(log));
    }

    TEST_CASE("where somebody takes a rotated file's successor for himself, it has no line twice") {
        spoiled_log log;
        rotating_log_sink_options options{.path = log.path, .bytes_max = 40};
        options.durable = durability::batch();
        rotating_log_sink sink(options);
        log.loop.run([](rotating_log_sink& its, spoiled_log& on) -> task<> {
            co_await its.open();
            co_await put(its, "one\n");
            int renames = 0;
            on.loop.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                if (is_rename(sqe) && ++renames == 2) {
                    std::filesystem::rename(on.path + ".next", on.directory / "taken");
                }
                return renames >= 2 && test::is_open(sqe) ? std::optional(-EMFILE) : perform(sqe);
            };
            const auto how = co_await test::write_to(its, "two\n");
            CHECK(how.kept == 0);
            on.loop.ring().answer = perform;
            co_await its.write(std::string_view("two\n"));
            co_await its.close();
        }(sink, log));
        CHECK(spoiled_log::lines_of(log.directory / "taken") == strings{"2 two"});
        CHECK(log.lines() == strings{"2 two"});
    }
}
