// durable_writer: what a signal's handler has written of a durable log, in a process that survives.
#include "support/co_test.hpp"
#include "support/log_files.hpp"
#include "support/numbered_lines.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/file_log_sink.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/log_verifier.hpp>
#include <sapwood/numbered_line.hpp>

#include <cerrno>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <liburing.h>
#include <sstream>
#include <string>
#include <vector>

namespace {

using namespace sapwood;
using test::contents_of;
using test::perform;
using test::put;
using test::temporary_directory;
using strings = std::vector<std::string>;

/// A log on a real file, whose operations the test may spoil.
struct crashing_log {
    temporary_directory directory;
    std::string path = directory / "log";
    test::loop_with_writes loop{perform};
    std::unique_ptr<file_log_sink> sink;

    explicit crashing_log(bool is_numbered = true) {
        file_log_sink_options options{.path = path};
        options.durable = durability::batch();
        options.numbered = is_numbered;
        sink = std::make_unique<file_log_sink>(options);
    }

    /// The next `count` of those operations fail; `meanwhile` is called before each.
    void fail(int count, std::function<bool(const io_uring_sqe&)> which,
              std::function<void()> meanwhile = {}) {
        loop.ring().answer = [count, which = std::move(which), meanwhile = std::move(meanwhile)](
                                 const io_uring_sqe& sqe) mutable -> std::optional<std::int32_t> {
            if (sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0) {
                return -EOPNOTSUPP;
            }
            if (count == 0 || !which(sqe)) {
                return perform(sqe);
            }
            --count;
            if (meanwhile) {
                meanwhile();
            }
            return -EIO;
        };
    }

    [[nodiscard]] strings lines() const {
        std::istringstream stream(contents_of(path));
        strings found;
        for (std::string line; std::getline(stream, line);) {
            const auto parsed = numbered_line::parse(line);
            CHECK(parsed.is == numbered_line::state::whole);
            found.push_back(fmt::format("{} {}", to_number(parsed.place),
                                        line.substr(numbered_line::head_bytes)));
        }
        return found;
    }

    [[nodiscard]] bool is_whole() const {
        log_verifier verifier;
        return verifier.verify(log_verifier::segments_of(path)).is_whole();
    }
};

bool is_sync(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_FSYNC;
}

bool is_write(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_WRITE;
}

bool crash(file_log_sink& sink, const std::string& lines) {
    return sink.write_in_crash(lines);
}

/// How many bytes of `lines` a write that fails has kept; all of them where it does not.
task<std::size_t> kept_of(file_log_sink& sink, const std::string& lines) {
    std::size_t kept = lines.size();
    try {
        co_await sink.write(lines);
    } catch (const write_error& error) {
        kept = error.bytes_kept;
    }
    co_return kept;
}

} // namespace

TEST_SUITE("durable_writer_crash") {
    TEST_CASE("what a handler has written comes again where its sync fails") {
        for (const bool by_sync : {true, false}) {
            CAPTURE(by_sync);
            crashing_log log;
            log.loop.run([](crashing_log& its, bool syncs) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\n");
                CHECK(crash(*its.sink, "two\nthree\n"));
                its.fail(1, is_sync);
                if (syncs) {
                    co_await its.sink->sync();
                }
                co_await put(*its.sink, "four\n");
                co_await its.sink->close();
            }(log, by_sync));
            CHECK(log.lines() == strings{"2 two", "3 three", "4 four"});
            CHECK(log.is_whole());
        }
    }

    TEST_CASE(
        "what it has written in a file whose sync had failed is acknowledged in another one") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            its.fail(2, is_sync); // and so the new segment's
            CHECK(co_await kept_of(*its.sink, "two\n") == 0);
            CHECK(crash(*its.sink, "two\nthree\n"));
            co_await its.sink->sync();
            CHECK(its.lines() == strings{"2 two", "3 three"});
            co_await put(*its.sink, "four\n");
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"2 two", "3 three", "4 four"});
        CHECK(log.is_whole());
    }

    TEST_CASE("a batch that it has saved does not come again, and is on disk with the next sync") {
        for (const int failures : {1, 2}) {
            CAPTURE(failures);
            crashing_log log;
            log.loop.run([](crashing_log& its, int count) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\n");
                const std::string batch = "two\nthree\n";
                bool is_first = true;
                its.fail(count, is_sync, [&] {
                    if (std::exchange(is_first, false)) {
                        CHECK(crash(*its.sink, batch));
                        CHECK(crash(*its.sink, "four\n"));
                    }
                });
                CHECK(co_await kept_of(*its.sink, batch) == batch.size());
                CHECK(its.sink->sync_at() ==
                      (count == 1 ? clock::time_point::max() : clock::time_point::min()));
                co_await its.sink->sync();
                CHECK(its.lines() == strings{"2 two", "3 three", "4 four"});
                co_await put(*its.sink, "five\n");
                co_await its.sink->close();
            }(log, failures));
            CHECK(log.lines() == strings{"2 two", "3 three", "4 four", "5 five"});
            CHECK(log.is_whole());
        }
    }

    TEST_CASE("a batch that it has saved while the disk refuses it is on disk with the next sync") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            const std::string batch = "two\nthree\n";
            its.fail(1, is_write, [&] { CHECK(crash(*its.sink, batch)); });
            CHECK(co_await kept_of(*its.sink, batch) == batch.size());
            CHECK(its.sink->sync_at() == clock::time_point::min());
            its.fail(1, is_sync); // and so not in that file
            co_await its.sink->sync();
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"2 two", "3 three"});
        CHECK(log.is_whole());
    }

    TEST_CASE("what it has written, in a file that loses its name, is in the next one") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            CHECK(crash(*its.sink, "two\n"));
            std::filesystem::remove(its.path);
            co_await put(*its.sink, "three\n", {.reopen = true});
            co_await its.sink->close();
        }(log));
        CHECK(log.lines() == strings{"2 two", "3 three"});
    }

    TEST_CASE("what it has written and is not there any more is told in a line") {
        crashing_log log;
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            const auto size = std::filesystem::file_size(its.path);
            CHECK(crash(*its.sink, "two\nthree\n"));
            std::filesystem::resize_file(its.path, size);
            its.fail(1, is_sync);
            co_await put(*its.sink, "four\n");
            co_await its.sink->close();
        }(log));
        const strings found = log.lines();
        REQUIRE(found.size() == 2);
        CHECK(found[0] == "3 2 records are missing here, numbers 2 to 3: a signal's handler wrote "
                          "them, and they are not in the file any more \\(log)");
        CHECK(found[1] == "4 four");
        CHECK(log.is_whole());
    }

    TEST_CASE("lines without numbers come again, too") {
        crashing_log log(false);
        log.loop.run([](crashing_log& its) -> task<> {
            co_await its.sink->open();
            co_await put(*its.sink, "one\n");
            CHECK(crash(*its.sink, "two\n"));
            its.fail(1, is_sync);
            co_await put(*its.sink, "three\n");
            co_await its.sink->close();
        }(log));
        CHECK(contents_of(log.path) == "two\nthree\n");
    }
}
