// Durable logs to which somebody else appends, or in whose place he puts another: whatever he
// leaves, a log that is killed then and opened again has every record that was acknowledged, under
// its number.
#include "sim_machine.hpp"
#include "support/co_test.hpp"
#include "support/numbered_lines.hpp"

#include <sapwood/directory.hpp>
#include <sapwood/file.hpp>
#include <sapwood/file_log_sink.hpp>
#include <sapwood/log_verifier.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/sim_world.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/uio.h>
#include <system_error>
#include <utility>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using namespace std::string_literals;

const std::string pieces[] = {
    "0000000000000000 deadbeef half of a li",
    "0000000000000000 deadbeef half of a li\n",
    "by\0hand\n"s,
    "half of a\0li"s,
    "0000000000000002 deadbeef a number that is to come\n",
    "0000000000000000 deadbeef half\nby\0hand\nhalf"s,
};

constexpr std::string_view path = "/log";

task<> append_by_hand(std::string_view text) {
    file other = co_await file::open(std::string(path), {.flags = O_WRONLY | O_APPEND});
    co_await other.write_all(text);
    co_await other.close();
}

/// What the log begins with, gets from somebody and goes on with.
using two_records = task<> (*)(std::string_view piece, durability level);

task<> through_a_pipeline(std::string_view piece, durability level) {
    pipeline_options options;
    options.durable = level;
    const file_sink_options file{.path = path};
    pipeline log = co_await pipeline::open(file, options);
    for (const char* text : {"one", "two"}) {
        record item(sapwood::level::info, 1, text);
        const lsn place = co_await log.append(std::move(item));
        co_await log.durable(place);
        if (text == "one"s) {
            co_await append_by_hand(piece);
        }
    }
}

task<> through_a_logger(std::string_view piece, durability level) {
    logger_options options;
    options.crash_handler = false;
    file_log_sink_options file{.path = std::string(path)};
    file.durable = level;
    options.outputs.push_back({.sink = std::make_unique<file_log_sink>(file)});
    const logger log = co_await logger::on_this_loop(options);
    for (const char* text : {"one", "two"}) {
        log.info("{}", text);
        co_await log.durable();
        if (text == "one"s) {
            co_await append_by_hand(piece);
        }
    }
}

task<> cut_by_hand(std::uint64_t size) {
    file other = co_await file::open(std::string(path), {.flags = O_WRONLY});
    co_await other.truncate(size);
    co_await other.close();
}

/// Of words, each with a space behind it.
std::string_view first_of(std::string_view words) {
    return words.substr(0, words.find(' '));
}

/// Two logs that do the same with words, a record each, by default with an interval that is never
/// over.
class a_pipeline {
  public:
    explicit a_pipeline(pipeline its) : log(std::move(its)) {}

    pipeline log;

    static task<a_pipeline> opened(durability level = durability::interval(1h),
                                   std::uint64_t segment_bytes = 0) {
        pipeline_options options;
        options.durable = level;
        options.segment_bytes_max = segment_bytes;
        options.form = layout::numbered;
        const file_sink_options file{.path = path};
        pipeline made = co_await pipeline::open(file, options);
        co_return a_pipeline(std::move(made));
    }

    task<> write(std::string_view words) {
        lsn place = lsn::none;
        for (; !words.empty(); words.remove_prefix(first_of(words).size() + 1)) {
            record item(sapwood::level::info, 1, first_of(words));
            place = co_await log.append(std::move(item));
        }
        co_await log.written(place);
    }

    task<> sync() { return log.close(); }
};

class a_logger {
  public:
    explicit a_logger(logger its) : log(std::move(its)) {}

    logger log;

    static task<a_logger> opened(durability level = durability::interval(1h)) {
        logger_options options;
        options.crash_handler = false;
        file_log_sink_options file{.path = std::string(path)};
        file.durable = level;
        options.outputs.push_back({.sink = std::make_unique<file_log_sink>(file)});
        logger made = co_await logger::on_this_loop(options);
        co_return a_logger(std::move(made));
    }

    task<> write(std::string_view words) const {
        for (; !words.empty(); words.remove_prefix(first_of(words).size() + 1)) {
            log.info("{}", first_of(words));
        }
        bool is_there = false;
        while (!is_there) {
            try {
                co_await log.flush();
                is_there = true;
            } catch (const std::system_error&) { // it is tried again
            }
            co_await sleep_for(is_there ? 0s : 1s);
        }
    }

