#include "closer.hpp"

#include <csignal>
#include <system_error>
#include <thread>
#include <utility>

namespace sapwood::collector {

void closer::add(int fd) {
    {
        const std::lock_guard lock(mutex_);
        if (open_ >= most_) {
            throw std::system_error(std::make_error_code(std::errc::too_many_files_open),
                                    "closing passed descriptors");
        }
        if (!is_running_) {
            start();
        }
        waiting_.push_back(fd);
        ++open_;
    }
    something_came_.notify_one();
}

/// Signals are others' to take. The thread is not joined: a program may end while a close waits. A
/// socket's wait the kernel lets go then; the flush of a FUSE file it waits for, and so does the
/// end of the program.
void closer::start() {
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        std::thread([this] { work(); }).detach();
        is_running_ = true;
    } catch (...) {
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        throw;
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void closer::work() {
    std::vector<int> taken;
    for (;;) {
        {
            std::unique_lock lock(mutex_);
            something_came_.wait(lock, [this] { return !waiting_.empty(); });
            std::swap(taken, waiting_);
        }
        for (const int fd : taken) {
            close_(fd);
            const std::lock_guard lock(mutex_);
            --open_;
        }
        taken.clear();
    }
}

} // namespace sapwood::collector
