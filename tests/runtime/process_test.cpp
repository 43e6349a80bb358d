// process: programs started with what they are to have and nothing else, waited for, and ended.
#include "uring_ring.hpp"

#include "support/allocations.hpp"
#include "support/child_process.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/buffered_reader.hpp>
#include <sapwood/pipe.hpp>
#include <sapwood/process.hpp>
#include <sapwood/run.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/run_process.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>
#include <future>
#include <memory>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::command;
using sapwood::exit_status;
using sapwood::process;
using sapwood::stdio;
using sapwood::task;
using sapwood::test::temporary_directory;

command shell(std::string script) {
    return command("sh", "-c", std::move(script));
}

/// Whether this process has no child, neither alive nor dead.
bool is_childless() {
    siginfo_t found{};
    return ::waitid(P_ALL, 0, &found, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
}

/// A shell that says "ready" when it stands, and then reads until its input ends.
command waiting_shell(const std::string& before = "") {
    command made = shell(before + "echo ready; read line; exit 5");
    made.in = made.out = stdio::pipe();
    return made;
}

task<process> start_and_see_ready(command what) {
    process child = co_await process::start(std::move(what));
    sapwood::buffered_reader reader(child.out, {.piece_bytes_max = 64});
    const std::string_view line = co_await reader.read_until("\n");
    CHECK(line == "ready\n");
    co_return child;
}

task<exit_status> ended(command what) {
    process child = co_await process::start(std::move(what));
    co_return co_await child.wait();
}

/// What `what` fails to start with.
task<std::string> why_not(command what) {
    try {
        (void)co_await ended(std::move(what));
    } catch (const std::system_error& failure) {
        co_return failure.what();
    }
    co_return "it started";
}

task<std::string> output_of(command what) {
    auto ran = co_await sapwood::run_process(std::move(what));
    CHECK(ran.status.success());
    CHECK(ran.err == "");
    co_return std::move(ran.out);
}

task<> wait_for(process& child) {
    (void)co_await child.wait();
}

task<> hold_a_thread(std::shared_future<void> until) {
    co_await sapwood::run_blocking([&until] { until.wait(); });
}

task<> see_all_ways_to_end() {
    const auto fine = co_await ended(command("true"));
    CHECK(fine.success());
    CHECK(fine == exit_status::exited(0));
    const auto code = co_await ended(shell("exit 7"));
    CHECK(code.has_exited());
    CHECK(code.code() == 7);
    CHECK_FALSE(code.success());
    CHECK(code.to_string() == "exited with code 7");
    const auto killed = co_await ended(shell("kill -9 $$"));
    CHECK_FALSE(killed.has_exited());
    CHECK(killed.signal() == SIGKILL);
    CHECK_FALSE(killed.success());
    CHECK(killed.to_string() == "killed by signal 9 (Killed)");
    CHECK(exit_status::killed(SIGSEGV, true).to_string() ==
          "killed by signal 11 (Segmentation fault), core dumped");
}

task<> see_cancelled_wait_kill() {
    process child = co_await start_and_see_ready(waiting_shell());
    auto waiting = sapwood::spawn(wait_for(child));
    co_await sapwood::yield();
    waiting.cancel();
    CHECK_THROWS_AS(co_await waiting, sapwood::cancelled);
    REQUIRE(child.status());
    CHECK(*child.status() == exit_status::killed(SIGTERM, false));
    CHECK(is_childless());
    CHECK_FALSE(child.kill(SIGTERM));
}

} // namespace

