// What a simulated process says on standard error, a line of its log's disk mostly, is not about
// the machine that plays it: while a seed is played it goes into memory. One at a time, one thread.
#pragma once

#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace sapwood::simulation {

class captured_standard_error {
  public:
    /// Where memory or descriptors are missing, nothing is captured.
    captured_standard_error()
        : before_(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)),
          said_(before_ >= 0 ? ::memfd_create("standard error", MFD_CLOEXEC) : -1) {
        if (said_ >= 0) {
            ::dup2(said_, STDERR_FILENO);
            current_ = this;
        }
    }

    captured_standard_error(const captured_standard_error&) = delete;
    captured_standard_error& operator=(const captured_standard_error&) = delete;

    ~captured_standard_error() {
        give_back();
        for (const int fd : {said_, before_}) {
            if (fd >= 0) {
                ::close(fd);
            }
        }
    }

    [[nodiscard]] std::string text() const {
        std::string all;
        char piece[4096];
        ssize_t got = 0;
        while (said_ >= 0 &&
               (got = ::pread(said_, piece, sizeof(piece), static_cast<off_t>(all.size()))) > 0) {
            all.append(piece, static_cast<std::size_t>(got));
        }
        return all;
    }

    /// For the handler of a signal that ends the program: standard error is what it was, and has
    /// what was captured, an assertion's message for one. Only calls that handlers may make.
    static void release() noexcept {
        if (current_ == nullptr) {
            return;
        }
        captured_standard_error& ending = *current_;
        ending.give_back();
        char piece[4096];
        off_t at = 0;
        ssize_t got = 0;
        while ((got = ::pread(ending.said_, piece, sizeof(piece), at)) > 0) {
            at += got;
            if (::write(STDERR_FILENO, piece, static_cast<std::size_t>(got)) < 0) {
                return;
            }
        }
    }

  private:
    void give_back() noexcept {
        if (current_ == this) {
            ::dup2(before_, STDERR_FILENO);
            current_ = nullptr;
        }
    }

    static inline captured_standard_error* volatile current_ = nullptr;

    const int before_;
    const int said_;
};

} // namespace sapwood::simulation