    task<> sync() const { return log.close(); }
};

/// The number and the last word of each whole line of a record, with a bar before marked ones; `-`
/// for what is no such line.
std::string outline(std::string_view text) {
    std::string all;
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(line.size() + 1);
        const auto parsed = numbered_line::parse(line);
        if (parsed.is != numbered_line::state::whole) {
            all += "- ";
        } else if (parsed.place != lsn::none) {
            all += fmt::format("{}{}{} ", parsed.is_marked ? "|" : "", to_number(parsed.place),
                               line.substr(line.rfind(' ')));
        }
    }
    return all;
}

bool is_write(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_WRITE;
}

/// Four lines of which the last two come in one write, and the file is cut after it has come or
/// before; then a fifth.
template <class Log>
task<> write_and_be_cut(sim_world& world, bool before, std::uint64_t more, bool fails_to_read) {
    Log log = co_await Log::opened();
    co_await log.write("one ");
    co_await log.write("two ");
    const std::uint64_t two = world.contents(path)->size();
    bool is_cut = false;
    if (before) {
        world.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            if (is_write(sqe) && !std::exchange(is_cut, true)) {
                auto& files = world.machine().files;
                const int fd = files.open(AT_FDCWD, path, O_WRONLY, 0, 0);
                (void)files.truncate(fd, static_cast<std::int64_t>(two - more));
                (void)files.close(fd);
            }
            return std::nullopt;
        });
    }
    co_await log.write("three four ");
    if (!before) {
        co_await cut_by_hand(two + more);
    }
    bool has_failed = !fails_to_read;
    if (fails_to_read) {
        world.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            const bool fails =
                sqe.opcode == IORING_OP_READ && sqe.len > 1 && !std::exchange(has_failed, true);
            return fails ? std::optional(-EAGAIN) : std::nullopt;
        });
    }
    co_await log.write("five ");
    CHECK(has_failed);
    co_await log.sync();
}

template <class Log>
std::string outline_of_cut(bool before, std::uint64_t more, bool fails_to_read = false) {
    sim_world world({.seed = 1});
    CHECK(world.run(write_and_be_cut<Log>(world, before, more, fails_to_read)));
    return outline(world.contents(path).value_or(""));
}

task<> expect_last(std::uint64_t last) {
    const file_sink_options options{.path = path, .numbered = true};
    file_sink sink = co_await file_sink::open(options);
    CHECK(to_number(sink.last_lsn()) == last);
    co_await sink.close();
}

/// Two lines that are on disk, then another log has the name, with lines of these numbers, and one
/// line more.
template <class Log>
std::string outline_in_place_of(std::uint64_t theirs) {
    sim_world world({.seed = 1});
    CHECK(world.run([](sim_world& on, std::uint64_t last) -> task<> {
        Log log = co_await Log::opened(durability::batch());
        co_await log.write("one two ");
        co_await rename_file(std::string(path), "/log.1");
        std::string lines;
        for (std::uint64_t number = 1; number <= last; ++number) {
            lines += test::numbered(number, "their line");
        }
        on.put(path, lines);
        co_await sleep_for(1s);
        co_await log.write("three ");
        co_await log.sync();
    }(world, theirs)));
    std::string all = outline(world.durable_contents(path).value_or(""));
    for (const std::string& name : world.names()) {
        if (name.starts_with("log.00")) {
            all += name + ": " + outline(world.contents("/" + name).value_or(""));
        }
    }
    return all;
}

