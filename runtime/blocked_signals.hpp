// The signals of a thread that works for others. While one of these lives, this thread, and any
// that it starts, takes no signal of the process: a signalfd or a handler of the program's own
// threads gets them. What a thread's own fault raises stays, or it would end without a word.
#pragma once

#include <csignal>

namespace sapwood::detail {

class blocked_signals {
  public:
    /// `taken_all_the_same`: a signal that is not blocked; 0 for none.
    explicit blocked_signals(int taken_all_the_same = 0) noexcept {
        sigset_t blocked;
        ::sigfillset(&blocked);
        for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
            ::sigdelset(&blocked, fault);
        }
        if (taken_all_the_same != 0) {
            ::sigdelset(&blocked, taken_all_the_same);
        }
        ::pthread_sigmask(SIG_SETMASK, &blocked, &before_);
    }

    blocked_signals(const blocked_signals&) = delete;
    blocked_signals& operator=(const blocked_signals&) = delete;

    ~blocked_signals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_{};
};

} // namespace sapwood::detail
