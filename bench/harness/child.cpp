#include "harness/child.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

namespace bench {

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::system_error{errno, std::generic_category(), what};
}

sigset_t stop_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

// Kills and reaps its process unless somebody waited for it.
class process {
  public:
    explicit process(pid_t pid) : pid_{pid} {}

    ~process() {
        if (pid_ > 0) {
            kill(pid_, SIGKILL);
            waitpid(pid_, nullptr, 0);
        }
    }

    process(const process&) = delete;
    process& operator=(const process&) = delete;

    int wait(rusage& usage) {
        int status = 0;
        while (wait4(pid_, &status, 0, &usage) < 0) {
            if (errno != EINTR) {
                fail("cannot wait for a child process");
            }
        }
        pid_ = -1;
        return status;
    }

  private:
    pid_t pid_;
};

class owned_fd {
  public:
    explicit owned_fd(int fd) : fd_{fd} {}

    ~owned_fd() { reset(); }

    owned_fd(const owned_fd&) = delete;
    owned_fd& operator=(const owned_fd&) = delete;

    [[nodiscard]] int get() const { return fd_; }

    void reset() {
        if (fd_ >= 0) {
            close(fd_);
            fd_ = -1;
        }
    }

  private:
    int fd_;
};

[[noreturn]] void become(std::vector<char*>& argv, int out) {
    const sigset_t set = stop_signals();
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
    prctl(PR_SET_PDEATHSIG, SIGKILL); // A killed bench leaves nobody writing behind.
    dup2(out, STDOUT_FILENO);
    execvp(argv[0], argv.data());
    _exit(127);
}

std::chrono::microseconds to_duration(const timeval& time) {
    return std::chrono::seconds{time.tv_sec} + std::chrono::microseconds{time.tv_usec};
}

// Everything the child writes until it closes its end.
std::string read_output(int fd, const interrupts& signals) {
    std::string output;
    for (;;) {
        std::array<pollfd, 2> polled{
            {{.fd = fd, .events = POLLIN, .revents = 0},
             {.fd = signals.fd(), .events = POLLIN, .revents = 0}},
        };
        if (poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) {
            fail("cannot poll a child process");
        }
        signals.check();
        if (polled[0].revents == 0) {
            continue;
        }
        std::array<char, 4096> buffer{};
        const ssize_t size = read(fd, buffer.data(), buffer.size());
        if (size == 0) {
            return output;
        }
        if (size < 0 && errno != EINTR) {
            fail("cannot read what a child process printed");
        }
        if (size > 0) {
            output.append(buffer.data(), static_cast<std::size_t>(size));
        }
    }
}

} // namespace

interrupts::interrupts() {
    const sigset_t set = stop_signals();
    sigprocmask(SIG_BLOCK, &set, nullptr);
    fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd_ < 0) {
        fail("cannot watch for Ctrl-C");
    }
}

interrupts::~interrupts() {
    const sigset_t set = stop_signals();
    close(fd_);
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

void interrupts::check() const {
    signalfd_siginfo info{};
    if (read(fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        throw interrupted{};
    }
}

child_result run_child(const std::vector<std::string>& arguments, const interrupts& signals) {
    std::vector<std::string> copies = arguments;
    std::vector<char*> argv;
    for (std::string& argument : copies) {
        argv.push_back(argument.data());
    }
    argv.push_back(nullptr);

    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
        fail("cannot make a pipe");
    }
    const owned_fd ours{ends[0]};
    owned_fd theirs{ends[1]};

    const pid_t pid = fork();
    if (pid < 0) {
        fail("cannot start " + arguments.front());
    }
    if (pid == 0) {
        become(argv, theirs.get());
    }
    process child{pid};
    theirs.reset();

    child_result result;
    result.output = read_output(ours.get(), signals);
    rusage usage{};
    const int status = child.wait(usage);
    signals.check(); // The terminal sends Ctrl-C to both: it was no failure of the child.
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        const std::string how = WIFEXITED(status)
                                    ? fmt::format("exited with {}", WEXITSTATUS(status))
                                    : fmt::format("was ended by signal {}", WTERMSIG(status));
        std::string command;
        for (const std::string& argument : arguments) {
            command += argument + ' ';
        }
        throw std::runtime_error(command + how);
    }
    result.user = to_duration(usage.ru_utime);
    result.system = to_duration(usage.ru_stime);
    return result;
}

} // namespace bench
