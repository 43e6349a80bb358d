// The kernel's ring: queues that are too small, signals, and hosts that refuse it.
#include "support/allocations.hpp"
#include "support/child_process.hpp"
#include "support/signal_storm.hpp"
#include "support/temporary_directory.hpp"
#include "uring_ring.hpp"

#include <sapwood/file.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <span>
#include <stdexcept>
#include <string>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::event_loop;
using sapwood::file;
using sapwood::ring_kind;
using sapwood::task;
using sapwood::uring_ring;
using sapwood::test::in_child;
using sapwood::test::signal_storm;

task<std::size_t> read_zeros(file& from) {
    std::array<char, 100> bytes{};
    co_return co_await from.read_some(bytes, sapwood::file_offset{0});
}

/// Reads with many tasks at once; the number of bytes all of them got.
task<std::size_t> read_with(int tasks) {
    auto zero = co_await file::open("/dev/zero");
    std::vector<sapwood::join_handle<std::size_t>> readers;
    for (int i = 0; i < tasks; ++i) {
        readers.push_back(sapwood::spawn(read_zeros(zero)));
    }
    std::size_t bytes = 0;
    for (auto& reader : readers) {
        bytes += co_await reader;
    }
    co_return bytes;
}

/// Opens many files at once, which the kernel's workers complete in their own time.
task<int> open_with(int tasks) {
    auto open = []() -> task<int> {
        auto null = co_await file::open("/dev/null");
        co_return null.is_open() ? 1 : 0;
    };
    std::vector<sapwood::join_handle<int>> openers;
    for (int i = 0; i < tasks; ++i) {
        openers.push_back(sapwood::spawn(open()));
    }
    int opened = 0;
    for (auto& opener : openers) {
        opened += co_await opener;
    }
    co_return opened;
}

void filter_system_calls(std::span<sock_filter> filter) {
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        throw std::system_error(errno, std::generic_category(), "seccomp");
    }
}

constexpr unsigned setup_number = 425; // io_uring_setup
constexpr unsigned enter_number = 426;
constexpr unsigned register_number = 427;

/// From now on this process gets `error` for io_uring_setup, _enter and _register, or for those
/// from `first` on.
void refuse_io_uring(int error, unsigned first = setup_number) {
    std::array<sock_filter, 5> filter{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, register_number, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    filter_system_calls(filter);
}

/// From now on this process gets `error` for an io_uring_enter that submits something.
void refuse_submissions(int error) {
    std::array<sock_filter, 6> filter{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, enter_number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    filter_system_calls(filter);
}

/// Whether what is in flight completes while the kernel takes nothing new. Ends the process: its
/// loop cannot end.
task<> read_while_refused(int error) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    file from(ends[0]);
    auto read = [&]() -> task<> {
        std::array<char, 1> byte{};
        (void)co_await from.read_some(byte);
    };
    auto zero = co_await file::open("/dev/zero");
    auto reader = sapwood::spawn(read());
    for (int turn = 0; turn < 10; ++turn) {
        co_await sapwood::yield();
    }
    refuse_submissions(error);
    auto refused = sapwood::spawn(read_zeros(zero));
    co_await sapwood::yield();
    REQUIRE(::write(ends[1], "x", 1) == 1);
    for (int turn = 0; turn < 100 && !reader.done(); ++turn) {
        co_await sapwood::yield();
    }
    std::fprintf(stderr, "in flight: %s, new: %s", reader.done() ? "done" : "stuck",
                 refused.done() ? "done" : "refused");
    std::abort();
}

/// What a loop that cannot be made says.
std::string make_loop() {
    try {
        event_loop loop({.ring = ring_kind::io_uring});
    } catch (const std::system_error& failure) {
        return failure.what();
    }
    return "a loop was made";
}

/// Makes RLIMIT_MEMLOCK count in this process.
void limit_locked_memory(rlim_t bytes) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> sets{};
    ::syscall(SYS_capget, &header, sets.data());
    sets[0].effective &= ~(1U << CAP_IPC_LOCK);
    sets[0].permitted &= ~(1U << CAP_IPC_LOCK);
    const rlimit limit{bytes, bytes};
    if (::syscall(SYS_capset, &header, sets.data()) != 0 || ::setrlimit(RLIMIT_MEMLOCK, &limit)) {
        throw std::system_error(errno, std::generic_category(), "limiting locked memory");
    }
}

} // namespace

