#include "passed_descriptors.hpp"

#include <condition_variable>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sapwood::collector {

namespace {

#ifdef SO_PASSRIGHTS
constexpr int pass_rights = SO_PASSRIGHTS;
#else
constexpr int pass_rights = 83; // Linux 6.16
#endif

/// More do not wait to be closed: a close that waits must not have all of a process's descriptors
/// wait for it.
constexpr std::size_t waiting_most = 1024;

/// Closes what it is given, in its time, on a thread that is there from the first one on. It is not
/// joined: a program may end while a close waits. A socket's wait the kernel lets go then; the
/// flush of a FUSE file it waits for, and so does the end of the program.
class closer {
  public:
    /// Throws std::bad_alloc, and std::system_error where there is no thread, or too many wait.
    void add(int fd) {
        {
            const std::lock_guard lock(mutex_);
            if (waiting_.size() >= waiting_most) {
                throw std::system_error(std::make_error_code(std::errc::too_many_files_open),
                                        "closing passed descriptors");
            }
            if (!is_running_) {
                start();
            }
            waiting_.push_back(fd);
        }
        something_came_.notify_one();
    }

  private:
    /// Signals are others' to take.
    void start() {
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

    [[noreturn]] void work() {
        std::vector<int> taken;
        for (;;) {
            {
                std::unique_lock lock(mutex_);
                something_came_.wait(lock, [this] { return !waiting_.empty(); });
                std::swap(taken, waiting_);
            }
            for (const int fd : taken) {
                ::close(fd);
            }
            taken.clear();
        }
    }

    std::mutex mutex_;
    std::condition_variable something_came_;
    std::vector<int> waiting_;
    bool is_running_ = false;
};

void close_elsewhere(int fd) noexcept {
    // A socket's close does not wait for its peer then: what was to be sent is the sender's.
    constexpr linger none{.l_onoff = 0, .l_linger = 0};
    (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    try {
        static closer& one = *new closer; // its thread is never joined
        one.add(fd);
    } catch (const std::exception&) {
        ::close(fd);
    }
}

} // namespace

void refuse_descriptors(int fd) noexcept {
    constexpr int no = 0;
    (void)::setsockopt(fd, SOL_SOCKET, pass_rights, &no, sizeof(no));
}

void close_descriptors(const msghdr& message) noexcept {
    for (auto* at = CMSG_FIRSTHDR(&message); at != nullptr;
         at = CMSG_NXTHDR(const_cast<msghdr*>(&message), at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const std::size_t bytes = at->cmsg_len - CMSG_LEN(0);
        for (std::size_t i = 0; i + sizeof(int) <= bytes; i += sizeof(int)) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(at) + i, sizeof(fd));
            close_elsewhere(fd);
        }
    }
}

} // namespace sapwood::collector
