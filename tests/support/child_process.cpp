#include "support/child_process.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace sapwood::test {

namespace {

struct ending {
    std::string output;
    int status = 0;
};

/// Runs `body` in a child; `body` writes to the descriptor it is given.
ending fork_and_collect(const std::function<void(int)>& body) {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) {
        throw std::system_error(errno, std::generic_category(), "pipe");
    }
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) {
        throw std::system_error(errno, std::generic_category(), "fork");
    }
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const rlimit no_core{};
        ::setrlimit(RLIMIT_CORE, &no_core);
        // doctest would report the expected abort as a failed case.
        for (const int fatal : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTERM, SIGINT}) {
            std::signal(fatal, SIG_DFL);
        }
        ::close(ends[0]);
        body(ends[1]);
        std::fflush(nullptr);
        ::_exit(0);
    }
    ::close(ends[1]);
    ending end;
    std::array<char, 4096> bytes{};
    for (;;) {
        const ssize_t got = ::read(ends[0], bytes.data(), bytes.size());
        if (got > 0) {
            end.output.append(bytes.data(), static_cast<std::size_t>(got));
        } else if (got == 0 || errno != EINTR) {
            break;
        }
    }
    ::close(ends[0]);
    while (::waitpid(child, &end.status, 0) < 0 && errno == EINTR) {
    }
    return end;
}

std::string describe(const ending& end) {
    std::string text =
        WIFSIGNALED(end.status)
            ? std::string("the child was killed by ") + ::strsignal(WTERMSIG(end.status))
            : "the child ended with exit code " + std::to_string(WEXITSTATUS(end.status));
    return end.output.empty() ? text : text + " after it wrote: " + end.output;
}

} // namespace

doctest::String last_words(const std::function<void()>& body) {
    const ending end = fork_and_collect([&](int fd) {
        ::dup2(fd, STDERR_FILENO);
        body();
    });
    const bool aborted = WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGABRT;
    return (aborted ? end.output : "no abort: " + describe(end)).c_str();
}

doctest::String in_child(const std::function<std::string()>& body) {
    const ending end = fork_and_collect([&](int fd) {
        std::string text;
        try {
            text = body();
        } catch (const std::exception& failure) {
            text = std::string("exception: ") + failure.what();
        }
        (void)!::write(fd, text.data(), text.size());
    });
    const bool exited = WIFEXITED(end.status) && WEXITSTATUS(end.status) == 0;
    return (exited ? end.output : describe(end)).c_str();
}

} // namespace sapwood::test