/// A segment that cannot get the log's name for a second, and which somebody renames then.
template <class Log>
std::string outline_of_renamed_segment(int failing_opens = 0) {
    sim_world world({.seed = 1});
    CHECK(world.run([failing_opens](sim_world& on) -> task<> {
        Log log = co_await Log::opened(durability::batch());
        bool has_failed = false;
        on.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            if (is_write(sqe) && (sqe.rw_flags & RWF_DSYNC) != 0) {
                return -EOPNOTSUPP;
            }
            if (sqe.opcode == IORING_OP_FSYNC && !std::exchange(has_failed, true)) {
                return -EIO;
            }
            const bool gives_name = sqe.opcode == IORING_OP_RENAMEAT && !on.contents(path);
            return gives_name ? std::optional(-EBUSY) : std::nullopt;
        });
        auto written = spawn(log.write("one "));
        co_await sleep_for(1s);
        CHECK(on.contents("/log.next"));
        int left = failing_opens;
        on.script([&left](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            const bool opens = sqe.opcode == IORING_OP_OPENAT || sqe.opcode == IORING_OP_OPENAT2;
            return opens && left-- > 0 ? std::optional(-EMFILE) : std::nullopt;
        });
        co_await rename_file("/log.next", "/theirs");
        co_await sleep_for(5s);
        on.script({});
        CHECK(outline(on.contents("/theirs").value_or("")) == "|1 one ");
        CHECK(outline(on.durable_contents(path).value_or("")) == "|1 one ");
        co_await std::move(written);
        co_await log.write("two ");
        co_await log.sync();
    }(world)));
    return outline(world.durable_contents(path).value_or(""));
}

/// Both were acknowledged; what comes then is no more than an end, or the power is cut.
void expect_both(two_records play) {
    for (const std::string& piece : pieces) {
        for (const durability level : {durability::batch(), durability::interval(1ms)}) {
            for (const sim_crash how : {sim_crash::kill, sim_crash::power_cut}) {
                CAPTURE(piece);
                CAPTURE(level.is_batch());
                sim_world world({.seed = 1});
                CHECK(world.run(play(piece, level)));
                world.crash(how);
                CHECK(world.run(expect_last(2)));
                const std::string found = world.contents(path).value_or("");
                CHECK(found.find(" one\n") != found.npos);
                CHECK(found.find(" two\n") != found.npos);
                CHECK(found.find(" two\n") > found.find(piece.substr(0, 6)));
            }
        }
    }
}

} // namespace

