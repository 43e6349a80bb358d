// file_log_sink: a log that follows its name.
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/log_files.hpp"
#include "support/spoiled_log.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/file_log_sink.hpp>
#include <sapwood/log_verifier.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/sim_world.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <liburing.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::contents_of;
using test::fill;
using test::put;
using test::temporary_directory;

constexpr text_layout_options bare{.pattern = "%l %v"};

/// The first line of what goes on.
std::string goes_on(const std::string& path) {
    return "# " + path + " was renamed or removed; the log goes on in this file\n";
}

/// After so long a change must have been noticed.
task<> a_second() {
    co_await sleep_for(999ms);
}

struct ::stat status_of_file(const std::string& path) {
    struct ::stat status {};

    REQUIRE(::stat(path.c_str(), &status) == 0);
    return status;
}

/// Somebody who writes the file already.
class foreign_writer {
  public:
    explicit foreign_writer(const std::string& path)
        : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
        REQUIRE(::flock(fd_, LOCK_EX | LOCK_NB) == 0);
    }

    foreign_writer(const foreign_writer&) = delete;
    foreign_writer& operator=(const foreign_writer&) = delete;

    ~foreign_writer() { ::close(fd_); }

  private:
    int fd_;
};

} // namespace

TEST_SUITE("file_log_sink") {

    // --- a file that was renamed, removed, cut ---

    CO_TEST_CASE("a log that was renamed goes on under its name within a second, and says so") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_log_sink sink(path);
        co_await sink.open();
        co_await put(sink, "one\n");
        std::filesystem::rename(path, path + ".1");
        co_await put(sink, "two\n"); // it need not have been seen yet
        co_await a_second();
        co_await put(sink, "three\n");
        co_await put(sink, "four\n");
        CHECK(contents_of(path + ".1") == "one\ntwo\n");
        CHECK(contents_of(path) == goes_on(path) + "three\nfour\n");
        CHECK((status_of_file(path).st_mode & 0777) == 0600);
        co_await sink.close();
    }

    CO_TEST_CASE("a log that was removed is made again") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_log_sink sink(path);
        co_await sink.open();
        co_await put(sink, "one\n");
        std::filesystem::remove(path);
        co_await a_second();
        co_await put(sink, "two\n");
        CHECK(contents_of(path) == goes_on(path) + "two\n");
        co_await sink.close();
    }

    CO_TEST_CASE("a torn line that an earlier writer has left goes, and a line says so") {
        const temporary_directory directory;
        const auto path = directory / "log";
        fill(path, "whole\ntorn");
        file_log_sink sink(path);
        co_await sink.open();
        const sapwood::log_news news = co_await sink.tend({});
        CHECK(news.importance == sapwood::level::warning);
        CHECK(news.text ==
              "the last 4 bytes of " + path +
                  ", left by an earlier writer, were no whole line and were moved to " + path +
                  ".torn");
        CHECK_FALSE(co_await sink.tend({}));
        co_await put(sink, "two\n");
        CHECK(contents_of(path) == "whole\ntwo\n");
        co_await sink.close();
    }

    CO_TEST_CASE("a log whose name another file has is appended to that, whose torn line goes") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_log_sink sink(path);
        co_await sink.open();
        co_await put(sink, "one\n");
        std::filesystem::rename(path, path + ".1");
        fill(path, "theirs\ntorn");
        co_await a_second();
        co_await put(sink, "two\n");
        CHECK(contents_of(path) == "theirs\n" + goes_on(path) + "two\n");
        CHECK(contents_of(path + ".torn") == "torn\n");
        co_await sink.close();
    }

    CO_TEST_CASE("after somebody has cut the log, lines go to its end, and a line says so") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_log_sink sink(path);
        co_await sink.open();
        co_await put(sink, "one\ntwo\n");
        REQUIRE(::truncate(path.c_str(), 0) == 0);
        co_await put(sink, "three\n");
        co_await a_second();
        co_await put(sink, "four\n");
        co_await a_second();
        co_await put(sink, "five\n");
        CHECK(contents_of(path) ==
              "three\n# somebody has cut 8 bytes off " + path + "\nfour\nfive\n");
        co_await sink.close();
    }

    CO_TEST_CASE("after a cut in the middle of a line the next one is a line of its own") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_log_sink sink(path);
        co_await sink.open();
        co_await put(sink, "one\ntwo\n");
        REQUIRE(::truncate(path.c_str(), 6) == 0);
        co_await put(sink, "three\n"); // at once
        CHECK(contents_of(path) == "one\ntw\nthree\n");
        REQUIRE(::truncate(path.c_str(), 9) == 0);
        co_await a_second();
        co_await put(sink, "four\n"); // and when it has been told of
        CHECK(contents_of(path) ==
              "one\ntw\nth\n# somebody has cut 6 bytes off " + path + "\nfour\n");
        co_await sink.close();
    }

    CO_TEST_CASE(
        "in a durable log a cut leaves one damaged piece, and what comes behind it stays") {
        for (const auto level : {durability::batch(), durability::interval(1h)}) {
            const temporary_directory directory;
            const auto path = directory / "log";
            file_log_sink_options options{.path = path};
            options.durable = level;
            file_log_sink sink(options);
            co_await sink.open();
            co_await put(sink, "one\n");
            co_await put(sink, "two\n");
            REQUIRE(::truncate(path.c_str(), 40) == 0);
            co_await put(sink, "three\n");
            co_await put(sink, "four\n");
            co_await sink.close();
            // The next open leaves what was acknowledged where it is.
            const file_sink_options reading{.path = path, .numbered = true};
            file_sink again = co_await file_sink::open(reading);
            CHECK(again.torn_bytes() == 0);
            CHECK(again.last_lsn() == lsn{4});
            co_await again.close();
            log_verifier verifier;
            const auto found = verifier.verify(log_verifier::segments_of(path));
            CHECK(found.damaged_pieces == 1);
            // What was cut and had not been synced comes once more.
            CHECK(found.lines == (level.is_batch() ? 3 : 4));
        }
    }

    TEST_CASE("a look at the name that fails for a moment is not told, and tells no wrong thing") {
        sim_world world({.seed = 1});
        int failures = 0;
        const auto body = [&]() -> task<> {
            file_log_sink sink("/log");
            co_await sink.open();
            world.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                const bool fails = sqe.opcode == IORING_OP_STATX && failures > 0;
                return fails ? std::optional(-EAGAIN) : std::nullopt;
            });
            for (int i = 0; i < 8; ++i) {
                failures = i % 2;
                co_await a_second();
                co_await put(sink, "line\n");
            }
            CHECK(world.contents("/log")->find('#') == std::string::npos);
            failures = 1;
            for (int i = 0; i < 8; ++i) {
                co_await a_second();
                co_await put(sink, "line\n");
            }
            const std::string text = *world.contents("/log");
            CHECK(std::count(text.begin(), text.end(), '#') == 1);
            CHECK(
                text.find("# cannot learn whether /log is still the log, and writing goes on: ") !=
                text.npos);
            CHECK(text.find("lost its name") == text.npos);
            world.script({});
            co_await sink.close();
        };
        CHECK(world.run(body()));
    }

    CO_TEST_CASE("while the directory is gone the log goes on without a name, and says so once") {
        const temporary_directory directory;
        const auto folder = directory / "folder";
        const auto path = folder + "/log";
        std::filesystem::create_directory(folder);
        file_log_sink sink(path);
        co_await sink.open();
        co_await put(sink, "one\n");
        // Moved, so that what is written can be looked at.
        std::filesystem::rename(folder, directory / "moved");
        for (const char* const line : {"two\n", "three\n", "four\n"}) {
            co_await a_second();
            co_await put(sink, line);
        }
        const auto kept = contents_of(directory / "moved/log");
        CHECK(kept.starts_with("one\n# cannot open " + path));
        CHECK(kept.ends_with("which has lost its name\ntwo\nthree\nfour\n"));
        CHECK(std::count(kept.begin(), kept.end(), '#') == 1);

        std::filesystem::create_directory(folder);
        co_await a_second();
        co_await put(sink, "five\n");
        CHECK(contents_of(path) == goes_on(path) + "five\n");
        co_await sink.close();
    }

    CO_TEST_CASE("directories that it may make are made, and made again") {
        const temporary_directory directory;
        const auto path = directory / "a/b/log";
        file_log_sink sink(
            file_log_sink_options{.path = path, .make_directories = true, .directory_mode = 0750});
        co_await sink.open();
        co_await put(sink, "one\n");
        CHECK((status_of_file(directory / "a/b").st_mode & 0777) == 0750);
        std::filesystem::remove_all(directory / "a");
        co_await a_second();
        co_await put(sink, "two\n");
        CHECK(contents_of(path) == goes_on(path) + "two\n");
        co_await sink.close();
    }

    CO_TEST_CASE("no directory is made unless it may be") {
        const temporary_directory directory;
        file_log_sink sink(directory / "a/log");
        CHECK_THROWS_AS(co_await sink.open(), std::system_error);
        CHECK(!std::filesystem::exists(directory / "a"));
    }

    // --- what is put in its place ---

    CO_TEST_CASE("a link, a FIFO or a hard link that was planted is not written to") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const auto victim = directory / "victim";
        fill(victim, "untouched");
        file_log_sink sink(path);
        co_await sink.open();
        std::filesystem::rename(path, path + ".1");

        std::filesystem::create_symlink(victim, path);
        co_await a_second();
        co_await put(sink, "one\n");
        std::filesystem::remove(path);

        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        co_await a_second();
        co_await put(sink, "two\n");
        std::filesystem::remove(path);

        std::filesystem::create_hard_link(victim, path);
        co_await a_second();
        co_await put(sink, "three\n");
        std::filesystem::remove(path);

        const auto kept = contents_of(path + ".1");
        CAPTURE(kept);
        CHECK(kept.find("symbolic link") < kept.find("one\n"));
        CHECK(kept.find("not a regular file") < kept.find("two\n"));
        CHECK(kept.find("hard link") < kept.find("three\n"));
        CHECK(contents_of(victim) == "untouched");
        co_await sink.close();
    }

    CO_TEST_CASE("a hard link that is there when the log begins is refused") {
        const temporary_directory directory;
        const auto path = directory / "log";
        fill(directory / "victim", "untouched\n");
        std::filesystem::create_hard_link(directory / "victim", path);
        file_log_sink sink(path);
        CHECK_THROWS_WITH_AS(co_await sink.open(), doctest::Contains("hard link"),
                             std::system_error);
    }

    CO_TEST_CASE("a log that is a link from the beginning is followed wherever it leads") {
        const temporary_directory directory;
        const auto path = directory / "log";
        std::filesystem::create_symlink(directory / "monday", path);
        file_log_sink sink(path);
        co_await sink.open();
        co_await put(sink, "one\n");
        std::filesystem::remove(path);
        std::filesystem::create_symlink(directory / "tuesday", path);
        co_await a_second();
        co_await put(sink, "two\n");
        CHECK(contents_of(directory / "monday") == "one\n");
        CHECK(contents_of(directory / "tuesday") == goes_on(path) + "two\n");
        co_await sink.close();
    }

    CO_TEST_CASE("a file that has a writer does not become the log") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_log_sink sink(path);
        co_await sink.open();
        std::filesystem::rename(path, path + ".1");
        {
            const foreign_writer other(path);
            co_await a_second();
            co_await put(sink, "one\n");
            const auto kept = contents_of(path + ".1");
            CAPTURE(kept);
            CHECK(kept.find("is writing it already") < kept.find("one\n"));
            CHECK(contents_of(path).empty());
        }
        co_await a_second();
        co_await put(sink, "two\n");
        CHECK(contents_of(path) == goes_on(path) + "two\n");
        co_await sink.close();
    }

    CO_TEST_CASE("what became the log is locked, and what it was no longer is") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_log_sink sink(path);
        co_await sink.open();
        std::filesystem::rename(path, path + ".1");
        co_await put(sink, "", {.reopen = true});
        file_log_sink second(path);
        CHECK_THROWS_WITH_AS(co_await second.open(), doctest::Contains("this process"),
                             std::system_error);
        const foreign_writer free(path + ".1");
        co_await sink.close();
    }

    CO_TEST_CASE(
        "a child that was forked follows the name without the lock, which is its parent's") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_log_sink sink(path);
        co_await sink.open();
        co_await put(sink, "one\n");
        std::filesystem::rename(path, path + ".1");
        co_await put(sink, "two\n", {.reopen = true});
        std::filesystem::rename(path, path + ".2");
        const pid_t child = ::fork();
        if (child == 0) {
            // As in the child's own loop, on what it has inherited.
            event_loop loop;
            const auto body = [](log_sink& inherited) -> task<> {
                co_await put(inherited, "child's\n", {.reopen = true});
            };
            loop.run(body(sink));
            ::_exit(0);
        }
        int status = -1;
        REQUIRE(::waitpid(child, &status, 0) == child);
        CHECK(status == 0);
        co_await put(sink, "parent's\n", {.reopen = true});
        CHECK(contents_of(path) == "child's\nparent's\n");
        co_await sink.close();
    }

    // --- reopening that is asked for ---

    CO_TEST_CASE("reopening is done at once, and tells nothing where there was nothing to do") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_log_sink sink(path);
        co_await sink.open();
        co_await put(sink, "one\n", {.reopen = true});
        std::filesystem::rename(path, path + ".1");
        co_await put(sink, "two\n", {.reopen = true});
        CHECK(contents_of(path + ".1") == "one\n");
        CHECK(contents_of(path) == "two\n");
        co_await sink.close();
    }

    TEST_CASE("logger::reopen() has happened when a flush returns, also where nothing is logged") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const logger log{{.path = path, .form = bare}};
        log.info("one");
        log.flush_blocking();
        for (int i = 1; i <= 20; ++i) {
            std::filesystem::rename(path, path + std::to_string(i));
            log.reopen();
            log.flush_blocking();
            REQUIRE(std::filesystem::exists(path));
        }
        log.info("two");
        log.flush_blocking();
        CHECK(contents_of(path + "1") == "info one\n");
        CHECK(contents_of(path) == "info two\n");
    }

    TEST_CASE("what a log tells of its file is a line in the log's form") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const logger log{{.path = path, .form = bare}};
        log.info("one");
        log.flush_blocking();
        std::filesystem::rename(path, path + ".1");
        while (!std::filesystem::exists(path)) { // the log's clock is the machine's
            log.info("two");
            log.flush_blocking();
        }
        const std::string news = "info " + goes_on(path).substr(2);
        CHECK(contents_of(path) == news.substr(0, news.size() - 1) + " \\(log)\ninfo two\n");
    }

    TEST_CASE(
        "SIGHUP reopens, calls who handled it before, and ends the process with the log gone") {
        const temporary_directory directory;
        const auto path = directory / "log";
        static volatile std::sig_atomic_t handled = 0;
        CHECK(test::in_child([&] {
                  std::signal(SIGHUP, [](int) { handled = handled + 1; });
                  const logger log{{.path = path, .form = bare, .reopen_on_hangup = true}};
                  log.info("one");
                  log.flush_blocking();
                  std::filesystem::rename(path, path + ".1");
                  std::raise(SIGHUP);
                  log.info("two");
                  log.flush_blocking();
                  return contents_of(path + ".1") + contents_of(path) + std::to_string(handled);
              }) == "info one\ninfo two\n1");
        std::filesystem::remove(path);
        CHECK(test::in_child([&] {
                  std::signal(SIGHUP, SIG_DFL); // who has started the tests may ignore it
                  {
                      const logger log{{.path = path, .form = bare, .reopen_on_hangup = true}};
                      std::raise(SIGHUP);
                      log.info("alive");
                  }
                  std::raise(SIGHUP);
                  return std::string("still alive");
              }) == doctest::Contains(::strsignal(SIGHUP)));
        CHECK(contents_of(path) == "info alive\n");
    }

    // --- the rest ---

    CO_TEST_CASE("a file that is created gets the group and the permissions that were asked for") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const gid_t group = ::getuid() == 0 ? 1 : ::getgid();
        const mode_t umask_before = ::umask(0);
        file_log_sink sink(file_log_sink_options{.path = path, .mode = 0640, .group = group});
        co_await sink.open();
        std::filesystem::rename(path, path + ".1");
        co_await put(sink, "", {.reopen = true});
        ::umask(umask_before);
        for (const auto& each : {path, path + ".1"}) {
            CHECK(status_of_file(each).st_gid == group);
            CHECK((status_of_file(each).st_mode & 0777) == 0640);
        }
        co_await sink.close();
    }

    CO_TEST_CASE("a handler of crashes writes to the file that is the log at that moment") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const std::string_view lines = "last words\n";
        file_log_sink sink(path);
        CHECK_FALSE(sink.write_in_crash(lines));
        co_await sink.open();
        std::filesystem::rename(path, path + ".1");
        co_await put(sink, "", {.reopen = true});
        CHECK(sink.write_in_crash(lines));
        CHECK(contents_of(path) == lines);
        co_await sink.close();
        CHECK_FALSE(sink.write_in_crash(lines));
    }

    TEST_CASE("what somebody appends before a write that has not begun is no part of the write") {
        const temporary_directory directory;
        const auto path = directory / "log";
        test::loop_with_writes loop(test::perform);
        loop.run([](test::loop_with_writes& on, const std::string& file) -> task<> {
            file_log_sink sink(file);
            co_await sink.open();
            co_await put(sink, "one\n");
            const std::string batch = "number two\nnumber three\n";
            on.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                if (sqe.opcode != IORING_OP_WRITE) {
                    return test::perform(sqe);
                }
                std::ofstream(file, std::ios::app) << "a child's\n";
                CHECK(sink.write_in_crash(batch));
                return -EIO;
            };
            CHECK((co_await test::write_batch(sink, batch)).failure);
            on.ring().answer = test::perform;
            co_await sink.close();
        }(loop, path));
        CHECK(contents_of(path) == "one\na child's\nnumber two\nnumber three\n");
    }

    CO_TEST_CASE("a handler of crashes has an open descriptor at every moment of a reopening") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_log_sink sink(path);
        co_await sink.open();
        for (int i = 0; i < 20; ++i) {
            std::filesystem::rename(path, path + ".1");
            bool is_over = false;
            const auto reopen = [&]() -> task<> {
                co_await put(sink, "", {.reopen = true});
                is_over = true;
            };
            auto reopening = spawn(reopen());
            while (!is_over) {
                REQUIRE(sink.write_in_crash(std::string_view("last words\n")));
                co_await yield();
            }
            co_await reopening;
        }
        co_await sink.close();
    }
}