TEST_SUITE("uring_ring") {

    TEST_CASE("a ring of 4 entries loses none of hundreds of operations: both queues overflow") {
        event_loop loop({.ring = ring_kind::io_uring, .sq_entries = 4, .cq_entries = 4});
        CHECK(loop.ring_report().summary.find("4 submission and 4 completion entries") !=
              std::string::npos);
        CHECK(loop.run(read_with(500)) == 50'000);
        CHECK(loop.run(open_with(500)) == 500);
    }

    TEST_CASE("hundreds of operations are cancelled through a ring of 4 entries") {
        auto cancel_all = []() -> task<int> {
            std::array<int, 2> fds{};
            REQUIRE(::pipe2(fds.data(), O_CLOEXEC) == 0);
            file in(fds[0]);
            const file out(fds[1]);
            auto read = [&]() -> task<> {
                std::array<char, 1> byte{};
                (void)co_await in.read_some(byte);
            };
            std::vector<sapwood::join_handle<void>> readers;
            for (int i = 0; i < 300; ++i) {
                readers.push_back(sapwood::spawn(read()));
            }
            for (int turn = 0; turn < 100; ++turn) {
                co_await sapwood::yield();
            }
            int cancelled = 0;
            for (auto& reader : readers) {
                reader.cancel();
            }
            for (auto& reader : readers) {
                try {
                    co_await reader;
                } catch (const sapwood::cancelled&) {
                    ++cancelled;
                }
            }
            co_return cancelled;
        };
        event_loop loop({.ring = ring_kind::io_uring, .sq_entries = 4, .cq_entries = 4});
        CHECK(loop.run(cancel_all()) == 300);
    }

    TEST_CASE("a storm of signals interrupts waits and submissions, and nothing hangs or is lost") {
        auto work = []() -> task<std::size_t> {
            std::size_t done = 0;
            for (int round = 0; round < 20; ++round) {
                done += co_await read_with(50) / 100;
                done += static_cast<std::size_t>(co_await open_with(20));
                co_await sapwood::sleep_for(300us);
            }
            co_return done;
        };
        const signal_storm storm;
        event_loop loop({.ring = ring_kind::io_uring, .sq_entries = 4, .cq_entries = 8});
        CHECK(loop.run(work()) == 20 * 70);
        CHECK(storm.alarms() > 0);
    }

    TEST_CASE("a signal that interrupts a wait does not end a sleep early") {
        auto measure = []() -> task<sapwood::clock::duration> {
            const auto before = sapwood::clock::now();
            co_await sapwood::sleep_for(5ms);
            co_return sapwood::clock::now() - before;
        };
        const signal_storm storm;
        CHECK(sapwood::run(measure()) >= 5ms);
        CHECK(storm.alarms() > 0);
    }

    TEST_CASE("the report says what was granted") {
        const uring_ring ring({.sq_entries = 8, .cq_entries = 32});
        CHECK(ring.report().find("io_uring, 8 submission and 32 completion entries") == 0);
    }

    TEST_CASE("more entries than the kernel knows are cut to what it grants") {
        const uring_ring ring({.sq_entries = 1U << 20, .cq_entries = 1});
        CHECK(ring.report().find("io_uring, 32768 submission") == 0);
    }

    TEST_CASE("a ring without entries is refused by the option's name") {
        CHECK_THROWS_WITH_AS(event_loop({.ring = ring_kind::io_uring, .sq_entries = 0}),
                             doctest::Contains("loop_options.sq_entries"), std::invalid_argument);
    }

    TEST_CASE("where the memory lock limit is small the ring is halved until it fits, and works") {
        const auto report = in_child([] {
            limit_locked_memory(16 << 10);
            event_loop loop({.ring = ring_kind::io_uring, .sq_entries = 4096, .cq_entries = 8192});
            const auto bytes = loop.run(read_with(1000));
            return loop.ring_report().summary + "; read " + std::to_string(bytes);
        });
        CHECK(report == doctest::Contains("; read 100000"));
        CHECK_FALSE(report == doctest::Contains("io_uring, 4096 submission"));
        CHECK(report == doctest::Contains("io_uring, "));
    }

    TEST_CASE("no room under the memory lock limit is an error that names the limit") {
        CHECK(in_child([] {
                  limit_locked_memory(0);
                  return make_loop();
              }) == doctest::Contains("the memory lock limit of 0 KiB is too small"));
    }

    TEST_CASE("a refusal by seccomp is an error that names seccomp and the syscalls") {
        const auto message = in_child([] {
            refuse_io_uring(EPERM);
            return make_loop();
        });
        CHECK(message == doctest::Contains("cannot make an io_uring: a seccomp filter refuses it"));
        CHECK(message == doctest::Contains("425 to 427"));
    }

    TEST_CASE("a refusal by kernel.io_uring_disabled is an error that names it and the remedy") {
        for (const int level : {1, 2}) {
            // The setting is the whole machine's: show the child another file in its place.
            const auto message = in_child([level] {
                const sapwood::test::temporary_directory directory;
                sapwood::test::fill(directory / "disabled", std::to_string(level) + "\n");
                if (::unshare(CLONE_NEWNS) != 0 ||
                    ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
                    ::mount((directory / "disabled").c_str(), "/proc/sys/kernel/io_uring_disabled",
                            nullptr, MS_BIND, nullptr) != 0) {
                    return std::string("not permitted");
                }
                refuse_io_uring(EPERM);
                return make_loop();
            });
            if (message == "not permitted") {
                MESSAGE("needs the right to mount: not checked");
                continue;
            }
            CHECK(message == doctest::Contains(("kernel.io_uring_disabled is " +
                                                std::to_string(level) + ", which forbids it")
                                                   .c_str()));
            CHECK(message == doctest::Contains("sysctl kernel.io_uring_disabled=0"));
        }
    }

    TEST_CASE("a kernel without io_uring, or with too old a one, is an error that says so") {
        CHECK(in_child([] {
                  refuse_io_uring(ENOSYS);
                  return make_loop();
              }) == doctest::Contains("this kernel has no io_uring"));
        CHECK(in_child([] {
                  refuse_io_uring(EINVAL);
                  return make_loop();
              }) == doctest::Contains("this kernel is too old"));
    }

    TEST_CASE(
        "a kernel that does not say which opcodes it has is not taken for one that has none") {
        for (const int error : {EPERM, ENOMEM}) {
            CAPTURE(error);
            const auto refuse = [error] {
                ::setenv("SAPWOOD_RING", "", 1);
                const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
                ::dup2(nowhere, STDERR_FILENO); // the word about the fallback
                refuse_io_uring(error, register_number);
            };
            CHECK(in_child([&] {
                      refuse();
                      return make_loop();
                  }) == doctest::Contains("cannot make an io_uring: "));
            CHECK(in_child([&] {
                      refuse();
                      event_loop loop;
                      return loop.ring_report().summary + "; read " +
                             std::to_string(loop.run(read_with(10)));
                  }) == doctest::Contains("epoll and up to "));
        }
    }

    TEST_CASE("a ring that there is no memory to finish leaves no descriptor behind") {
        const auto first_free = [] {
            const int fd = ::dup(STDIN_FILENO);
            ::close(fd);
            return fd;
        };
        const int before = first_free();
        int failures = 0;
        bool is_made = false;
        for (std::size_t nth = 1; !is_made; ++nth) {
            const sapwood::test::failing_allocations failing(nth);
            try {
                const uring_ring ring({.opcodes_withheld = std::uint64_t{1} << IORING_OP_OPENAT});
                is_made = true;
            } catch (const std::bad_alloc&) {
                ++failures;
            }
        }
        CHECK(failures >= 2);
        CHECK(first_free() == before);
    }

    TEST_CASE("what is in flight completes although the kernel has no memory for anything new") {
        for (const int error : {EAGAIN, EBUSY}) {
            CAPTURE(error);
            CHECK(sapwood::test::last_words([error] {
                      event_loop loop({.ring = ring_kind::io_uring});
                      loop.run(read_while_refused(error));
                  }) == doctest::Contains("in flight: done, new: refused"));
        }
    }

    TEST_CASE("no free descriptor is an error that names the limit") {
        CHECK(in_child([] {
                  refuse_io_uring(EMFILE);
                  return make_loop();
              }) == doctest::Contains("raise the limit with `ulimit -n`"));
    }

    TEST_CASE("an enter that fails for good ends the program and says why") {
        const auto words = sapwood::test::last_words([] {
            event_loop loop({.ring = ring_kind::io_uring});
            refuse_io_uring(EPERM);
            loop.run(read_with(1));
        });
        CHECK(words == doctest::Contains("io_uring_enter failed; the event loop cannot go on"));
    }
}
