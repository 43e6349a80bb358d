#include <sapwood/signal_set.hpp>

#include <sapwood/poll.hpp>

#include <cerrno>
#include <sys/signalfd.h>
#include <system_error>
#include <unistd.h>

namespace sapwood {

signal_set::signal_set(std::initializer_list<int> signals) {
    ::sigemptyset(&signals_);
    for (const int number : signals) {
        if (number == SIGKILL || number == SIGSTOP) {
            throw std::system_error(EINVAL, std::generic_category(),
                                    "signal_set: no program can take in signal " +
                                        std::to_string(number));
        }
        if (::sigaddset(&signals_, number) != 0) {
            throw std::system_error(errno, std::generic_category(),
                                    "signal_set: " + std::to_string(number) + " is no signal");
        }
    }
    if (const int error = ::pthread_sigmask(SIG_BLOCK, &signals_, &blocked_before_); error != 0) {
        throw std::system_error(error, std::generic_category(), "signal_set: cannot block signals");
    }
    const int fd = ::signalfd(-1, &signals_, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        const int error = errno;
        ::pthread_sigmask(SIG_SETMASK, &blocked_before_, nullptr);
        throw std::system_error(error, std::generic_category(),
                                "signal_set: cannot make a signalfd");
    }
    descriptor_ = signal_file(fd);
}

signal_set::~signal_set() {
    // Whatever is pending would strike as soon as it is unblocked.
    const timespec at_once{};
    while (::sigtimedwait(&signals_, nullptr, &at_once) > 0) {
    }
    ::pthread_sigmask(SIG_SETMASK, &blocked_before_, nullptr);
}

task<int> signal_set::next() {
    // Read by this thread: another, as is the kernel's worker that would read for a ring (before
    // Linux 6.9), is given those of the process only, and not what was sent to this thread.
    const signal_file::use in_use(descriptor_);
    for (;;) {
        (void)co_await poll(descriptor_, POLLIN);
        signalfd_siginfo info{};
        if (::read(descriptor_.fd(), &info, sizeof(info)) == sizeof(info)) {
            co_return static_cast<int>(info.ssi_signo);
        }
        if (errno != EAGAIN && errno != EINTR) { // EAGAIN: another task was faster
            throw std::system_error(errno, std::generic_category(), "read of a signal");
        }
    }
}

} // namespace sapwood
