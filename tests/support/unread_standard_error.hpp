// While it lives, standard error is a pipe that nobody reads but the test. Without blocking: who
// would wait for a reader fails instead. One thread.
#pragma once

#include <sapwood/owned_fd.hpp>

#include <cstddef>
#include <cstdio>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <string>
#include <unistd.h>

namespace sapwood::test {

class unread_standard_error {
  public:
    unread_standard_error() {
        std::fflush(stderr);
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
        reader_ = owned_fd(ends[0]);
        const owned_fd writer(ends[1]);
        ::dup2(writer.fd(), STDERR_FILENO);
    }

    unread_standard_error(const unread_standard_error&) = delete;
    unread_standard_error& operator=(const unread_standard_error&) = delete;

    ~unread_standard_error() { ::dup2(before_.fd(), STDERR_FILENO); }

    void fill() const {
        const std::string much(4096, '.');
        while (::write(STDERR_FILENO, much.data(), much.size()) > 0) {
        }
    }

    /// What is in the pipe.
    [[nodiscard]] std::string read() const {
        std::string found;
        char some[4096];
        for (ssize_t got; (got = ::read(reader_.fd(), some, sizeof(some))) > 0;) {
            found.append(some, static_cast<std::size_t>(got));
        }
        return found;
    }

  private:
    const owned_fd before_{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)};
    owned_fd reader_;
};

} // namespace sapwood::test