TEST_SUITE("durable_others") {
    TEST_CASE("a piece of somebody's takes no acknowledged record of a pipeline with it") {
        expect_both(through_a_pipeline);
    }

    TEST_CASE("a piece of somebody's takes no acknowledged record of a logger with it") {
        expect_both(through_a_logger);
    }

    TEST_CASE("of what somebody has cut off that comes again, and no number twice in a file") {
        for (const bool fails_to_read : {false, true}) {
            CAPTURE(fails_to_read);
            const auto expect = [&](std::uint64_t more, std::string_view wanted) {
                CAPTURE(more);
                CHECK(outline_of_cut<a_pipeline>(false, more, fails_to_read) == wanted);
                CHECK(outline_of_cut<a_logger>(false, more, fails_to_read) == wanted);
            };
            expect(0, "|1 one 2 two |3 three 4 four 5 five ");
            expect(20, "|1 one 2 two - |3 three 4 four 5 five ");
            expect(70, "|1 one 2 two 3 three - |4 four 5 five ");
        }
    }

    TEST_CASE("no number stands twice in a log that takes the name, which is set aside for that") {
        const auto expect = [](std::uint64_t theirs, const std::string& above,
                               const std::string& aside) {
            CAPTURE(theirs);
            CHECK(outline_in_place_of<a_pipeline>(theirs) == above + "|3 three " + aside);
            // The line that tells of it has a number.
            CHECK(outline_in_place_of<a_logger>(theirs) == above + "|3 \\(log) 4 three " + aside);
        };
        expect(2, "1 line 2 line ", "");
        // By the number behind its last: nothing that it has comes in the next file again.
        expect(3, "", "log.0000000000000004: 1 line 2 line 3 line ");
        expect(5, "", "log.0000000000000006: 1 line 2 line 3 line 4 line 5 line ");
    }

    TEST_CASE("a second after it was renamed a log has its name, whatever it has still to tell") {
        sim_world world({.seed = 1});
        CHECK(world.run([](sim_world& on) -> task<> {
            a_logger log = co_await a_logger::opened(durability::batch());
            co_await log.write("one ");
            co_await remove_file(std::string(path));
            co_await log.write("two "); // in a new file, which it has still to tell
            co_await rename_file(std::string(path), "/log.1");
            co_await sleep_for(1s);
            co_await log.write("three ");
            const std::string found = on.durable_contents(path).value_or("");
            CHECK(found.find(" three") != found.npos);
            co_await log.sync();
        }(world)));
    }

    TEST_CASE("a segment that somebody renames before it has the log's name is begun once more") {
        CHECK(outline_of_renamed_segment<a_pipeline>() == "|1 one |2 two ");
        CHECK(outline_of_renamed_segment<a_logger>() == "|1 one |2 two ");
        for (const int failing_opens : {1, 2, 3}) {
            CAPTURE(failing_opens);
            CHECK(outline_of_renamed_segment<a_pipeline>(failing_opens) == "|1 one |2 two ");
            CHECK(outline_of_renamed_segment<a_logger>(failing_opens) == "|1 one |2 two ");
        }
    }

    TEST_CASE("of a segment that was full, what stands in one that was renamed comes again once") {
        for (const int failing : {1, 2, 3}) {
            CAPTURE(failing);
            sim_world world({.seed = 1});
            CHECK(world.run([failing](sim_world& on) -> task<> {
                a_pipeline log = co_await a_pipeline::opened(durability::batch(), 1);
                co_await log.write("one ");
                on.script([&on](const io_uring_sqe& sqe) {
                    const bool gives_name = sqe.opcode == IORING_OP_RENAMEAT && !on.contents(path);
                    return gives_name ? std::optional(-EBUSY) : std::nullopt;
                });
                record two(sapwood::level::info, 1, "two");
                const lsn place = co_await log.log.append(std::move(two));
                co_await sleep_for(1s);
                CHECK(on.contents("/log.next"));
                int left = failing;
                on.script([&left](const io_uring_sqe& sqe) {
                    const bool opens =
                        sqe.opcode == IORING_OP_OPENAT || sqe.opcode == IORING_OP_OPENAT2;
                    return opens && left-- > 0 ? std::optional(-EMFILE) : std::nullopt;
                });
                co_await rename_file("/log.next", "/theirs");
                co_await log.log.durable(place);
                on.script({});
                CHECK(outline(on.contents("/theirs").value_or("")) == "|2 two ");
                CHECK(outline(on.durable_contents(path).value_or("")) == "|2 two ");
                co_await log.sync();
            }(world)));
        }
    }

    TEST_CASE("without a durability, too, an open takes nothing with the piece that a cut leaves") {
        sim_world world({.seed = 1});
        CHECK(world.run([](sim_world& on) -> task<> {
            a_pipeline log = co_await a_pipeline::opened(durability::none());
            co_await log.write("one ");
            const std::uint64_t one = on.contents(path)->size();
            co_await log.write("two three ");
            co_await cut_by_hand(one + 40); // with a head
            co_await log.write("four five ");
            co_await log.write("six ");
            co_await log.sync();
        }(world)));
        CHECK(world.run(expect_last(6)));
        CHECK(outline(world.contents(path).value_or("")) == "1 one - |4 four 5 five 6 six ");
        CHECK(!world.contents("/log.torn"));
    }

    TEST_CASE("without a durability a cut ends no log, where no sync succeeds either") {
        sim_world world({.seed = 1});
        CHECK(world.run([](sim_world& on) -> task<> {
            a_pipeline log = co_await a_pipeline::opened(durability::none());
            co_await log.write("one two ");
            on.script([](const io_uring_sqe& sqe) {
                return sqe.opcode == IORING_OP_FSYNC ? std::optional(-EIO) : std::nullopt;
            });
            co_await cut_by_hand(40);
            co_await log.write("three four ");
            co_await log.write("five ");
            on.script({});
        }(world)));
        const std::string found = world.contents(path).value_or("");
        CHECK(found.find(" three\n") != found.npos);
        CHECK(found.find(" four\n") != found.npos);
        CHECK(found.find(" five\n") != found.npos);
    }

    TEST_CASE("what was cut in the midst of a write comes again in a new segment, in its order") {
        // The third line stands behind the rest of the second, and the fourth is whole.
        const std::string_view wanted = "|1 one 2 two 3 three 4 four 5 five ";
        CHECK(outline_of_cut<a_pipeline>(true, 5) == wanted);
        CHECK(outline_of_cut<a_logger>(true, 5) == wanted);
    }
}
