#include <sapwood/log_requests.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <mutex>
#include <stdexcept>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>

namespace sapwood::detail {

namespace {

int make_eventfd() noexcept {
    return ::eventfd(0, EFD_CLOEXEC);
}

// --- SIGHUP ---

/// Logs that hear it, for the handler, which may be at any of them at any moment.
std::array<std::atomic<log_requests*>, 64> listeners{};
/// How many handlers are running: who leaves waits for them.
std::atomic<int> handlers_running{0};

std::mutex installing;
bool is_installed = false;

struct ::sigaction before {};

void on_hangup(int signal, siginfo_t* info, void* context) {
    const int saved_errno = errno;
    bool is_heard = false;
    handlers_running.fetch_add(1, std::memory_order_seq_cst);
    for (auto& each : listeners) {
        if (log_requests* const one = each.load(std::memory_order_seq_cst)) {
            one->ask_to_reopen();
            is_heard = true;
        }
    }
    handlers_running.fetch_sub(1, std::memory_order_seq_cst);
    if ((before.sa_flags & SA_SIGINFO) != 0) {
        before.sa_sigaction(signal, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(signal);
    } else if (before.sa_handler == SIG_DFL && !is_heard) {
        ::signal(signal, SIG_DFL); // the logs are gone: it ends the process, as it would have
        ::raise(signal);
    }
    errno = saved_errno;
}

/// Once and for all: whoever puts a handler of its own there later may have kept this one.
void install_handler() {
    const std::lock_guard lock(installing);
    if (is_installed) {
        return;
    }

    struct ::sigaction mine {};

    mine.sa_sigaction = on_hangup;
    mine.sa_flags = SA_SIGINFO | SA_RESTART;
    ::sigemptyset(&mine.sa_mask);
    if (::sigaction(SIGHUP, nullptr, &before) != 0 || ::sigaction(SIGHUP, &mine, nullptr) != 0) {
        throw std::system_error(errno, std::generic_category(), "cannot handle SIGHUP");
    }
    is_installed = true;
}

} // namespace

log_requests::log_requests() : fd_(make_eventfd()) {
    if (fd_ < 0) {
        throw std::system_error(errno, std::generic_category(),
                                "cannot make an eventfd for a log; ulimit -n may be too low");
    }
}

log_requests::~log_requests() {
    if (hears_hangup_) {
        for (auto& each : listeners) {
            log_requests* me = this;
            each.compare_exchange_strong(me, nullptr, std::memory_order_seq_cst);
        }
        while (handlers_running.load(std::memory_order_seq_cst) != 0) {
        }
    }
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

void log_requests::ask(std::atomic<bool>& what) noexcept {
    const int saved_errno = errno; // perhaps in a signal handler
    what.store(true, std::memory_order_seq_cst);
    const std::uint64_t one = 1;
    while (::write(fd_, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
    errno = saved_errno;
}

void log_requests::lock_for_fork() {
    installing.lock();
}

void log_requests::unlock_after_fork() {
    installing.unlock();
}

void log_requests::become_childs() noexcept {
    handlers_running.store(0, std::memory_order_relaxed); // theirs are not here
    // No handler writes to the number while it may be another file's. The parent's is closed first:
    // where the process has as many descriptors as it may, that makes the place for its own.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    if (fd_ >= 0) {
        ::close(fd_);
    }
    fd_ = make_eventfd();
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    reopen_.store(false, std::memory_order_relaxed);
    rotate_.store(false, std::memory_order_relaxed);
}

void log_requests::reopen_on_hangup() {
    install_handler();
    for (auto& each : listeners) {
        log_requests* nobody = nullptr;
        if (each.compare_exchange_strong(nobody, this, std::memory_order_seq_cst)) {
            hears_hangup_ = true;
            return;
        }
    }
    throw std::length_error("at most 64 logs can be opened anew on SIGHUP");
}

} // namespace sapwood::detail
