// durable_writer: a signal's handler writes into a durable log while its loop is at work, and the
// process survives. Nothing is acknowledged meanwhile, and nothing is lost that is not told.
#include "support/allocations.hpp"
#include "support/co_test.hpp"
#include "support/log_files.hpp"
#include "support/numbered_lines.hpp"
#include "support/spoiled_log.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/file_log_sink.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/log_verifier.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/rotating_log_sink.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <liburing.h>
#include <optional>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using test::contents_of;
using test::perform;
using test::put;
using test::temporary_directory;
using strings = std::vector<std::string>;

using crashing_log = test::spoiled_log;
using test::is_open;
using test::is_read;
using test::is_rename;
using test::is_sync;
using test::is_write;
using test::outcome;
using test::sync_of;
using test::write_batch;
using test::write_to;

bool crash(file_log_sink& sink, const std::string& lines) {
    return sink.write_in_crash(lines);
}

std::string gap(int first, int last) {
    const auto numbers = first == last
                             ? fmt::format("1 record is missing here, number {}", last)
                             : fmt::format("{} records are missing here, numbers {} to {}",
                                           last - first + 1, first, last);
    return fmt::format(
        "{} {}: a signal's handler wrote them, and they are not in this file \\(log)", last,
        numbers);
}

/// The line that tells where a rotation has taken them.
std::string in_file_before(int first, int last) {
    return fmt::format("the records with the numbers {} to {} are in the file before this one, and "
                       "perhaps not on disk: a signal's handler wrote them \\(log)",
                       first, last);
}

rotating_log_sink_options rotating(const crashing_log& log, std::uint64_t bytes_max,
                                   bool is_numbered = true) {
    rotating_log_sink_options options{.path = log.path, .bytes_max = bytes_max};
    options.durable = durability::batch();
    options.numbered = is_numbered;
    return options;
}

/// While it lives a file can be so long only.
class file_size_limit {
  public:
    explicit file_size_limit(rlim_t bytes) {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        rlimit limit = before_;
        limit.rlim_cur = bytes;
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }

    file_size_limit(const file_size_limit&) = delete;
    file_size_limit& operator=(const file_size_limit&) = delete;

    ~file_size_limit() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        ::signal(SIGXFSZ, handler_);
    }

  private:
    rlimit before_{};
    sighandler_t handler_ = ::signal(SIGXFSZ, SIG_IGN);
};

} // namespace

