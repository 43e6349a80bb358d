// durable_writer: a signal's handler writes into a durable log while its loop is at work, and the
// process survives. Nothing is acknowledged meanwhile, and nothing is lost that is not told.
#include "support/allocations.hpp"
#include "support/co_test.hpp"
#include "support/log_files.hpp"
#include "support/numbered_lines.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/file_log_sink.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/log_verifier.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/rotating_log_sink.hpp>

#include <atomic>
#include <cerrno>
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

/// A log on a real file, whose operations the test may spoil.
struct crashing_log {
    temporary_directory directory;
    std::string path = directory / "log";
    test::loop_with_writes loop{perform};
    std::unique_ptr<file_log_sink> sink;

    explicit crashing_log(bool is_numbered = true, durability level = durability::batch()) {
        file_log_sink_options options{.path = path};
        options.durable = level;
        options.numbered = is_numbered;
        sink = std::make_unique<file_log_sink>(options);
    }

    using answer = std::optional<std::int32_t>;

    /// The next of those operations ends as `how` says, which may do the one or the other before.
    void once(std::function<bool(const io_uring_sqe&)> which,
              std::function<answer(const io_uring_sqe&)> how) {
        loop.ring().answer = [is_over = false, which = std::move(which),
                              how = std::move(how)](const io_uring_sqe& sqe) mutable -> answer {
            if (sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0) {
                return -EOPNOTSUPP;
            }
            if (is_over || !which(sqe)) {
                return perform(sqe);
            }
            is_over = true;
            return how(sqe);
        };
    }

    /// The next `count` of them fail; `meanwhile` is called before each.
    void fail(int count, std::function<bool(const io_uring_sqe&)> which,
              std::function<void()> meanwhile = {}) {
        loop.ring().answer = [count, which = std::move(which), meanwhile = std::move(meanwhile)](
                                 const io_uring_sqe& sqe) mutable -> answer {
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

    [[nodiscard]] int syncs_from_now() {
        syncs = 0;
        loop.ring().answer = [this](const io_uring_sqe& sqe) {
            syncs += sqe.opcode == IORING_OP_FSYNC ? 1 : 0;
            return perform(sqe);
        };
        return syncs;
    }

    int syncs = 0;

    /// Without those of the log's own that have no number.
    [[nodiscard]] strings lines() const { return lines_of(path); }

    [[nodiscard]] static strings lines_of(const std::string& file) {
        std::istringstream stream(contents_of(file));
        strings found;
        for (std::string line; std::getline(stream, line);) {
            const auto parsed = numbered_line::parse(line);
            CHECK(parsed.is == numbered_line::state::whole);
            if (parsed.place == lsn::none) {
                continue;
            }
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

bool is_rename(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_RENAMEAT;
}

bool is_open(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_OPENAT || sqe.opcode == IORING_OP_OPENAT2;
}

bool is_read(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_READ;
}

/// How a write has ended: how much it has kept, and why it failed.
struct outcome {
    std::size_t kept = 0;
    std::error_code failure;

    [[nodiscard]] bool is_taken_over() const {
        return failure == std::errc::device_or_resource_busy;
    }
};

task<outcome> write_to(log_sink& sink, std::string lines) {
    outcome how{.kept = lines.size(), .failure = {}};
    try {
        co_await sink.write(lines);
    } catch (const write_error& error) {
        how = {.kept = error.bytes_kept, .failure = error.code()};
    }
    co_return how;
}

task<std::error_code> sync_of(log_sink& sink) {
    std::error_code failure;
    try {
        co_await sink.sync();
    } catch (const std::system_error& error) {
        failure = error.code();
    }
    co_return failure;
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
            const bool tells = contents_of(log.path).find(
                                   "3 to 3 are in the file before this one") != std::string::npos;
            CHECK(tells == !fails);
            const auto last = log.lines();
            CHECK(last == (fails ? strings{"1 one", "2 two", "3 last"} : strings{"2 two"}));
            CHECK(all == (fails ? strings{} : strings{"1 one", "2 two", "3 last"}));
            CHECK(log.is_whole());
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
