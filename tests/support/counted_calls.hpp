// How many system calls a piece of code makes: prctl(PR_SET_SYSCALL_USER_DISPATCH), Linux 5.11.
// Those that need no kernel, as clock_gettime(2) does not, do not count.
#pragma once

#include <csignal>
#include <doctest/doctest.h>
#include <linux/prctl.h>
#include <sys/prctl.h>

namespace sapwood::test {

/// Counts this thread's system calls while it exists; the first one only, which fails with ENOSYS.
class counted_calls {
  public:
    explicit counted_calls(int& count) {
        struct sigaction counting {};

        counting.sa_flags = SA_SIGINFO;
        counting.sa_sigaction = [](int, siginfo_t*, void*) {
            selector = dispatch_allow;
            *counted = *counted + 1;
        };
        REQUIRE(::sigaction(SIGSYS, &counting, &before_) == 0);
        counted = &count;
        selector = dispatch_allow;
        REQUIRE(::prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0L, 0L, &selector) == 0);
        selector = dispatch_block;
    }

    counted_calls(const counted_calls&) = delete;
    counted_calls& operator=(const counted_calls&) = delete;

    ~counted_calls() {
        selector = dispatch_allow;
        ::prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0L, 0L, 0L);
        ::sigaction(SIGSYS, &before_, nullptr);
    }

  private:
    static constexpr char dispatch_allow = SYSCALL_DISPATCH_FILTER_ALLOW;
    static constexpr char dispatch_block = SYSCALL_DISPATCH_FILTER_BLOCK;
    static inline thread_local volatile char selector = dispatch_allow;
    static inline int* volatile counted = nullptr;

    struct sigaction before_ {};
};

} // namespace sapwood::test