TEST_SUITE("process") {

    TEST_CASE("a status tells a code from a signal") {
        sapwood::run(see_all_ways_to_end());
        CHECK(is_childless());
    }

    TEST_CASE("its streams are read and written while it runs, and closing its input ends it") {
        sapwood::run([]() -> task<> {
            command cat("cat");
            cat.in = cat.out = stdio::pipe();
            process child = co_await process::start(std::move(cat));
            CHECK_FALSE(child.err.is_open());
            sapwood::buffered_reader reader(child.out);
            for (const std::string line : {"oak\n", "ash\n"}) {
                co_await child.in.write_all(line);
                const std::string_view answer = co_await reader.read_until("\n");
                CHECK(answer == line);
            }
            CHECK_FALSE(child.status());
            co_await child.in.close();
            const auto rest = co_await reader.read_until("\n");
            CHECK(rest == "");
            const auto status = co_await child.wait();
            CHECK(status.success());
            const auto again = co_await child.wait();
            CHECK(again == status);
        });
    }

    TEST_CASE("arguments, environment and directory are exactly the given ones") {
        const temporary_directory folder;
        sapwood::run([](std::string path) -> task<> {
            command what = shell("printf '%s|' \"$@\"; env; pwd");
            what.arguments.insert(what.arguments.end(), {"sh", "a b", "", "*", "$HOME"});
            what.environment = {"PATH=/usr/bin:/bin", "TREE=oak"};
            what.directory = path;
            const std::string out = co_await output_of(std::move(what));
            CHECK(out.starts_with("a b||*|$HOME|"));
            CHECK(out.find("TREE=oak\n") != out.npos);
            CHECK(out.find("HOME=/") == out.npos);
            CHECK(out.ends_with("\n" + path + "\n"));
        }(std::filesystem::canonical(folder / ".").string()));
    }

    TEST_CASE("errors go where output goes, in order, and to a descriptor or nowhere") {
        const temporary_directory folder;
        sapwood::run([](const std::string& path) -> task<> {
            command both = shell("echo out; echo err >&2; echo out");
            both.err = stdio::with_output();
            const std::string mixed = co_await output_of(std::move(both));
            CHECK(mixed == "out\nerr\nout\n");

            auto log = co_await sapwood::file::open(path, {.flags = O_WRONLY | O_CREAT});
            command to_file = shell("echo out; echo err >&2");
            to_file.out = stdio::descriptor(log.fd());
            to_file.err = stdio::null();
            const auto status = co_await ended(std::move(to_file));
            CHECK(status.success());
            co_await log.close();
            CHECK(sapwood::test::contents_of(path) == "out\n");
        }(folder / "log"));
    }

    TEST_CASE("streams may be given crosswise") {
        // Standard output as the child's errors, and the other way round: neither is lost.
        sapwood::run([]() -> task<> {
            command what = shell("test -e /proc/self/fd/1 && readlink /proc/self/fd/2 >&2");
            auto made = sapwood::pipe::make();
            what.out = stdio::descriptor(STDERR_FILENO);
            what.err = stdio::descriptor(made.writer.fd());
            const auto status = co_await ended(std::move(what));
            CHECK(status.success());
            co_await made.writer.close();
            sapwood::buffered_reader reader(made.reader);
            const auto line = co_await reader.read_until("\n");
            CHECK(line.starts_with("pipe:"));
        });
    }

    TEST_CASE("it has no signal blocked or ignored, and no descriptor of ours") {
        sigset_t usr1;
        ::sigemptyset(&usr1);
        ::sigaddset(&usr1, SIGUSR1);
        sigset_t before;
        ::pthread_sigmask(SIG_BLOCK, &usr1, &before);
        const auto ignored_before = std::signal(SIGUSR2, SIG_IGN);
        const int leaked = ::open("/dev/null", O_RDONLY); // without O_CLOEXEC
        REQUIRE(leaked > 2);
        sapwood::run([]() -> task<> {
            // Not from a shell, which sets them right itself.
            const command grep("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status");
            const std::string signals = co_await output_of(grep);
            CHECK(signals == "SigBlk:\t0000000000000000\n"
                             "SigIgn:\t0000000000000000\n");
            // 3 is what ls itself looks through.
            command list("ls", {"/proc/self/fd"});
            const std::string descriptors = co_await output_of(std::move(list));
            CHECK(descriptors == "0\n1\n2\n3\n");
        });
        ::close(leaked);
        std::signal(SIGUSR2, ignored_before);
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    TEST_CASE("what cannot be started is an error that names it, and leaves nothing behind") {
        const temporary_directory folder;
        sapwood::test::fill(folder / "plain", "oak\n");
        sapwood::test::fill(folder / "script", "#!/no/such/interpreter\n");
        sapwood::test::fill(folder / "empty", "oak\n");
        ::chmod((folder / "script").c_str(), 0700);
        ::chmod((folder / "empty").c_str(), 0700);
        sapwood::run([](const temporary_directory& in) -> task<> {
            std::string why = co_await why_not(command("no-such-tree"));
            CHECK(why.find("cannot start no-such-tree") != why.npos);
            CHECK(why.find("PATH") != why.npos);
            why = co_await why_not(command("/no/such/tree"));
            CHECK(why == "cannot start /no/such/tree: No such file or directory");
            why = co_await why_not(command(in / "plain"));
            CHECK(why.find("not executable") != why.npos);
            why = co_await why_not(command(in / "script"));
            CHECK(why.find("not the interpreter") != why.npos);
            why = co_await why_not(command(in / "empty"));
            CHECK(why.find("no program for this machine") != why.npos);
            command nowhere("true");
            nowhere.directory = "/no/such/folder";
            why = co_await why_not(std::move(nowhere));
            CHECK(why.find("in the directory /no/such/folder") != why.npos);
            command closed("true");
            closed.out = stdio::descriptor(1000000);
            why = co_await why_not(std::move(closed));
            CHECK(why.find("standard streams") != why.npos);
            why = co_await why_not(command(std::string("tr\0ue", 5)));
            CHECK(why.find("contains a NUL") != why.npos);
            // PATH is the child's, and a file that may not be run there is passed over.
            command second("plain");
            second.environment = {"PATH=" + in / "." + ":/bin"};
            why = co_await why_not(std::move(second));
            CHECK(why.find("not executable") != why.npos);
        }(folder));
        CHECK(is_childless());
    }

    TEST_CASE("a cancelled wait ends the process and reaps it") {
        sapwood::run(see_cancelled_wait_kill());
    }

    TEST_CASE("on a kernel without WAITID too, by its pidfd") {
        sapwood::uring_ring::options old;
        old.opcodes_withheld = std::uint64_t{1} << 50;
        std::unique_ptr<sapwood::uring_ring> ring;
        try {
            ring = std::make_unique<sapwood::uring_ring>(old);
        } catch (const std::system_error& refused) {
            MESSAGE("skipped: " << refused.what());
            return;
        }
        sapwood::event_loop loop(std::move(ring));
        loop.run(see_all_ways_to_end());
        loop.run(see_cancelled_wait_kill());
        CHECK(is_childless());
    }

    TEST_CASE("a timeout around a wait ends the process") {
        sapwood::run([]() -> task<> {
            process child = co_await start_and_see_ready(waiting_shell());
            const auto late = co_await sapwood::as_result(sapwood::timeout(1ms, child.wait()));
            CHECK(late.error() == std::errc::timed_out);
            CHECK(child.status() == exit_status::killed(SIGTERM, false));
        });
    }

    TEST_CASE("a wait that leaves the process may be cancelled and made again, and then ends it") {
        sapwood::run([]() -> task<> {
            process child = co_await start_and_see_ready(waiting_shell());
            for (int round = 0; round < 2; ++round) {
                const auto late = co_await sapwood::as_result(
                    sapwood::timeout(1ms, child.wait(sapwood::on_cancel::leave)));
                CHECK(late.error() == std::errc::timed_out);
                CHECK_FALSE(child.status());
                CHECK(child.kill(0));
            }
            co_await child.in.close();
            CHECK(co_await child.wait(sapwood::on_cancel::leave) == exit_status::exited(5));
            { const process another = co_await start_and_see_ready(waiting_shell()); }
            while (!is_childless()) { // a task of its own ends it
                co_await sapwood::yield();
            }
        });
    }

    TEST_CASE("one that ends in its grace gives its own status, one that does not is killed") {
        sapwood::run([]() -> task<> {
            command obeys = waiting_shell("trap 'exit 3' TERM; ");
            obeys.stop.grace = std::chrono::hours(1);
            process good = co_await start_and_see_ready(std::move(obeys));
            const auto in_time = co_await good.stop();
            CHECK(in_time == exit_status::exited(3));

            command deaf = waiting_shell("trap '' TERM; ");
            deaf.stop.grace = 20ms;
            process bad = co_await start_and_see_ready(std::move(deaf));
            const auto late = co_await bad.stop();
            CHECK(late == exit_status::killed(SIGKILL, false));

            command other = waiting_shell("trap '' TERM; trap 'exit 4' USR1; ");
            other.stop = {.signal = SIGUSR1, .grace = std::chrono::hours(1)};
            process third = co_await start_and_see_ready(std::move(other));
            CHECK(third.kill(SIGSTOP));
            const auto continued = co_await third.stop();
            CHECK(continued == exit_status::exited(4));
        });
        CHECK(is_childless());
    }

    TEST_CASE("a process that is destroyed is ended and reaped before its loop is over") {
        sapwood::run([]() -> task<> {
            { const process dropped = co_await start_and_see_ready(waiting_shell()); }
            process assigned = co_await start_and_see_ready(waiting_shell());
            assigned = process();
        });
        CHECK(is_childless());
    }

    TEST_CASE("a process that outlives its loop is killed where it is destroyed") {
        std::unique_ptr<process> kept;
        sapwood::run([](std::unique_ptr<process>& into) -> task<> {
            process child = co_await start_and_see_ready(waiting_shell());
            into = std::make_unique<process>(std::move(child));
        }(kept));
        CHECK_FALSE(is_childless());
        CHECK(kept->kill(0));
        kept.reset();
        CHECK(is_childless());
    }

    TEST_CASE("a forked child that destroys its copy leaves the process to its parent") {
        std::unique_ptr<process> kept;
        sapwood::run([](std::unique_ptr<process>& into) -> task<> {
            process child = co_await start_and_see_ready(waiting_shell());
            into = std::make_unique<process>(std::move(child));
        }(kept));
        const pid_t copy = ::fork();
        if (copy == 0) {
            kept.reset();
            ::_exit(0);
        }
        int status = -1;
        CHECK(::waitpid(copy, &status, 0) == copy);
        CHECK(status == 0);
        sapwood::run([](process& child) -> task<> {
            co_await child.in.close();
            const auto end = co_await child.wait();
            CHECK(end == exit_status::exited(5));
        }(*kept));
    }

    TEST_CASE("a process that is destroyed where memory is out is ended and reaped all the same") {
        int failures = 0;
        for (std::size_t nth = 1, struck = 1; struck != 0; ++nth) {
            // On a thread of its own, which keeps no frames from before.
            std::thread([&] {
                sapwood::run([](std::size_t from, std::size_t& failed) -> task<> {
                    command what = shell("trap '' HUP; exec sleep 1000");
                    what.stop.signal = SIGHUP; // in vain: only the kill at the end counts
                    what.stop.grace = 1ms;
                    process child = co_await process::start(std::move(what));
                    process none;
                    const sapwood::test::failing_allocations failing(from);
                    child = std::move(none);
                    for (int turn = 0; turn < 3; ++turn) {
                        co_await sapwood::yield();
                    }
                    failed = failing.struck() ? 1 : 0;
                }(nth, struck));
            }).join();
            CHECK(is_childless());
            failures += static_cast<int>(struck);
        }
        CHECK(failures >= 2);
    }

    TEST_CASE("a start in line has the environment of its call, and is withdrawn at once") {
        ::unsetenv("SAPWOOD_TEST_CODE");
        sapwood::run([]() -> task<> {
            std::promise<void> gate;
            const std::shared_future<void> open = gate.get_future().share();
            for (unsigned i = 0; i < sapwood::blocking_pool::threads_max_default; ++i) {
                sapwood::spawn(hold_a_thread(open)).detach();
            }
            auto first = sapwood::spawn(ended(shell("exit ${SAPWOOD_TEST_CODE:-3}")));
            auto second = sapwood::spawn(ended(command("no-such-tree")));
            co_await sapwood::yield();
            ::setenv("SAPWOOD_TEST_CODE", "4", 1);
            second.cancel();
            CHECK_THROWS_AS(co_await second, sapwood::cancelled);
            gate.set_value();
            const auto status = co_await first;
            CHECK(status == exit_status::exited(3));
        });
        ::unsetenv("SAPWOOD_TEST_CODE");
    }

    TEST_CASE("a cancelled wait says so also where the status is lost") {
        const auto before = std::signal(SIGCHLD, SIG_IGN);
        sapwood::run([]() -> task<> {
            process child = co_await start_and_see_ready(waiting_shell());
            auto waiting = sapwood::spawn(wait_for(child));
            co_await sapwood::yield();
            waiting.cancel();
            CHECK_THROWS_AS(co_await waiting, sapwood::cancelled);
            CHECK(is_childless());
        });
        std::signal(SIGCHLD, before);
    }

    TEST_CASE("one that is to be left runs on, and is reaped when it ends") {
        sapwood::run([]() -> task<> {
            command left = waiting_shell();
            left.stop.leave_running = true;
            sapwood::file input;
            {
                process child = co_await start_and_see_ready(std::move(left));
                auto waiting = sapwood::spawn(wait_for(child));
                co_await sapwood::yield();
                waiting.cancel();
                CHECK_THROWS_AS(co_await waiting, sapwood::cancelled);
                CHECK_FALSE(child.status());
                CHECK(child.kill(0));
                input = std::move(child.in);
            }
            CHECK_FALSE(is_childless());
            co_await input.close();
            while (!is_childless()) {
                co_await sapwood::yield();
            }
        });
    }

    TEST_CASE("a group ends with its leader, and a process alone leaves its children") {
        sapwood::run([]() -> task<> {
            // The grandchild keeps our pipe open: its end is the end of the pipe.
            command what = shell("sleep 1000 & echo ready; wait");
            what.out = stdio::pipe();
            what.own_group = true;
            process leader = co_await start_and_see_ready(std::move(what));
            const auto status = co_await leader.stop();
            CHECK(status == exit_status::killed(SIGTERM, false));
            char byte = 0;
            const auto got = co_await leader.out.read_some({&byte, 1});
            CHECK(got == 0);
        });
    }

    TEST_CASE("many end at once, each with its own status") {
        sapwood::run([]() -> task<> {
            std::vector<sapwood::join_handle<exit_status>> all;
            for (int code = 0; code < 40; ++code) {
                all.push_back(sapwood::spawn(ended(shell("exit " + std::to_string(code)))));
            }
            for (int code = 0; code < 40; ++code) {
                const auto status = co_await all[static_cast<std::size_t>(code)];
                CHECK(status == exit_status::exited(code));
            }
        });
        CHECK(is_childless());
    }

    TEST_CASE("a status that somebody else took is an error that says so") {
        const auto before = std::signal(SIGCHLD, SIG_IGN);
        sapwood::run([]() -> task<> {
            const std::string why = co_await why_not(command("true"));
            CHECK(why.find("is SIGCHLD ignored") != why.npos);
        });
        std::signal(SIGCHLD, before);
    }

    TEST_CASE("two waits at once, and a process that is destroyed during one, hit the assertion") {
        const auto wait_for = [](process& one) -> task<> { (void)co_await one.wait(); };
        const auto misuse = [&wait_for](int how) -> task<> {
            command cat("cat"); // which ends with its input
            cat.in = sapwood::stdio::pipe();
            auto child = co_await process::start(std::move(cat));
            auto waiting = sapwood::spawn(wait_for(child));
            co_await sapwood::yield();
            if (how == 0) {
                co_await wait_for(child);
            } else if (how == 1) {
                (void)co_await child.stop();
            } else {
                child = process();
            }
        };
        using sapwood::test::last_words;
        CHECK(last_words([&] { sapwood::run(misuse(0)); }) ==
              doctest::Contains("two tasks wait for one process"));
        CHECK(last_words([&] { sapwood::run(misuse(1)); }) ==
              doctest::Contains("stop() of a process that another task waits for"));
        CHECK(last_words([&] { sapwood::run(misuse(2)); }) ==
              doctest::Contains("destroyed while a task waits for it"));
    }
}
