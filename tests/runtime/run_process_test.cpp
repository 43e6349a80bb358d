// run_process: a program's whole life in one call, which cannot be caught between two full pipes.
#include "support/temporary_directory.hpp"

#include <sapwood/run.hpp>
#include <sapwood/run_process.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <cerrno>
#include <csignal>
#include <doctest/doctest.h>
#include <sys/wait.h>

namespace {

using sapwood::command;
using sapwood::run_process;
using sapwood::stdio;
using sapwood::task;

bool is_childless() {
    siginfo_t found{};
    return ::waitid(P_ALL, 0, &found, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
}

task<> run_until_told(command what, bool& began) {
    began = true;
    (void)co_await run_process(std::move(what));
}

} // namespace

TEST_SUITE("run_process") {

    TEST_CASE("input, output and errors larger than any pipe all pass") {
        sapwood::run([]() -> task<> {
            std::string input(1u << 20, 'x');
            input.back() = '\n';
            command both("tee", "/dev/stderr");
            const auto ran = co_await run_process(std::move(both), {.input = input});
            CHECK(ran.status.success());
            CHECK((ran.out == input));
            CHECK((ran.err == input));
            CHECK(ran.out_dropped == 0);
        });
    }

    TEST_CASE("what is past the limit is counted and dropped, and the program goes on") {
        sapwood::run([]() -> task<> {
            command what("sh", {"-c", "head -c 300000 /dev/zero; printf 'oak' >&2; exit 3"});
            const auto ran = co_await run_process(std::move(what), {.output_bytes_max = 1000});
            CHECK(ran.status.code() == 3);
            CHECK(ran.out.size() == 1000);
            CHECK(ran.out_dropped == 299000);
            CHECK(ran.err == "oak");
            CHECK(ran.err_dropped == 0);
        });
    }

    TEST_CASE("a program need not read its input, and without any has an empty one") {
        sapwood::run([]() -> task<> {
            const std::string input(1u << 20, 'x');
            const auto ran = co_await run_process(command("true"), {.input = input});
            CHECK(ran.status.success());
            const auto empty = co_await run_process(command("cat"));
            CHECK(empty.status.success());
            CHECK(empty.out == "");
        });
    }

    TEST_CASE("streams that were given something else keep it") {
        const sapwood::test::temporary_directory folder;
        sapwood::run([](const std::string& path) -> task<> {
            auto log = co_await sapwood::file::open(path, {.flags = O_WRONLY | O_CREAT});
            command what("sh", {"-c", "echo out; echo err >&2"});
            what.out = stdio::descriptor(log.fd());
            const auto ran = co_await run_process(std::move(what));
            CHECK(ran.out == "");
            CHECK(ran.err == "err\n");
            CHECK(sapwood::test::contents_of(path) == "out\n");
        }(folder / "log"));
    }

    TEST_CASE("cancelled, it has ended the program when it throws") {
        sapwood::run([]() -> task<> {
            bool began = false;
            auto running = sapwood::spawn(run_until_told(command("sleep", "1000"), began));
            while (is_childless()) {
                co_await sapwood::yield();
            }
            running.cancel();
            CHECK_THROWS_AS(co_await running, sapwood::cancelled);
            CHECK(began);
            CHECK(is_childless());
        });
    }

    TEST_CASE("cancelled, it says so also where the program's status is lost") {
        const auto before = std::signal(SIGCHLD, SIG_IGN);
        sapwood::run([]() -> task<> {
            bool began = false;
            auto running = sapwood::spawn(run_until_told(command("sleep", "1000"), began));
            while (is_childless()) {
                co_await sapwood::yield();
            }
            running.cancel();
            CHECK_THROWS_AS(co_await running, sapwood::cancelled);
            CHECK(is_childless());
        });
        std::signal(SIGCHLD, before);
    }

    TEST_CASE("cancelled at any moment, also while it starts, it leaves no process") {
        sapwood::run([]() -> task<> {
            int cancelled = 0;
            for (int turns = 0; turns < 40; ++turns) {
                bool began = false;
                auto running = sapwood::spawn(run_until_told(command("sleep", "0.01"), began));
                for (int turn = 0; turn < turns * turns; ++turn) {
                    co_await sapwood::yield();
                }
                running.cancel();
                try {
                    co_await running;
                } catch (const sapwood::cancelled&) {
                    ++cancelled;
                }
                CHECK(is_childless());
            }
            CHECK(cancelled > 0);
        });
    }
}