TEST_SUITE("durable_writer_crash") {
    // --- what is acknowledged ---

    TEST_CASE("what a handler has written is on disk before the next acknowledgement") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            CHECK(crash(*its.sink, "two\nthree\n"));
            CHECK(its.sink->sync_at() == clock::time_point::min());
            CHECK(its.syncs_from_now() == 0);
            co_await its.sink->sync();
            CHECK(its.syncs > 0);
            CHECK(its.sink->sync_at() == clock::time_point::max());
            CHECK(its.sink->lines_stranded() == 0);
            co_await put(*its.sink, "four\n");
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two", "3 three", "4 four"});
        CHECK(log.is_whole());
    }

    TEST_CASE("a sync or a write in whose midst a handler comes acknowledges nothing") {
        for (const bool in_sync : {true, false}) {
            CAPTURE(in_sync);
            crashing_log log;
            log.loop.run([](crashing_log& its, bool syncs) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\n");
                its.once(syncs ? is_sync : is_write, [&](const io_uring_sqe& sqe) {
                    const auto done = perform(sqe);
                    CHECK(crash(*its.sink, "last\n"));
                    return done;
                });
                const outcome how = co_await write_to(*its.sink, "two\n");
                CHECK(how.is_taken_over());
                CHECK(how.kept == 4); // it is there, though not acknowledged
                CHECK(its.sink->sync_at() == clock::time_point::min());
                co_await its.sink->sync();
                co_await put(*its.sink, "four\n");
                co_await its.sink->close();
            }(log, in_sync));
            CHECK(log.lines() == strings{"1 one", "2 two", "3 last", "4 four"});
            CHECK(log.is_whole());
        }
    }

    TEST_CASE("a handler that comes while the file is looked after has it looked after again") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            CHECK(crash(*its.sink, "two\n"));
            its.once(is_read, [&](const io_uring_sqe& sqe) {
                const auto done = perform(sqe);
                CHECK(crash(*its.sink, "three\n"));
                return done;
            });
            CHECK(co_await sync_of(*its.sink) == std::errc::device_or_resource_busy);
            CHECK(!(co_await sync_of(*its.sink)));
            co_await put(*its.sink, "four\n");
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two", "3 three", "4 four"});
        CHECK(log.is_whole());
    }

    TEST_CASE("a handler without lines has what was looked after looked after again as well") {
        crashing_log log(false);
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            CHECK(crash(*its.sink, "two\n"));
            its.once(is_read, [&](const io_uring_sqe& sqe) {
                const auto done = perform(sqe);
                CHECK(crash(*its.sink, ""));
                return done;
            });
            CHECK(co_await sync_of(*its.sink) == std::errc::device_or_resource_busy);
            CHECK(!(co_await sync_of(*its.sink)));
            co_await its.sink->close();
        }(log));
    }

    TEST_CASE(
        "a sync of what was not synced, in whose midst a handler comes, acknowledges nothing") {
        crashing_log log(true, durability::interval(std::chrono::hours(1)));
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            its.once(is_sync, [&](const io_uring_sqe& sqe) {
                const auto done = perform(sqe);
                CHECK(crash(*its.sink, "last\n"));
                return done;
            });
            CHECK(co_await sync_of(*its.sink) == std::errc::device_or_resource_busy);
            CHECK(its.sink->sync_at() == clock::time_point::min());
            CHECK(!(co_await sync_of(*its.sink)));
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 last"});
        CHECK(log.is_whole());
    }

    TEST_CASE("when the file has been looked after, it is known whether a sync is due") {
        for (const bool is_missing : {false, true}) {
            CAPTURE(is_missing);
            crashing_log log;
            log.loop.run([](crashing_log& its, bool missing) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\n");
                CHECK(crash(*its.sink, "two\n"));
                if (missing) {
                    std::filesystem::remove(its.path);
                }
                (void)co_await its.sink->tend({.reopen = true});
                CHECK(its.sink->sync_at() ==
                      (missing ? clock::time_point::min() : clock::time_point::max()));
                co_await its.sink->close();
            }(log, is_missing));
            CHECK(log.lines() == (is_missing ? strings{gap(2, 2)} : strings{"1 one", "2 two"}));
        }
    }

    // --- numbers and lines ---

    TEST_CASE("what is being written comes first, whatever lines the handler has, and once") {
        for (const bool is_batch : {true, false}) {
            CAPTURE(is_batch);
            crashing_log log;
            log.loop.run([](crashing_log& its, bool same) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\n");
                const std::string batch = "two\nthree\n";
                const std::string other = "four\n";
                its.fail(1, is_write, [&] { CHECK(crash(*its.sink, same ? batch : other)); });
                std::size_t kept = 0;
                try {
                    co_await its.sink->write(batch);
                } catch (const write_error& error) {
                    kept = error.bytes_kept;
                }
                CHECK(kept == batch.size());
                co_await its.sink->sync();
                co_await put(*its.sink, same ? "four\nfive\n" : "five\n");
                co_await its.sink->close();
            }(log, is_batch));
            CHECK(log.lines() == strings{"1 one", "2 two", "3 three", "4 four", "5 five"});
            CHECK(log.is_whole());
        }
    }

    TEST_CASE("a short write is not gone on with where a handler has done so") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            its.once(is_write, [&](const io_uring_sqe& sqe) {
                const auto done = test::perform_some(sqe, 10);
                CHECK(crash(*its.sink, "last\n"));
                return done;
            });
            const outcome how = co_await write_to(*its.sink, "two\nthree\n");
            CHECK(how.is_taken_over());
            CHECK(how.kept == 10);
            co_await its.sink->sync();
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two", "3 three", "4 last"});
        CHECK(log.is_whole());
    }

    TEST_CASE("a batch that is written in pieces: a handler has the rest of it there, once") {
        const std::string batch = "two\nthree\n"; // in another file each
        for (const bool is_numbered : {true, false}) {
            for (const bool at_rotation : {false, true}) {
                CAPTURE(is_numbered);
                CAPTURE(at_rotation);
                crashing_log log;
                rotating_log_sink sink(rotating(log, is_numbered ? 60 : 8, is_numbered));
                const auto play = [&]() -> task<> {
                    co_await sink.open();
                    co_await put(sink, "one\n");
                    log.once(at_rotation ? is_rename : is_write, [&](const io_uring_sqe& sqe) {
                        const auto done = at_rotation ? crashing_log::answer() : perform(sqe);
                        CHECK(sink.write_in_crash(std::string_view("four\n")));
                        CHECK(sink.write_in_crash(batch));
                        CHECK(sink.kept_in_crash() == batch.size());
                        CHECK(sink.write_in_crash(batch)); // it may be called once more
                        return done ? done : perform(sqe);
                    });
                    const outcome how = co_await write_batch(sink, batch);
                    CHECK(how.kept == (at_rotation ? batch.size() : 4));
                    const std::string first =
                        at_rotation ? test::files_like(log.path).at(0) : log.path;
                    if (is_numbered) {
                        CHECK(crashing_log::lines_of(first) ==
                              (at_rotation ? strings{"1 one", "2 two", "3 three", "4 four"}
                                           : strings{"1 one", "2 two", "3 four", "4 three"}));
                    } else {
                        CHECK(contents_of(first) == (at_rotation ? "one\ntwo\nthree\nfour\n"
                                                                 : "one\ntwo\nfour\nthree\n"));
                    }
                    co_await sink.sync();
                    co_await sink.close();
                };
                log.loop.run(play());
            }
        }
    }

    TEST_CASE("what a handler has saved of one write is not taken for a part of the next") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            its.once(is_write, [&](const io_uring_sqe& sqe) {
                const auto done = perform(sqe);
                CHECK(crash(*its.sink, "two\n"));
                return done;
            });
            CHECK((co_await write_to(*its.sink, "one\n")).is_taken_over());
            co_await its.sink->sync();
            its.fail(1, is_write);
            CHECK((co_await write_to(*its.sink, "three\n")).kept == 0);
            co_await put(*its.sink, "three\n");
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two", "3 three"});
        CHECK(log.is_whole());
    }

    TEST_CASE("of a short write and what a handler adds the whole lines are kept, each once") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            const std::size_t line = numbered_line::head_bytes + 4;
            its.once(is_write, [&](const io_uring_sqe& sqe) {
                const auto done = test::perform_some(sqe, static_cast<unsigned>(line + 10));
                const file_size_limit limit(2 * line + 10);
                CHECK_FALSE(crash(*its.sink, "last\n"));
                return done;
            });
            const outcome how = co_await write_to(*its.sink, "one\ntwo\nsix\n");
            CHECK(how.is_taken_over());
            CHECK(how.kept == 8);
            CHECK(its.lines() == strings{"1 one", "2 two"});
            co_await its.sink->sync();
            co_await put(*its.sink, "six\n");
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two", "3 six"});
        CHECK(log.is_whole());
    }

    TEST_CASE("numbers go on behind all that is in the file, whatever a failed write has left") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            its.once(is_write, [&](const io_uring_sqe& sqe) {
                (void)perform(sqe); // and says that it did not
                return -EIO;
            });
            CHECK((co_await write_to(*its.sink, "two\n")).kept == 0);
            CHECK(crash(*its.sink, ""));
            co_await its.sink->sync();
            co_await put(*its.sink, "two\n");
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two", "3 two"});
        CHECK(log.is_whole());
    }

    TEST_CASE("others' bytes behind the log's end are not taken for a part of the batch") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            std::ofstream(its.path, std::ios::app) << test::numbered(0, "a child's");
            its.fail(1, is_write, [&] { CHECK(crash(*its.sink, "three\n")); });
            CHECK((co_await write_to(*its.sink, "two\n")).kept == 4);
            co_await its.sink->sync();
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two", "3 three"});
        CHECK(log.is_whole());
    }

    TEST_CASE("a handler without space says what is there, takes no number and tears no line") {
        for (const bool is_long : {false, true}) {
            CAPTURE(is_long);
            crashing_log log;
            log.loop.run([](crashing_log& its, bool long_lines) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\n");
                const std::string three = "three" + std::string(long_lines ? 5000 : 50, 'x') + "\n";
                {
                    const auto size = std::filesystem::file_size(its.path);
                    const file_size_limit limit(size + numbered_line::head_bytes + 4 +
                                                numbered_line::head_bytes + 10);
                    CHECK_FALSE(crash(*its.sink, "two\n" + three));
                }
                CHECK(its.sink->kept_in_crash() == 4);
                CHECK(crash(*its.sink, "last\n"));
                CHECK(its.lines() == strings{"1 one", "2 two", "3 last"});
                co_await its.sink->sync();
                co_await its.sink->close();
            }(log, is_long));
            CHECK(log.lines() == strings{"1 one", "2 two", "3 last"});
            CHECK(log.is_whole());
        }
    }

    TEST_CASE("half a line that somebody has left is ended before the handler's") {
        crashing_log log(false);
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            std::ofstream(its.path, std::ios::app) << "half";
            CHECK(crash(*its.sink, "last\n"));
            co_await its.sink->close();
        }(log));
        CHECK(contents_of(log.path) == "half\nlast\n");
    }

    TEST_CASE("a newline that ends what somebody has left is not taken for a part of the batch") {
        for (const int written : {0, 10, 100}) {
            CAPTURE(written);
            crashing_log log(true, durability::interval(std::chrono::hours(1)));
            log.loop.run([](crashing_log& its, int bytes) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\n"); // with an interval, so that it is not synced
                std::ofstream(its.path, std::ios::app) << "half";
                const auto is_batch = [](const io_uring_sqe& sqe) {
                    return is_write(sqe) && sqe.len > 1;
                };
                its.once(is_batch, [&](const io_uring_sqe& sqe) -> crashing_log::answer {
                    if (bytes > 0) {
                        (void)test::perform_some(sqe, static_cast<unsigned>(bytes));
                    }
                    CHECK(crash(*its.sink, "last\n"));
                    return -EIO;
                });
                (void)co_await write_to(*its.sink, "two\nthree\n");
                co_await its.sink->close();
            }(log, written));
            CHECK(contents_of(log.path) ==
                  test::numbered(1, "one", true) + "half\n" + test::numbered(2, "two") +
                      test::numbered(3, "three") + test::numbered(4, "last"));
        }
    }

    TEST_CASE("without memory a batch that the handler has saved is kept") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            const std::string batch = "two\n";
            std::optional<test::failing_allocations> none;
            its.fail(1, is_write, [&] {
                CHECK(crash(*its.sink, batch));
                none.emplace(1);
            });
            bool is_kept = true;
            try {
                co_await its.sink->write(batch);
            } catch (const std::bad_alloc&) {
                is_kept = false;
            }
            none.reset();
            CHECK(is_kept);
            CHECK(its.sink->sync_at() == clock::time_point::min());
            co_await its.sink->sync();
            co_await put(*its.sink, "three\n");
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two", "3 three"});
        CHECK(log.is_whole());
    }

    TEST_CASE("without memory a batch that nobody has saved is its owner's still") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            const std::string batch = "two\n";
            std::optional<test::failing_allocations> none;
            its.fail(1, is_write, [&] { none.emplace(1); });
            bool is_refused = false;
            try {
                co_await its.sink->write(batch);
            } catch (const std::bad_alloc&) {
                is_refused = true;
            }
            none.reset();
            CHECK(is_refused);
            co_await put(*its.sink, batch);
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two"});
    }

    TEST_CASE(
        "a handler that comes while lines come again has all of it there, and nothing twice") {
        crashing_log log(true, durability::interval(std::chrono::hours(1)));
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            std::filesystem::remove(its.path);
            (void)co_await its.sink->tend({.reopen = true});
            its.once(is_write, [&](const io_uring_sqe& sqe) {
                const auto done = perform(sqe);
                CHECK(crash(*its.sink, "three\n"));
                return done;
            });
            CHECK((co_await write_to(*its.sink, "two\n")).is_taken_over());
            CHECK(its.lines() == strings{"1 one", "2 two", "3 three"});
            co_await its.sink->sync();
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two", "3 three"});
        CHECK(log.is_whole());
    }

    TEST_CASE("a handler that comes while a cut line is ended has nothing written behind it") {
        crashing_log log(true, durability::interval(std::chrono::hours(1)));
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            std::filesystem::resize_file(its.path, numbered_line::head_bytes + 2);
            its.once(is_sync, [&](const io_uring_sqe& sqe) {
                const auto done = perform(sqe);
                CHECK(crash(*its.sink, "three\n"));
                return done;
            });
            CHECK((co_await write_to(*its.sink, "two\n")).is_taken_over());
            const std::string found = contents_of(its.path);
            CHECK(found.ends_with(" two\n" + test::numbered(3, "three")));
            CHECK(std::count(found.begin(), found.end(), '\n') == 3);
            co_await its.sink->sync();
            co_await its.sink->close();
        }(log));
    }

    // --- other files ---

    TEST_CASE("what stands only in a file whose sync has failed is told, in a line that is there") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            its.once(is_sync, [&](const io_uring_sqe&) {
                CHECK(crash(*its.sink, "three\n"));
                return -EIO;
            });
            const outcome how = co_await write_to(*its.sink, "two\n");
            CHECK(how.failure);
            CHECK(how.kept == 4);
            co_await its.sink->sync();
            CHECK(its.lines() == strings{"2 two", gap(3, 3)}); // and no other line has had to come
            CHECK(its.sink->lines_stranded() == 1);
            co_await put(*its.sink, "four\n");
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"2 two", gap(3, 3), "4 four"});
        CHECK(log.is_whole());
    }

    TEST_CASE("a handler that comes while a segment is made is not acknowledged in the old file") {
        for (const bool at_rename : {false, true}) {
            CAPTURE(at_rename);
            crashing_log log;
            log.loop.run([](crashing_log& its, bool renames) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\n");
                int syncs = 0;
                bool is_over = false;
                its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> crashing_log::answer {
                    if (sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0) {
                        return -EOPNOTSUPP;
                    }
                    if (is_sync(sqe) && ++syncs == 1) {
                        return -EIO;
                    }
                    if (syncs > 0 && (renames ? is_rename(sqe) : is_sync(sqe)) &&
                        !std::exchange(is_over, true)) {
                        CHECK(crash(*its.sink, "three\n"));
                    }
                    return perform(sqe);
                };
                const outcome how = co_await write_to(*its.sink, "two\n");
                CHECK(how.is_taken_over());
                CHECK(how.kept == 4);
                co_await its.sink->sync();
                co_await put(*its.sink, "four\n");
                co_await its.sink->close();
            }(log, at_rename));
            CHECK(log.lines() == strings{"2 two", gap(3, 3), "4 four"});
            CHECK(log.is_whole());
        }
    }

    TEST_CASE("what it has written while another file was opened, or before, is told in that one") {
        for (const bool before : {true, false}) {
            CAPTURE(before);
            crashing_log log;
            log.loop.run([](crashing_log& its, bool comes_before) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\n");
                if (comes_before) {
                    CHECK(crash(*its.sink, "two\n"));
                } else {
                    its.once(is_open, [&](const io_uring_sqe& sqe) {
                        CHECK(crash(*its.sink, "two\n"));
                        return perform(sqe);
                    });
                }
                std::filesystem::remove(its.path);
                (void)co_await its.sink->tend({.reopen = true});
                co_await its.sink->sync();
                CHECK(its.lines() == strings{gap(2, 2)});
                co_await its.sink->write(std::string_view("three\n"));
                co_await its.sink->close();
            }(log, before));
            CHECK(log.lines() == strings{gap(2, 2), "3 three"});
            CHECK(log.is_whole());
        }
    }

    TEST_CASE("what was cut off is told in a line, and one that was not synced comes again") {
        crashing_log log(true, durability::interval(std::chrono::hours(1)));
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            co_await its.sink->sync();
            const auto size = std::filesystem::file_size(its.path);
            co_await put(*its.sink, "two\n");
            CHECK(crash(*its.sink, "three\nfour\n"));
            std::filesystem::resize_file(its.path, size);
            co_await its.sink->write(std::string_view("five\n"));
            co_await its.sink->sync();
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"1 one", "2 two", gap(3, 4), "5 five"});
        CHECK(log.is_whole());
    }

    TEST_CASE("where what was not synced is cut off before the handler's lines, a segment begins") {
        crashing_log log(true, durability::interval(std::chrono::hours(1)));
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            co_await its.sink->sync();
            const auto size = std::filesystem::file_size(its.path);
            co_await put(*its.sink, "two\n");
            std::filesystem::resize_file(its.path, size);
            CHECK(crash(*its.sink, "three\n"));
            co_await its.sink->sync();
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"2 two", gap(3, 3)});
        CHECK(log.is_whole());
    }

    TEST_CASE("a rotation in whose midst a handler comes leaves every line once, and says where") {
        for (const bool fails : {false, true}) {
            CAPTURE(fails);
            crashing_log log;
            rotating_log_sink_options options{.path = log.path, .bytes_max = 40};
            options.durable = durability::batch();
            rotating_log_sink sink(options);
            log.loop.run([](crashing_log& its, rotating_log_sink& rotating, bool no) -> task<> {
                co_await rotating.open();
                co_await put(rotating, "one\n");
                const std::string batch = "two\n";
                its.once(is_rename, [&, no](const io_uring_sqe& sqe) {
                    CHECK(rotating.write_in_crash(batch));
                    CHECK(rotating.write_in_crash(std::string_view("last\n")));
                    return no ? crashing_log::answer(-EIO) : perform(sqe);
                });
                try {
                    co_await rotating.write(batch);
                } catch (const write_error& error) {
                    CHECK(error.bytes_kept == batch.size());
                }
                CHECK(rotating.sync_at() == clock::time_point::min());
                co_await rotating.sync();
                co_await rotating.close();
            }(log, sink, fails));
            strings all;
            for (const auto& each : test::files_like(log.path)) {
                const auto found = crashing_log::lines_of(each);
                all.insert(all.end(), found.begin(), found.end());
            }
            const bool tells =
                contents_of(log.path).find(in_file_before(3, 3)) != std::string::npos;
            CHECK(tells == !fails);
            const auto last = log.lines();
            CHECK(last == (fails ? strings{"1 one", "2 two", "3 last"} : strings{"2 two"}));
            CHECK(all == (fails ? strings{} : strings{"1 one", "2 two", "3 last"}));
            CHECK(log.is_whole());
        }
    }

    TEST_CASE("what tells of lines in a rotated file is whole, and told anew where it is missing") {
        // A handler comes to the rotation; and where the file is looked after, its sync fails, or
        // the write of what tells, with another handler.
        for (const int fails : {0, 1, 2}) {
            CAPTURE(fails);
            crashing_log log;
            rotating_log_sink sink(rotating(log, 40));
            const auto tells = [](const io_uring_sqe& sqe) {
                // NOLINTNEXTLINE(performance-no-int-to-ptr): it is the kernel's form of one
                const std::string_view text(reinterpret_cast<const char*>(sqe.addr), sqe.len);
                return is_write(sqe) && text.find("in the file before") != text.npos;
            };
            const auto play = [&]() -> task<> {
                co_await sink.open();
                co_await put(sink, "one\n");
                const std::string batch = "two\n";
                log.once(is_rename, [&](const io_uring_sqe& sqe) {
                    CHECK(sink.write_in_crash(batch));
                    CHECK(sink.write_in_crash(std::string_view("last\n")));
                    return perform(sqe);
                });
                co_await sink.write(batch);
                if (fails == 1) {
                    log.fail(1, is_sync);
                } else if (fails == 2) {
                    log.fail(1, tells,
                             [&] { CHECK(sink.write_in_crash(std::string_view("four\n"))); });
                    CHECK(co_await sync_of(sink));
                }
                co_await sink.sync();
                co_await sink.close();
            };
            log.loop.run(play());
            const std::string two = test::numbered(2, "two", true);
            CHECK(contents_of(log.path) ==
                  (fails == 0   ? two + test::numbered(0, in_file_before(3, 3), true)
                   : fails == 1 ? two + test::numbered(0, in_file_before(3, 3))
                                : test::numbered(0, in_file_before(3, 4), true)));
            CHECK(sink.lines_stranded() == (fails == 2 ? 2 : 1));
            CHECK(log.is_whole());
        }
    }

    TEST_CASE("a handler without space for what is being written says that nothing is there") {
        crashing_log log;
        rotating_log_sink sink(rotating(log, 40));
        const auto play = [&]() -> task<> {
            co_await sink.open();
            co_await put(sink, "one\n");
            const std::string batch = "two\n";
            log.once(is_rename, [&](const io_uring_sqe& sqe) {
                const file_size_limit limit(std::filesystem::file_size(log.path) + 10);
                CHECK_FALSE(sink.write_in_crash(batch));
                CHECK(sink.kept_in_crash() == 0);
                CHECK_FALSE(sink.write_in_crash(std::string_view("last\n")));
                CHECK(sink.kept_in_crash() == 0);
                return perform(sqe);
            });
            CHECK((co_await write_batch(sink, batch)).kept == batch.size());
            co_await sink.sync();
            co_await sink.close();
        };
        log.loop.run(play());
        CHECK(log.lines() == strings{"2 two"});
        CHECK(log.is_whole());
    }

    TEST_CASE("a batch that is in a new segment when a handler without space comes is kept") {
        for (const bool fails : {false, true}) { // the sync of the file that is looked after, too
            CAPTURE(fails);
            crashing_log log;
            log.loop.run([](crashing_log& its, bool also) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\n");
                int syncs = 0;
                bool is_over = false;
                its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> crashing_log::answer {
                    if (sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0) {
                        return -EOPNOTSUPP;
                    }
                    if (is_sync(sqe) && ++syncs == 1) {
                        return -EIO;
                    }
                    if (is_rename(sqe) && !std::exchange(is_over, true)) {
                        const file_size_limit limit(std::filesystem::file_size(its.path) + 10);
                        CHECK_FALSE(crash(*its.sink, "three\n"));
                    }
                    return perform(sqe);
                };
                const outcome how = co_await write_to(*its.sink, "two\n");
                CHECK(how.is_taken_over());
                CHECK(how.kept == 4);
                if (also) {
                    its.fail(1, is_sync);
                }
                co_await its.sink->sync();
                CHECK(its.sink->lines_stranded() == 0);
                co_await put(*its.sink, "three\n");
                co_await its.sink->close();
            }(log, fails));
            CHECK(log.lines() == strings{"2 two", "3 three"});
            CHECK(log.is_whole());
        }
    }

    TEST_CASE("a segment that has not got its name gets it before it is looked after") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            int syncs = 0;
            int renames = 0;
            its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> crashing_log::answer {
                if (sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0) {
                    return -EOPNOTSUPP;
                }
                if (is_sync(sqe) && ++syncs == 1) {
                    return -EIO;
                }
                if (is_rename(sqe) && ++renames == 1) {
                    CHECK(crash(*its.sink, "three\n")); // into what was the log
                }
                return is_rename(sqe) && renames == 2 ? -EIO : perform(sqe);
            };
            const outcome how = co_await write_to(*its.sink, "two\n");
            CHECK(how.kept == 4);
            CHECK(!std::filesystem::exists(its.path));
            co_await its.sink->sync();
            CHECK(its.lines() == strings{"2 two", gap(3, 3)});
            co_await its.sink->close();
        }(log));
        CHECK(log.is_whole());
    }

    TEST_CASE(
        "a segment that somebody takes away before it is looked after is not believed when it "
        "is the log all the same") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            int syncs = 0;
            int renames = 0;
            its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> crashing_log::answer {
                if (sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0) {
                    return -EOPNOTSUPP;
                }
                if (is_sync(sqe) && ++syncs == 1) {
                    return -EIO;
                }
                return is_rename(sqe) && ++renames == 2 ? -EIO : perform(sqe);
            };
            const outcome how = co_await write_to(*its.sink, "two\n");
            CHECK(how.kept == 4);
            CHECK(!std::filesystem::exists(its.path));
            const std::string next = its.path + ".next";
            std::filesystem::rename(next, its.path + "-theirs");
            CHECK(crash(*its.sink, "three\n"));
            CHECK(co_await sync_of(*its.sink));
            std::filesystem::rename(its.path + "-theirs", its.path);
            const auto before = test::files_like(its.path).size();
            co_await its.sink->sync();
            CHECK(test::files_like(its.path).size() == before + 1); // it was set aside
            co_await its.sink->close();
        }(log));
    }

    TEST_CASE("what is on disk is not told of as missing when another file is begun later") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            CHECK(crash(*its.sink, "two\n"));
            co_await its.sink->sync();
            for (int number = 3; number <= 4; ++number) {
                CHECK(crash(*its.sink, "lost\n"));
                std::filesystem::remove(its.path);
                co_await its.sink->sync();
                CHECK(contents_of(its.path) == test::numbered(static_cast<std::uint64_t>(number),
                                                              gap(number, number).substr(2), true));
            }
            CHECK(its.sink->lines_stranded() == 2);
            co_await its.sink->close();
        }(log));
    }

    TEST_CASE("a file whose sync has failed is not the log's any more when it was taken away") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            CHECK(crash(*its.sink, "two\n"));
            its.fail(1, is_sync); // of the file that is looked after; and no segment is to be had
            const auto next = its.path + ".next";
            std::filesystem::create_directories(next + "/full");
            CHECK(co_await sync_of(*its.sink));
            std::filesystem::remove_all(next);
            CHECK(crash(*its.sink, "three\n"));
            std::filesystem::remove(its.path);
            co_await its.sink->sync();
            CHECK(test::files_like(its.path).empty()); // no segment
            co_await its.sink->close();
        }(log));
        CHECK(log.lines().size() == 2);
    }

    TEST_CASE("what looking after the file has found out is told") {
        crashing_log log(true, durability::interval(std::chrono::hours(1)));
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            CHECK(crash(*its.sink, "two\n"));
            std::filesystem::resize_file(its.path, 0);
            co_await its.sink->sync();
            const log_news news = co_await its.sink->tend({});
            CHECK(news.text == fmt::format("somebody has cut {} bytes off {}",
                                           numbered_line::head_bytes + 4, its.path));
            CHECK(!(co_await its.sink->tend({})));
            CHECK(crash(*its.sink, "three\n"));
            std::ofstream(its.path, std::ios::app) << "torn";
            co_await its.sink->sync();
            CHECK((co_await its.sink->tend({})).text.find("the last 4 bytes of") == 0);
            co_await its.sink->close();
        }(log));
        CHECK(contents_of(log.path + ".torn") == "torn\n");
    }

    TEST_CASE(
        "lines without numbers in a file that counts for nothing are known by one, each time") {
        for (const bool is_made : {false, true}) { // a new file, or one whose sync has failed
            CAPTURE(is_made);
            crashing_log log(false);
            log.loop.run([](crashing_log& its, bool makes) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\n");
                int syncs = 0;
                bool is_over = false;
                its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> crashing_log::answer {
                    if (sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0) {
                        return -EOPNOTSUPP;
                    }
                    if (syncs > 0 && is_rename(sqe) && !std::exchange(is_over, true) && makes) {
                        CHECK(crash(*its.sink, "three\n"));
                    }
                    if (is_sync(sqe) && ++syncs == 1) {
                        if (!makes) {
                            CHECK(crash(*its.sink, "three\n"));
                        }
                        return -EIO;
                    }
                    return perform(sqe);
                };
                CHECK((co_await write_to(*its.sink, "two\n")).failure);
                co_await its.sink->sync();
                CHECK(its.sink->lines_stranded() == 1);
                CHECK(crash(*its.sink, "four\n"));
                co_await its.sink->sync();
                CHECK(its.sink->lines_stranded() == 1);
                co_await its.sink->close();
            }(log, is_made));
        }
    }

    TEST_CASE("lines without numbers that were not synced come again, and the handler's stay") {
        crashing_log log(false, durability::interval(std::chrono::hours(1)));
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            CHECK(crash(*its.sink, "two\n"));
            co_await its.sink->sync();
            co_await put(*its.sink, "three\n");
            co_await its.sink->close();
        }(log));
        CHECK(contents_of(log.path) == "one\ntwo\none\nthree\n");
    }

    TEST_CASE("lines without numbers that stand in another file only are not acknowledged") {
        crashing_log log(false);
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            CHECK(crash(*its.sink, "two\n"));
            std::filesystem::remove(its.path);
            co_await its.sink->sync();
            CHECK(its.sink->lines_stranded() == 1);
            co_await put(*its.sink, "three\n");
            co_await its.sink->close();
        }(log));
        CHECK(contents_of(log.path) == "three\n");
    }

    // --- another thread ---

    CO_TEST_CASE("a handler on another thread, whenever it comes, loses and tears no line") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_log_sink_options options{.path = path};
        options.durable = durability::batch();
        file_log_sink sink(options);
        co_await sink.open();
        constexpr int handlers = 10;
        std::atomic<int> written{0};
        std::atomic<bool> has_failed{false};
        std::thread handler([&] {
            for (int i = 0; i < handlers; ++i) {
                while (written.load() < 3 * i) { // so that the loop gets on
                    std::this_thread::yield();
                }
                has_failed = has_failed || !sink.write_in_crash(fmt::format("handler {}\n", i));
            }
        });
        int writes = 0;
        int failures = 0;
        for (; writes < 3 * handlers; ++failures) {
            const std::string line = fmt::format("loop {}\n", writes);
            const outcome how = co_await write_to(sink, line);
            CHECK((!how.failure || how.is_taken_over()));
            if (how.kept == line.size()) {
                ++writes;
                written = writes;
            }
        }
        handler.join();
        CHECK(!has_failed);
        CHECK(failures < 100'000);
        while (co_await sync_of(sink)) {
        }
        co_await sink.close();
        const std::string text = contents_of(path);
        for (int i = 0; i < writes; ++i) {
            CHECK(text.find(fmt::format(" loop {}\n", i)) != std::string::npos);
        }
        for (int i = 0; i < handlers; ++i) {
            CHECK(text.find(fmt::format(" handler {}\n", i)) != std::string::npos);
        }
        log_verifier verifier;
        CHECK(verifier.verify(log_verifier::segments_of(path)).is_whole());
    }
}
