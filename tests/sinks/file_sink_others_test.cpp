// file_sink: what it makes of others who write to its file, cut it, or put one in its place.
#include "sim_machine.hpp"
#include "support/allocations.hpp"
#include "support/co_test.hpp"
#include "support/no_frames.hpp"
#include "support/numbered_lines.hpp"
#include "support/spoiled_log.hpp"

#include <sapwood/directory.hpp>
#include <sapwood/sim_world.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::contents_of;
using test::fill;
using test::is_read;
using test::is_rename;
using test::is_sync;
using test::is_write;
using test::numbered;
using test::perform;
using test::put;
using test::spoiled_log;
using test::strings;
using test::sync_of;
using test::temporary_directory;

constexpr std::uint8_t opcode_ftruncate = 55; // Linux 6.9

task<file_sink> opened(const std::string& path, bool is_numbered, bool has_segments = false) {
    const file_sink_options options{
        .path = path, .numbered = is_numbered, .has_segments = has_segments};
    co_return co_await file_sink::open(options);
}

void append_to(const std::string& path, std::string_view text) {
    std::ofstream(path, std::ios::app) << text;
}

struct syncs_seen {
    int of_files = 0;
    int of_directories = 0;
};

/// Of the open of a durable log without numbers, in a directory that is not its own to make.
syncs_seen syncs_of_open(std::string_view found) {
    const temporary_directory folder;
    const std::string path = folder / "log";
    fill(path, found);
    test::loop_with_writes loop(perform);
    syncs_seen seen;
    loop.ring().answer = [&](const io_uring_sqe& sqe) {
        if (is_sync(sqe)) {
            struct stat status {};
            REQUIRE(::fstat(sqe.fd, &status) == 0);
            ++(S_ISDIR(status.st_mode) ? seen.of_directories : seen.of_files);
        }
        return perform(sqe);
    };
    loop.run([](std::string where) -> task<> {
        file_sink sink = co_await opened(where, false, true);
        co_await sink.close();
    }(path));
    return seen;
}

/// Which directories an open has synced, each of them once, and as it must be for their names.
struct synced_directories {
    std::vector<ino_t> inodes;

    [[nodiscard]] bool has(const std::string& path) const {
        struct stat status {};

        REQUIRE(::stat(path.c_str(), &status) == 0);
        return std::find(inodes.begin(), inodes.end(), status.st_ino) != inodes.end();
    }
};

synced_directories directories_synced_by_open(const std::string& path, bool makes = false) {
    test::loop_with_writes loop(perform);
    synced_directories seen;
    loop.ring().answer = [&](const io_uring_sqe& sqe) {
        struct stat status {};
        if (is_sync(sqe) && ::fstat(sqe.fd, &status) == 0 && S_ISDIR(status.st_mode)) {
            CHECK((sqe.fsync_flags & IORING_FSYNC_DATASYNC) == 0);
            seen.inodes.push_back(status.st_ino);
        }
        if (sqe.opcode == IORING_OP_MKDIRAT) {
            const auto* const name = reinterpret_cast<const char*>(sqe.addr);
            const int failed = ::mkdirat(sqe.fd, name, sqe.len) == 0 ? 0 : errno;
            return std::optional(-failed);
        }
        return perform(sqe);
    };
    loop.run([](std::string where, bool makes_directories) -> task<> {
        const file_sink_options options{
            .path = where, .make_directories = makes_directories, .has_segments = true};
        file_sink sink = co_await file_sink::open(options);
        co_await sink.close();
    }(path, makes));
    return seen;
}

task<std::string> news_of(file_sink& sink) {
    const log_news news = co_await sink.reopen();
    co_return news.text;
}

/// The numbers from `first` on.
task<std::string> found_again(file_sink& sink, std::uint64_t first) {
    const std::vector<lsn> found = co_await sink.recover_again(lsn{first});
    std::string numbers;
    for (const lsn each : found) {
        numbers += fmt::format("{}{}", numbers.empty() ? "" : " ", to_number(each));
    }
    co_return numbers;
}

/// A numbered log into which somebody has put `half`; before each read of it `meanwhile` happens.
/// How often it was read for `two` to be written.
int reads_before_a_line(const std::string& path, std::string_view half,
                        const std::function<void(int)>& meanwhile) {
    test::loop_with_writes loop(perform);
    int reads = 0;
    loop.run([](test::loop_with_writes& on, const std::string& where, std::string_view theirs,
                const std::function<void(int)>& also, int& count) -> task<> {
        file_sink sink = co_await opened(where, true);
        append_to(where, theirs);
        on.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            const auto done = perform(sqe);
            if (is_read(sqe)) {
                also(++count);
            }
            return done;
        };
        const std::string line = numbered(1, "two");
        co_await sink.write(line);
        co_await sink.close();
    }(loop, path, half, meanwhile, reads));
    return reads;
}

/// How the write of numbered lines ends that is done so.
std::error_code end_of_write(
    bool is_synced,
    std::function<std::optional<std::int32_t>(const std::string&, const io_uring_sqe&)> way,
    const std::string& lines = numbered(1, "ours")) {
    const temporary_directory folder;
    test::loop_with_writes loop(perform);
    std::error_code end;
    loop.run([](test::loop_with_writes& on, std::string path, bool synced, const auto& done,
                const std::string& text, std::error_code& how) -> task<> {
        file_sink sink = co_await opened(path, true);
        on.ring().answer = [&](const io_uring_sqe& sqe) {
            return is_write(sqe) ? done(path, sqe) : perform(sqe);
        };
        try {
            if (synced) {
                co_await sink.write_synced(text);
            } else {
                co_await sink.write(text);
            }
        } catch (const std::system_error& error) {
            how = error.code();
        }
        on.ring().answer = perform;
        co_await sink.close();
    }(loop, folder / "log", is_synced, way, lines, end));
    return end;
}

