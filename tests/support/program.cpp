#include "support/program.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace sapwood::test {

namespace {

using namespace std::chrono_literals;

std::string path_of(const std::string& name) {
    std::string variable = "SAPWOOD_PROGRAM_" + name;
    std::transform(variable.begin(), variable.end(), variable.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    const char* const path = std::getenv(variable.c_str());
    if (path == nullptr) {
        throw std::runtime_error(variable + " does not say where the program is: run the tests "
                                            "with ./dev test or meson test");
    }
    return path;
}

int open_for_output(const std::string& path) {
    return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

/// Between two looks at another process.
void pause_shortly() {
    ::poll(nullptr, 0, 2);
}

} // namespace

program::program(const std::string& name, std::vector<std::string> arguments, const streams& with) {
    const std::string path = path_of(name);
    std::vector<char*> argv{const_cast<char*>(path.c_str())};
    for (auto& argument : arguments) {
        argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    const int in = with.in >= 0 ? with.in : ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    const int out = open_for_output(directory_ / "out");
    const int err = with.err >= 0 ? with.err : open_for_output(directory_ / "err");
    pid_ = ::fork();
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::dup2(in, STDIN_FILENO);
        ::dup2(out, STDOUT_FILENO);
        ::dup2(err, STDERR_FILENO);
        if (with.prepare) {
            with.prepare();
        }
        ::execv(path.c_str(), argv.data());
        ::_exit(127);
    }
    const int error = errno;
    if (with.in < 0) {
        ::close(in);
    }
    ::close(out);
    if (with.err < 0) {
        ::close(err);
    }
    if (pid_ < 0) {
        throw std::system_error(error, std::generic_category(), "fork");
    }
}

program::~program() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
}

void program::signal(int number) const {
    ::kill(pid_, number);
}

program::outcome program::wait() {
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    int status = 0;
    for (;;) {
        const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
        if (ended == pid_) {
            break;
        }
        if (std::chrono::steady_clock::now() > deadline) {
            ::kill(pid_, SIGKILL);
        }
        pause_shortly();
    }
    pid_ = -1;
    return {.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status),
            .out = contents_of(directory_ / "out"),
            .err = contents_of(directory_ / "err")};
}

program::outcome run_program(const std::string& name, std::vector<std::string> arguments) {
    return program(name, std::move(arguments)).wait();
}

program::outcome run_program(const std::string& name, std::vector<std::string> arguments,
                             const program::streams& with) {
    return program(name, std::move(arguments), with).wait();
}

void eventually(const std::function<bool()>& holds) {
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    while (!holds()) {
        REQUIRE(std::chrono::steady_clock::now() < deadline);
        pause_shortly();
    }
}

} // namespace sapwood::test