/// A write that leaves 20 bytes of its line, which are cut off as `cut` says.
task<> fail_half_way(test::loop_with_writes& on, file_sink& sink,
                     std::function<std::int32_t(const io_uring_sqe&)> cut) {
    int writes = 0;
    on.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
        if (is_write(sqe)) {
            return ++writes == 1 ? test::perform_some(sqe, 20) : -ENOSPC;
        }
        return sqe.opcode == opcode_ftruncate ? cut(sqe) : perform(sqe);
    };
    CHECK_THROWS_AS(co_await sink.write(numbered(2, "ours")), write_error);
    on.ring().answer = perform;
}

} // namespace

TEST_SUITE("file_sink_others") {
    // --- lines of others ---

    TEST_CASE("half a line of others is waited for while it grows, and ended when it does not") {
        const temporary_directory folder;
        const std::string two = numbered(1, "two");
        const auto nothing = [](int) {};

        CHECK(reads_before_a_line(folder / "whole", "theirs\n", nothing) == 1);
        CHECK(contents_of(folder / "whole") == "theirs\n" + two);

        CHECK(reads_before_a_line(folder / "dead", "half", nothing) == 1);
        CHECK(contents_of(folder / "dead") == "half\n" + two);

        const std::string path = folder / "growing";
        CHECK(reads_before_a_line(path, "ha", [&](int read) {
                  if (read < 4) {
                      append_to(path, read < 3 ? "-" : "lf\n");
                  }
              }) == 4);
        CHECK(contents_of(path) == "ha--lf\n" + two);

        const std::string endless = folder / "endless";
        // Eight times, and once more whether the line is one of its own.
        CHECK(reads_before_a_line(
                  endless, "ha", [&](int read) { append_to(endless, read <= 8 ? "-" : ""); }) == 9);
        CHECK(contents_of(endless) == "ha--------\n" + two);

        const std::string cut = folder / "cut";
        CHECK(reads_before_a_line(cut, "half", [&](int) { fill(cut, ""); }) == 1);
        CHECK(contents_of(cut) == two);
    }

    CO_TEST_CASE("to a log of plain lines others write at its end, and it does not break in") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        file_sink sink = co_await opened(path, false);
        append_to(path, "half ");
        co_await sink.write(std::string_view("ours\n"));
        CHECK(contents_of(path) == "half ours\n");
        co_await sink.close();
    }

    TEST_CASE(
        "a line that comes to stand behind half a one of somebody's is not taken for written") {
        const auto before = [](const std::string& piece) {
            return [piece](const std::string& path, const io_uring_sqe& sqe) {
                append_to(path, piece);
                return perform(sqe);
            };
        };
        const auto behind = [](const std::string& path, const io_uring_sqe& sqe) {
            const auto done = perform(sqe);
            append_to(path, "half");
            return done;
        };
        for (const bool is_synced : {false, true}) {
            CAPTURE(is_synced);
            CHECK(end_of_write(is_synced, before("half")) == std::errc::device_or_resource_busy);
            CHECK(end_of_write(is_synced, before("a\nhalf")) == std::errc::device_or_resource_busy);
            CHECK(!end_of_write(is_synced, before("whole\n")));
            CHECK(!end_of_write(is_synced, behind));
        }
    }

    TEST_CASE(
        "what somebody appends between the parts of a short write is in the midst of a line") {
        int writes = 0;
        const auto between = [&writes](const std::string& path, const io_uring_sqe& sqe) {
            const auto some = test::perform_some(sqe, ++writes == 1 ? 20 : 4096);
            append_to(path, writes == 1 ? "theirs\n" : "");
            return some;
        };
        CHECK(end_of_write(false, between) == std::errc::device_or_resource_busy);
    }

    TEST_CASE("whole lines of a write that failed are not kept behind half a line of somebody's") {
        const std::string first = numbered(1, "ours");
        const auto way = [&first](const std::string& theirs) {
            return [&first, theirs,
                    writes = 0](const std::string& path,
                                const io_uring_sqe& sqe) mutable -> std::optional<std::int32_t> {
                if (++writes > 1) {
                    return -ENOSPC;
                }
                append_to(path, theirs);
                return test::perform_some(sqe, static_cast<unsigned>(first.size() + 20));
            };
        };
        const std::string both = first + numbered(2, "ours");
        CHECK(end_of_write(false, way("half of his"), both) == std::errc::device_or_resource_busy);
        CHECK(end_of_write(false, way("his\n"), both) == std::errc::no_space_on_device);
    }

    TEST_CASE("without memory to look for a piece of somebody's, lines are kept and not believed") {
        for (const bool fails : {false, true}) { // the write itself, behind a whole line
            bool has_failed = true;
            for (std::size_t nth = 1; has_failed; ++nth) {
                CAPTURE(fails);
                CAPTURE(nth);
                has_failed = false;
                spoiled_log log;
                log.loop.run([](spoiled_log& its, bool is_full, std::size_t failing,
                                bool& failed) -> task<> {
                    file_sink sink = co_await opened(its.path, true);
                    const std::string one = numbered(1, "one");
                    const std::string lines = one + (is_full ? numbered(2, "two") : "");
                    std::optional<test::failing_allocations> none;
                    const test::no_frames spare; // the first to fail is a frame's
                    its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                        if (!is_write(sqe)) {
                            return perform(sqe);
                        }
                        if (contents_of(its.path).empty()) {
                            append_to(its.path, "half ");
                            const auto done =
                                test::perform_some(sqe, static_cast<unsigned>(one.size()));
                            if (is_full) {
                                return done;
                            }
                            none.emplace(failing);
                            return done;
                        }
                        none.emplace(failing);
                        return -ENOSPC;
                    };
                    std::size_t kept = 0;
                    bool is_known = false; // that a piece of somebody's is before it
                    try {
                        co_await sink.write(lines);
                    } catch (const write_error& error) {
                        kept = error.bytes_kept;
                    } catch (const sync_error&) {
                        is_known = true;
                    } catch (const std::bad_alloc&) {
                        is_known = false;
                    }
                    failed = none && none->struck();
                    none.reset();
                    its.loop.ring().answer = perform;
                    CHECK((is_known || kept == one.size()));
                    CHECK_THROWS_AS(co_await sink.datasync(), sapwood::sync_error);
                    co_await sink.close();
                }(log, fails, nth, has_failed));
            }
        }
    }

    TEST_CASE("a piece of ours behind which somebody has written is not cut off, and nor is his") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        test::loop_with_writes loop(perform);
        loop.run([](std::string of, test::loop_with_writes& on) -> task<> {
            file_sink sink = co_await opened(of, true);
            int writes = 0;
            on.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                if (!is_write(sqe) || ++writes > 2) {
                    return perform(sqe);
                }
                if (writes == 2) {
                    append_to(of, "half of his");
                    return -ENOSPC;
                }
                return test::perform_some(sqe, 20);
            };
            const std::string line = numbered(1, "ours");
            CHECK_THROWS_AS(co_await sink.write(line), write_error);
            co_await sink.write(line);
            CHECK(contents_of(of) == line.substr(0, 20) + "half of his\n" + line);
            co_await sink.close();
        }(path, loop));
    }

    TEST_CASE(
        "of a log of plain lines no more is cut off than a failed write has left of its own") {
        const std::string theirs = "a line of theirs\n";
        for (const bool is_behind : {false, true}) { // of the piece that is left
            CAPTURE(is_behind);
            const temporary_directory folder;
            const std::string path = folder / "log";
            test::loop_with_writes loop(perform);
            loop.run([](std::string of, test::loop_with_writes& on, std::string another,
                        bool comes_behind) -> task<> {
                file_sink sink = co_await opened(of, false);
                append_to(of, another);
                int writes = 0;
                on.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                    if (!is_write(sqe) || ++writes > 2) {
                        return perform(sqe);
                    }
                    if (writes == 2) {
                        append_to(of, comes_behind ? another : "");
                        return -EDQUOT;
                    }
                    return test::perform_some(sqe, 3);
                };
                CHECK_THROWS_AS(co_await sink.write(std::string_view("ours\n")), write_error);
                co_await sink.write(std::string_view("ours\n"));
                CHECK(contents_of(of) ==
                      another + (comes_behind ? "our" + another : "") + "ours\n");
                co_await sink.close();
            }(path, loop, theirs, is_behind));
        }
    }

    TEST_CASE(
        "a piece before which somebody has written ends, and the next line is one of its own") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        test::loop_with_writes loop(perform);
        loop.run([](std::string of, test::loop_with_writes& on) -> task<> {
            file_sink sink = co_await opened(of, false);
            int writes = 0;
            on.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                if (!is_write(sqe) || ++writes > 2) {
                    return perform(sqe);
                }
                if (writes == 2) {
                    return -EFBIG;
                }
                append_to(of, "theirs\n"); // after the end was looked at
                return test::perform_some(sqe, 3);
            };
            CHECK_THROWS_AS(co_await sink.write(std::string_view("ours\n")), write_error);
            co_await sink.write(std::string_view("ours\n"));
            co_await sink.write(std::string_view("more\n"));
            CHECK(contents_of(of) == "theirs\nour\nours\nmore\n");
            CHECK(sink.look_at_end() != file_end::cut);
            co_await sink.close();
        }(path, loop));
    }

    TEST_CASE("lines that others have put before a synced one are synced with it, and stay") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        test::loop_with_writes loop(perform);
        loop.run([](std::string of, test::loop_with_writes& on) -> task<> {
            file_sink sink = co_await opened(of, false, true);
            co_await sink.begin_segment({}, {}, lsn{1});
            int syncs = 0;
            on.ring().answer = [&](const io_uring_sqe& sqe) {
                syncs += is_sync(sqe) ? 1 : 0;
                return perform(sqe);
            };
            co_await sink.write_synced(std::string_view("ours\n"));
            CHECK(syncs == 0);
            append_to(of, "theirs\n");
            co_await sink.write_synced(std::string_view("ours\n"));
            CHECK(syncs == 1);
            co_await sink.write_synced(std::string_view("ours\n"));
            CHECK(syncs == 1); // theirs are on disk
            co_await sink.begin_segment({}, {}, lsn{1});
            CHECK(contents_of(of + ".0000000000000001-2") == "ours\ntheirs\nours\nours\n");
            co_await sink.close();
        }(path, loop));
    }

    CO_TEST_CASE("lines of others stay to be synced until that is done, and only those of others") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        file_sink sink = co_await opened(path, true);
        const std::string line = numbered(1, "ours");
        co_await sink.write(line);
        CHECK(sink.look_at_end() == file_end::as_written);
        append_to(path, "theirs\n");
        CHECK(sink.look_at_end() == file_end::lengthened);
        co_await sink.write(line);
        CHECK(sink.look_at_end() == file_end::lengthened);
        co_await sink.datasync();
        CHECK(sink.look_at_end() == file_end::as_written);
        std::filesystem::resize_file(path, 3);
        CHECK((co_await news_of(sink)).find("somebody has cut") == 0);
        CHECK(sink.look_at_end() == file_end::cut);
        co_await sink.write(line); // by whoever does not know of it
        CHECK(sink.look_at_end() == file_end::cut);
        co_await sink.end_cut_line();
        CHECK(sink.look_at_end() == file_end::as_written);
        std::filesystem::resize_file(path, 3);
        co_await sink.write(line); // nobody has looked
        CHECK(sink.look_at_end() == file_end::cut);
        std::filesystem::remove(path);
        CHECK(sink.look_at_end() == file_end::removed);
        co_await sink.close();
    }

    TEST_CASE("what a failed write has left is not cut off where somebody has cut off more") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        test::loop_with_writes loop(perform);
        loop.run([](std::string of, test::loop_with_writes& on) -> task<> {
            file_sink sink = co_await opened(of, true);
            const std::string line = numbered(1, "ours");
            co_await sink.write(line);
            co_await fail_half_way(on, sink, [](const io_uring_sqe&) { return -EIO; });
            CHECK(contents_of(of).size() == line.size() + 20);
            std::filesystem::resize_file(of, line.size() - 5);
            co_await sink.write(line);
            CHECK(contents_of(of) == line.substr(0, line.size() - 5) + "\n" + line);
            co_await sink.close();
        }(path, loop));
    }

    TEST_CASE("where somebody cuts the log while it is cut, zeros are no line, and that is known") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        test::loop_with_writes loop(perform);
        loop.run([](std::string of, test::loop_with_writes& on) -> task<> {
            file_sink sink = co_await opened(of, true);
            const std::string line = numbered(1, "ours");
            co_await sink.write(line);
            co_await fail_half_way(on, sink, [&of](const io_uring_sqe& sqe) {
                std::filesystem::resize_file(of, 0); // between the look and this
                return perform(sqe).value();
            });
            CHECK(sink.look_at_end() == file_end::cut);
            co_await sink.write(line);
            CHECK(contents_of(of) == std::string(line.size(), '\0') + "\n" + line);
            co_await sink.close();
        }(path, loop));
    }

    CO_TEST_CASE("all that was cut off since the last look is told together") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        file_sink sink = co_await opened(path, false);
        co_await sink.write(std::string_view("12345\n"));
        std::filesystem::resize_file(path, 4);
        co_await sink.write(std::string_view("789\n"));
        std::filesystem::resize_file(path, 6);
        co_await sink.write(std::string_view("0\n"));
        CHECK(contents_of(path) == "1234\n7\n0\n");
        CHECK(co_await news_of(sink) == "somebody has cut 5 bytes off " + path);
        CHECK(co_await news_of(sink) == "");
        co_await sink.close();
    }

    TEST_CASE("a cut line is ended, and what a failed write has left is cut off before, on disk") {
        sim_world world({.seed = 1});
        CHECK(world.run([](sim_world& on) -> task<> {
            file_sink sink = co_await opened("/log", false, true);
            on.add({.to = 1h, .error = ENOSPC, .bytes_left = 8});
            on.script([](const io_uring_sqe& sqe) {
                return sqe.opcode == opcode_ftruncate ? std::optional(-EIO) : std::nullopt;
            });
            std::size_t kept = 0;
            try {
                co_await sink.write(std::string_view("one\ntwo and more\n"));
            } catch (const write_error& error) {
                kept = error.bytes_kept;
            }
            CHECK(kept == 4);
            on.script({});
            on.heal();
            co_await sink.end_cut_line();
            CHECK(on.durable_contents("/log") == "one\n");
            file other = co_await file::open("/log", {.flags = O_WRONLY | O_APPEND});
            co_await other.write_all(std::string_view("half"));
            co_await other.close();
            co_await sink.end_cut_line();
            CHECK(on.durable_contents("/log") == "one\nhalf\n");
            co_await sink.close();
        }(world)));
    }

    CO_TEST_CASE("who looks for a moment whether a log is locked does not keep its writer out") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path, "");
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        REQUIRE(::flock(fd, LOCK_SH | LOCK_NB) == 0);
        auto gone = spawn([](int looks) -> task<> {
            co_await sleep_for(20ms);
            ::close(looks);
        }(fd));
        file_sink sink = co_await opened(path, true);
        co_await std::move(gone);
        co_await sink.close();
    }

    CO_TEST_CASE("a segment with lines of others is not removed when it is begun once more") {
        for (const bool has_others : {false, true}) {
            const temporary_directory folder;
            const std::string path = folder / "log";
            file_sink sink = co_await opened(path, true);
            const std::string line = numbered(1, "ours");
            co_await sink.begin_segment(line, {}, lsn{1});
            if (has_others) {
                append_to(path, "theirs\n");
            }
            co_await sink.begin_segment(line, {}, lsn{1});
            CHECK(contents_of(path) == line);
            const std::string aside = path + ".0000000000000001-2";
            CHECK(std::filesystem::exists(aside) == has_others);
            CHECK((!has_others || contents_of(aside) == line + "theirs\n"));
            co_await sink.close();
        }
    }

    // --- a file that is looked after again ---

    CO_TEST_CASE("looked after again, it is known which numbers are there, in their order, once") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        file_sink sink = co_await opened(path, true);
        append_to(path, numbered(1, "a") + numbered(4, "b") + numbered(3, "c") + numbered(4, "b"));
        std::filesystem::resize_file(path, std::filesystem::file_size(path));
        CHECK(co_await found_again(sink, 2) == "3 4");
        CHECK(sink.look_at_end() == file_end::as_written);
        std::filesystem::resize_file(path, 3);
        CHECK(co_await news_of(sink) != "");
        CHECK(sink.look_at_end() == file_end::cut);
        CHECK(co_await found_again(sink, 2) == "");
        CHECK(sink.look_at_end() == file_end::as_written);
        append_to(path, "theirs\n");
        const std::string line = numbered(5, "ours");
        co_await sink.write(line);
        CHECK(sink.look_at_end() == file_end::lengthened);
        CHECK(co_await found_again(sink, 2) == "5");
        CHECK(sink.look_at_end() == file_end::as_written);
        co_await sink.close();
    }

    CO_TEST_CASE("a torn end is told of when it was found, and not when nothing was") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path, numbered(1, "a") + "t");
        file_sink sink = co_await opened(path, true);
        CHECK(sink.torn_news().text == "the last 1 byte of " + path +
                                           ", left by an earlier writer, was no whole line and was "
                                           "moved to " +
                                           path + ".torn");
        (void)co_await sink.recover_again(lsn{1});
        CHECK(!sink.follow_is_due());
        append_to(path, "torn");
        (void)co_await sink.recover_again(lsn{1});
        CHECK((co_await sink.follow()).text.find("the last 4 bytes of ") == 0);
        co_await sink.close();
    }

    TEST_CASE("of a line that was left in part nothing is cut off any more where it was moved") {
        sim_world world({.seed = 1});
        CHECK(world.run([](sim_world& on) -> task<> {
            file_sink sink = co_await opened("/log", true);
            const std::string one = numbered(1, "one");
            const std::string two = numbered(2, "two");
            on.add({.to = 1h, .error = ENOSPC, .bytes_left = one.size() + 5});
            on.script([](const io_uring_sqe& sqe) {
                return sqe.opcode == opcode_ftruncate ? std::optional(-EIO) : std::nullopt;
            });
            const std::string lines = one + two;
            std::size_t kept = 0;
            try {
                co_await sink.write(lines);
            } catch (const write_error& error) {
                kept = error.bytes_kept;
            }
            CHECK(kept == one.size());
            on.script({});
            on.heal();
            CHECK(co_await found_again(sink, 1) == "1");
            co_await sink.write(two);
            CHECK(on.contents("/log") == lines);
            co_await sink.close();
        }(world)));
    }

    TEST_CASE("what was torn is on disk aside before it is gone from the log") {
        for (const bool is_numbered : {true, false}) {
            sim_world world({.seed = 1});
            world.put("/log", numbered(1, "one") + "torn");
            bool is_checked = false;
            world.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                if (sqe.opcode == opcode_ftruncate) {
                    is_checked = true;
                    CHECK(world.durable_contents("/log.torn") == "torn\n");
                }
                return std::nullopt;
            });
            CHECK(world.run([](bool numbers) -> task<> {
                file_sink sink = co_await opened("/log", numbers);
                CHECK(sink.torn_bytes() == 4);
                co_await sink.close();
            }(is_numbered)));
            CHECK(is_checked);
            CHECK(world.contents("/log") == numbered(1, "one"));
        }
    }

    TEST_CASE("a torn end that somebody cuts off while it is moved is moved as far as it goes") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path, "whole\ntorn");
        test::loop_with_writes loop(perform);
        int reads = 0;
        loop.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            if (!is_read(sqe) || sqe.off != std::string_view("whole\n").size()) {
                return perform(sqe);
            }
            return ++reads < 10 ? 0 : -EIO;
        };
        loop.run([](std::string where) -> task<> {
            file_sink sink = co_await opened(where, false);
            co_await sink.close();
        }(path));
        CHECK(reads == 1);
        CHECK(contents_of(path + ".torn") == "\n");
    }

    TEST_CASE("a durable log without numbers has what it finds on disk before it goes on") {
        CHECK(syncs_of_open("").of_files == 0);
        const syncs_seen seen = syncs_of_open("one\n");
        CHECK(seen.of_files == 1);
        CHECK(seen.of_directories == 1);
    }

    TEST_CASE("of a durable log that is new the directories above are on disk, whoever made them") {
        CHECK(syncs_of_open("").of_directories >= 2);
    }

    TEST_CASE("of a relative path, and behind a link, what the directory really is in is on disk") {
        const temporary_directory folder;
        std::filesystem::create_directories(folder / "real/in");
        std::filesystem::create_directories(folder / "links");
        std::filesystem::create_directory_symlink("../real/in", folder / "links/to");
        const std::string real = folder / "real";
        const std::string links = folder / "links";
        const std::filesystem::path before = std::filesystem::current_path();
        std::filesystem::current_path(folder / "real/in");
        const synced_directories relative = directories_synced_by_open("log");
        const synced_directories relative_made = directories_synced_by_open("made/log", true);
        std::filesystem::current_path(before);
        CHECK(relative.has(real));
        CHECK(relative.has(folder / ""));
        CHECK(relative_made.has(folder / "real/in"));
        CHECK(relative_made.has(real));
        const synced_directories behind_link = directories_synced_by_open(links + "/to/other.log");
        CHECK(behind_link.has(real));
        CHECK(behind_link.has(links)); // the link's own name
        CHECK(behind_link.has(folder / ""));
        CHECK(directories_synced_by_open(links + "/to/new/log", true).has(real));
    }

    CO_TEST_CASE("what was the matter with a file is forgotten with it, but for what was torn") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path, numbered(1, "one") + "torn");
        file_sink sink = co_await opened(path, true);
        const std::string line = numbered(2, "two");
        co_await sink.write(line);
        for (const int matter : {1, 2, 3}) {
            if (matter == 1) {
                append_to(path, "theirs\n");
                co_await sink.write(line);
                CHECK(sink.look_at_end() == file_end::lengthened);
            } else {
                std::filesystem::resize_file(path, 4);
                if (matter == 2) {
                    CHECK(co_await news_of(sink) != "");
                } else {
                    co_await sink.write(line);
                }
            }
            std::filesystem::rename(path, path + ".gone");
            fill(path, numbered(3, "three") + "torn, too");
            CHECK(co_await news_of(sink) == "");
            CHECK(sink.look_at_end() == file_end::as_written);
            CHECK(co_await news_of(sink) == "");
            CHECK(sink.torn_bytes() == 4 + 9 * static_cast<unsigned>(matter));
        }
        co_await sink.close();
    }

    // --- what is put in the log's place ---

    TEST_CASE("what cannot be set aside is named, and when it is gone the log has its name again") {
        struct planted {
            std::string_view why;
            std::function<void(const std::string&)> plant;
        };

        int locked = -1;
        const std::vector<planted> all{
            {"what is there cannot be opened",
             [](const std::string& path) { std::filesystem::create_symlink("elsewhere", path); }},
            {"what is there is not a file",
             [](const std::string& path) { std::filesystem::create_directory(path); }},
            {"another process writes a log there; end that one",
             [&locked](const std::string& path) {
                 locked = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
                 REQUIRE(::flock(locked, LOCK_EX | LOCK_NB) == 0);
             }},
        };
        for (const auto& each : all) {
            CAPTURE(each.why);
            spoiled_log log;
            log.loop.run([](spoiled_log& its, const planted& theirs) -> task<> {
                co_await its.sink->open();
                int syncs = 0;
                int renames = 0;
                its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                    if (is_write(sqe) && (sqe.rw_flags & RWF_DSYNC) != 0) {
                        return -EOPNOTSUPP;
                    }
                    if (is_rename(sqe) && ++renames == 2) {
                        theirs.plant(its.path);
                    }
                    return is_sync(sqe) && ++syncs == 1 ? std::optional(-EIO) : perform(sqe);
                };
                std::string what;
                std::error_code failure;
                try {
                    co_await its.sink->write(std::string_view("one\n"));
                } catch (const write_error& error) {
                    what = error.what();
                    failure = error.code();
                }
                CHECK(failure == std::errc::device_or_resource_busy);
                CHECK(what.find(fmt::format("cannot give {} its name back: {}", its.path,
                                            theirs.why)) == 0);
                std::filesystem::remove(its.path);
                CHECK(!(co_await sync_of(*its.sink)));
                co_await its.sink->close();
            }(log, each));
            CHECK(contents_of(log.path) == numbered(1, "one", true));
            if (locked >= 0) {
                ::close(std::exchange(locked, -1));
            }
        }
    }

    TEST_CASE("another log that has the name is set aside by its own last number") {
        struct theirs {
            std::string text;
            std::string aside; // its name's ending
        };

        const std::vector<theirs> all{
            {numbered(1, "a") + numbered(2, "b") + numbered(3, "c"), "0000000000000004"},
            {numbered(1, "a"), "0000000000000003-2"}, // behind the segment, as it came later
            {"no number\n", "0000000000000003-2"},
            {"", "0000000000000003-2"},
        };
        for (const auto& each : all) {
            CAPTURE(each.aside);
            spoiled_log log;
            log.loop.run([](spoiled_log& its, const theirs& other) -> task<> {
                co_await its.sink->open();
                co_await put(*its.sink, "one\ntwo\n");
                int syncs = 0;
                int renames = 0;
                its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                    if (is_write(sqe) && (sqe.rw_flags & RWF_DSYNC) != 0) {
                        return -EOPNOTSUPP;
                    }
                    if (is_rename(sqe) && ++renames == 2) {
                        fill(its.path, other.text);
                    }
                    return is_sync(sqe) && ++syncs == 1 ? std::optional(-EIO) : perform(sqe);
                };
                co_await its.sink->write(std::string_view("three\n"));
                co_await its.sink->close();
            }(log, each));
            CHECK(log.lines() == strings{"3 three"});
            CHECK(contents_of(log.path + "." + each.aside) == each.text);
        }
    }

    TEST_CASE("who only looks whether he may write the log does not keep it from its name") {
        sapwood::sim_world world({.seed = 1});
        CHECK(world.run([](sapwood::sim_world& on) -> task<> {
            file_sink sink = co_await opened("/log", true);
            int syncs = 0;
            on.script([&](const io_uring_sqe& sqe) {
                const bool fails = sqe.opcode == IORING_OP_FSYNC && ++syncs == 2;
                return fails ? std::optional(-EIO) : std::nullopt;
            });
            const std::string line = numbered(1, "one");
            bool has_failed = false;
            try {
                co_await sink.begin_segment(line, {}, lsn{1});
            } catch (const std::system_error&) {
                has_failed = true;
            }
            CHECK(has_failed);
            CHECK(sink.is_unnamed());
            on.script({});
            file other = co_await file::open("/log", {.flags = O_RDWR | O_CREAT});
            CHECK(!other.try_lock());
            auto leaving = sapwood::spawn([](file& his) -> task<> {
                co_await sapwood::sleep_for(std::chrono::milliseconds(100));
                his.unlock();
            }(other));
            co_await sink.begin_segment({}, {}, lsn::none);
            CHECK(!sink.is_unnamed());
            CHECK(on.contents("/log") == line);
            CHECK(on.contents("/log.0000000000000001-2") == ""); // his
            co_await leaving;
            co_await other.close();
            co_await sink.close();
        }(world)));
    }

    TEST_CASE("what an attempt at a segment has left is not taken for a killed writer's") {
        for (const bool is_gone : {false, true}) { // when somebody removes the log
            sapwood::sim_world world({.seed = 1});
            CHECK(world.run([](sapwood::sim_world& on, bool gone) -> task<> {
                file_sink sink = co_await opened("/log", true);
                on.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                    if (sqe.opcode == IORING_OP_FSYNC) {
                        return -EIO;
                    }
                    const bool refuses =
                        sqe.opcode == IORING_OP_UNLINKAT && on.contents("/log.next");
                    return refuses ? std::optional(-EROFS) : std::nullopt;
                });
                const std::string one = numbered(1, "one");
                bool has_failed = false;
                try {
                    co_await sink.begin_segment(one, {}, lsn{1});
                } catch (const std::system_error&) {
                    has_failed = true;
                }
                CHECK(has_failed);
                CHECK(on.contents("/log.next") == numbered(1, "one"));
                on.script({});
                if (gone) {
                    co_await sapwood::remove_file("/log.next");
                    on.put("/log.next", numbered(5, "five")); // another one's
                }
                co_await sapwood::remove_file("/log");
                (void)co_await sink.reopen();
                CHECK(on.contents("/log") == (gone ? numbered(5, "five") : ""));
                CHECK(!on.contents("/log.next"));
                co_await sink.close();
            }(world, is_gone)));
        }
    }

    TEST_CASE("a segment that is taken away before it has the log's name is not written to again") {
        sapwood::sim_world world({.seed = 1});
        CHECK(world.run([](sapwood::sim_world& on) -> task<> {
            file_sink sink = co_await opened("/log", true);
            on.script([&on](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                if (is_rename(sqe) && !on.contents("/log")) {
                    (void)on.machine().files.rename(AT_FDCWD, "/log.next", AT_FDCWD, "/away", 0);
                }
                return std::nullopt;
            });
            const std::string one = numbered(1, "one");
            CHECK_THROWS_AS(co_await sink.begin_segment(one, {}, lsn{1}), std::system_error);
            on.script({});
            CHECK(!sink.is_unnamed());
            co_await rename_file("/away", "/log.next"); // which the next segment takes away
            CHECK_THROWS_AS(co_await sink.write_synced(one), sync_error);
            CHECK_THROWS_AS(co_await sink.datasync(), sync_error);
            co_await sink.begin_segment(one, {}, lsn{1});
            CHECK(on.contents("/log") == one);
            co_await sink.datasync();
            co_await sink.close();
        }(world)));
    }

    TEST_CASE("what somebody has put in a segment's place does not get the log's name for it") {
        sapwood::sim_world world({.seed = 1});
        CHECK(world.run([](sapwood::sim_world& on) -> task<> {
            file_sink sink = co_await opened("/log", true);
            on.script([&on](const io_uring_sqe&) -> std::optional<std::int32_t> {
                if (!on.contents("/log") && on.contents("/log.next") && !on.contents("/away")) {
                    (void)on.machine().files.rename(AT_FDCWD, "/log.next", AT_FDCWD, "/away", 0);
                    on.put("/log.next", "his\n");
                }
                return std::nullopt;
            });
            const std::string one = numbered(1, "one");
            CHECK_THROWS_AS(co_await sink.begin_segment(one, {}, lsn{1}), std::system_error);
            on.script({});
            CHECK(!on.contents("/log"));
            CHECK(on.contents("/log.next") == "his\n");
            CHECK(!sink.is_unnamed());
            CHECK_THROWS_AS(co_await sink.datasync(), sync_error);
            co_await sink.close();
        }(world)));
    }

    TEST_CASE("a segment that somebody else has named is not the log before that name is on disk") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        test::loop_with_writes loop(perform);
        loop.run([](std::string of, test::loop_with_writes& on) -> task<> {
            file_sink sink = co_await opened(of, true);
            int syncs_without_name = 0;
            int syncs_behind = 0; // what he did
            bool is_named = false;
            on.ring().answer = [&](const io_uring_sqe& sqe) {
                const bool has_no_name = !std::filesystem::exists(of);
                if (has_no_name && syncs_without_name > 0 && test::is_open(sqe)) {
                    std::filesystem::rename(of + ".next", of);
                    is_named = true;
                }
                if (is_sync(sqe)) {
                    ++(is_named ? syncs_behind : syncs_without_name);
                    syncs_without_name = has_no_name ? syncs_without_name : 0;
                }
                return perform(sqe);
            };
            const std::string one = numbered(1, "one");
            co_await sink.begin_segment(one, {}, lsn{1});
            CHECK(is_named);
            CHECK(syncs_behind == 1);
            CHECK(contents_of(of) == one);
            co_await sink.close();
        }(path, loop));
    }

    CO_TEST_CASE("a segment that had to be begun tells what was cut off the file before it") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        file_sink sink = co_await opened(path, true);
        const std::string one = numbered(1, "one");
        co_await sink.write(one);
        std::filesystem::resize_file(path, 5);
        co_await sink.end_cut_line();
        co_await sink.begin_segment(one, {}, lsn{1});
        const log_news news = co_await sink.follow();
        CHECK(news.text == fmt::format("somebody has cut {} bytes off {}", one.size() - 5, path));
        CHECK(sink.counts().truncated == 1);
        co_await sink.close();
    }

    TEST_CASE("without memory to close the file before it, a segment is the log all the same") {
        spoiled_log log;
        log.loop.run([](spoiled_log& its) -> task<> {
            file_sink sink = co_await opened(its.path, true);
            const std::string one = numbered(1, "one");
            co_await sink.write(one);
            std::optional<test::failing_allocations> none;
            its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                none.reset();
                const auto done = perform(sqe);
                if (is_rename(sqe) && !std::filesystem::exists(its.path)) { // it was set aside
                    none.emplace(1);
                }
                return done;
            };
            const std::string two = numbered(2, "two");
            bool has_failed = false;
            try {
                co_await sink.begin_segment(two, {}, lsn{2});
            } catch (const std::bad_alloc&) { // for what comes then
                has_failed = true;
            }
            none.reset();
            if (has_failed) {
                CHECK(sink.is_unnamed());
                CHECK(contents_of(its.path + ".next") == two);
                co_await sink.begin_segment({}, {}, lsn::none); // the rest of it
            }
            CHECK(!sink.is_unnamed());
            CHECK(contents_of(its.path) == two);
            CHECK(contents_of(its.path + ".0000000000000002") == one);
            CHECK(!std::filesystem::exists(its.path + ".next"));
            co_await sink.close();
        }(log));
    }

    TEST_CASE("what has the name of a segment in the making is not written to") {
        spoiled_log log;
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            const std::string making = its.path + ".next";
            fill(making, "left\n"); // is removed, and so is what comes in that moment the next time
            int syncs = 0;
            bool is_planted = false;
            its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                if (is_write(sqe) && (sqe.rw_flags & RWF_DSYNC) != 0) {
                    return -EOPNOTSUPP;
                }
                if (syncs > 0 && test::is_open(sqe) && !std::filesystem::exists(making) &&
                    !std::exchange(is_planted, true)) {
                    fill(making, "planted\n");
                }
                return is_sync(sqe) && ++syncs == 1 ? std::optional(-EIO) : perform(sqe);
            };
            const auto how = co_await test::write_to(*its.sink, "one\n");
            CHECK(is_planted);
            CHECK(how.failure == std::errc::file_exists);
            co_await put(*its.sink, "one\n");
            co_await its.sink->close();
        }(log));
        CHECK(contents_of(log.path) == numbered(1, "one", true));
    }

    CO_TEST_CASE("what was set aside is locked no more, and has a name, however many are taken") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        file_sink sink = co_await opened(path, true);
        const int of_child = ::dup(sink.fd());
        const std::string aside = path + ".0000000000000001";
        fill(aside, "");
        for (int i = 2; i <= 1000; ++i) {
            fill(fmt::format("{}-{}", aside, i), "");
        }
        const std::string free = aside + "-1001";
        co_await sink.begin_segment({}, {}, lsn{1});
        const int other = ::open(free.c_str(), O_RDWR | O_CLOEXEC);
        CHECK(::flock(other, LOCK_EX | LOCK_NB) == 0);
        ::close(other);
        ::close(of_child);
        co_await sink.close();
    }

    TEST_CASE("who puts a file in the log's place again and again is waited for") {
        spoiled_log log;
        log.loop.run([](spoiled_log& its) -> task<> {
            co_await its.sink->open();
            int syncs = 0;
            int files = 0;
            its.loop.ring().answer = [&](const io_uring_sqe& sqe) -> spoiled_log::answer {
                if (is_write(sqe) && (sqe.rw_flags & RWF_DSYNC) != 0) {
                    return -EOPNOTSUPP;
                }
                if (syncs > 0 && is_rename(sqe) && !std::filesystem::exists(its.path)) {
                    fill(its.path, "theirs\n");
                    ++files;
                }
                return is_sync(sqe) && ++syncs == 1 ? std::optional(-EIO) : perform(sqe);
            };
            const auto how = co_await test::write_to(*its.sink, "one\n");
            CHECK(how.failure == std::errc::device_or_resource_busy);
            CHECK(files == 4);
            its.loop.ring().answer = perform;
            CHECK(!(co_await sync_of(*its.sink)));
            co_await its.sink->close();
        }(log));
        CHECK(contents_of(log.path) == numbered(1, "one", true));
    }

    TEST_CASE("a segment whose writer was killed and that cannot be renamed is no new log") {
        for (const bool is_taken : {false, true}) { // the name, at that moment
            const temporary_directory folder;
            const std::string path = folder / "log";
            fill(path + ".next", numbered(4, "four"));
            test::loop_with_writes loop(perform);
            bool is_put = !is_taken;
            loop.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                if (is_rename(sqe) && !std::exchange(is_put, true)) {
                    fill(path, numbered(1, "one"));
                }
                return is_rename(sqe) && !is_taken ? std::optional(-EIO) : perform(sqe);
            };
            std::string what;
            loop.run([](std::string where, std::string& why) -> task<> {
                try {
                    file_sink sink = co_await opened(where, true);
                    co_await sink.close();
                } catch (const std::system_error& error) {
                    why = error.what();
                }
            }(path, what));
            CHECK(what ==
                  (is_taken
                       ? ""
                       : fmt::format("cannot rename {0}.next to {0}: Input/output error", path)));
            CHECK(std::filesystem::exists(path) == is_taken);
        }
    }

    CO_TEST_CASE("without numbers a segment in the making is the log where that is empty") {
        for (const std::string_view made : {"", "one\n"}) {
            const temporary_directory folder;
            const std::string path = folder / "log";
            fill(path, "");
            fill(path + ".next", made);
            file_sink sink = co_await opened(path, false, true);
            CHECK(contents_of(path) == made);
            CHECK(test::files_like(path).size() == (made.empty() ? 0 : 1));
            CHECK(!std::filesystem::exists(path + ".next"));
            co_await sink.close();
        }
    }

    // --- space that is preallocated ---

    CO_TEST_CASE("a log whose space somebody has changed is not written to again, as it may seem") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        const file_sink_options options{
            .path = path, .numbered = true, .preallocated_bytes = 1 << 16};
        file_sink sink = co_await file_sink::open(options);
        if (!sink.is_preallocated()) {
            co_return; // the file system cannot
        }
        const std::string line = numbered(1, "one");
        co_await sink.write(line);
        const auto size = std::filesystem::file_size(path);
        const std::string large = numbered(2, std::string(2 * size, 'x'));
        for (const auto changed : {size - 10, size}) {
            std::filesystem::resize_file(path, changed);
            bool is_refused = false;
            try {
                co_await sink.write(large); // which needs more space
            } catch (const sync_error& error) {
                is_refused = error.code().value() == ESTALE;
            }
            CHECK(is_refused);
        }
        co_await sink.close();
        CHECK(std::filesystem::file_size(path) == size); // what it has is not its own to cut
    }

    CO_TEST_CASE("where no space is wanted none is taken, and as much may be as an option says") {
        const temporary_directory folder;
        file_sink sink = co_await opened(folder / "log", true);
        CHECK(!sink.is_preallocated());
        co_await sink.close();
        std::string what;
        try {
            const file_sink_options options{.path = "/dev/null/log",
                                            .numbered = true,
                                            .preallocated_bytes =
                                                file_sink_options::preallocated_bytes_max};
            file_sink none = co_await file_sink::open(options);
        } catch (const std::system_error& error) { // no option's fault
            what = error.what();
        }
        CHECK(what.find("/dev/null/log") != what.npos);
    }
}
