#include "harness/server_process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

namespace bench {

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::system_error{errno, std::generic_category(), what};
}

[[noreturn]] void become(const server_process::options& what, int out) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (what.cpu >= 0) {
        run_on_cpu(what.cpu);
    }
    for (const auto& [name, value] : what.environment) {
        setenv(name.c_str(), value.c_str(), 1);
    }
    std::vector<std::string> copies = what.arguments;
    std::vector<char*> argv;
    for (std::string& argument : copies) {
        argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    dup2(out, STDOUT_FILENO);
    execvp(argv[0], argv.data());
    _exit(127);
}

// Up to the end of the line, or of all.
std::string read_line(int fd) {
    std::string line;
    for (char letter = 0; letter != '\n';) {
        const ssize_t got = read(fd, &letter, 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        line += letter;
    }
    return line;
}

std::chrono::nanoseconds cpu_time_of(pid_t pid) {
    clockid_t clock{};
    timespec time{};
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) {
        throw std::runtime_error(fmt::format("process {} is gone", pid));
    }
    return std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec};
}

} // namespace

server_process::server_process(options what) {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
        fail("cannot make a pipe");
    }
    pid_ = fork();
    if (pid_ == 0) {
        become(what, ends[1]);
    }
    const int error = errno;
    close(ends[1]);
    if (pid_ < 0) {
        close(ends[0]);
        errno = error;
        fail("cannot start " + what.arguments.front());
    }
    output_ = ends[0];
    const std::string line = read_line(output_);
    const std::size_t last = line.find_last_not_of("0123456789\n");
    const std::string digits = line.substr(last == std::string::npos ? 0 : last + 1);
    if (digits.size() < 2) {
        end();
        throw std::runtime_error(
            fmt::format("{} does not say where it listens, but: '{}'",
                        fmt::join(what.arguments.begin(), what.arguments.end(), " "), line));
    }
    port_ = static_cast<std::uint16_t>(std::stoul(digits));
}

server_process::~server_process() {
    end();
}

void server_process::end() {
    if (pid_ > 0) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    close(output_);
}

std::chrono::nanoseconds server_process::cpu_time() const {
    std::chrono::nanoseconds sum = cpu_time_of(pid_);
    std::ifstream children{fmt::format("/proc/{0}/task/{0}/children", pid_)};
    for (pid_t child = 0; children >> child;) {
        sum += cpu_time_of(child);
    }
    return sum;
}

std::uint64_t server_process::private_bytes() const {
    const std::string path = fmt::format("/proc/{}/smaps_rollup", pid_);
    std::ifstream file{path};
    std::uint64_t sum = 0;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:")) {
            sum += std::stoull(line.substr(line.find(':') + 1)) * 1024;
        }
    }
    if (sum == 0) {
        throw std::runtime_error("the kernel does not tell the private memory in " + path);
    }
    return sum;
}

cpu_usage server_process::stop() {
    kill(pid_, SIGTERM);
    rusage usage{};
    while (wait4(pid_, nullptr, 0, &usage) < 0) {
        if (errno != EINTR) {
            fail("cannot wait for a server");
        }
    }
    pid_ = -1;
    const auto duration = [](const timeval& time) {
        return std::chrono::seconds{time.tv_sec} + std::chrono::microseconds{time.tv_usec};
    };
    return {.user = duration(usage.ru_utime), .system = duration(usage.ru_stime)};
}

std::pair<int, int> two_cpus() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof allowed, &allowed);
    std::vector<int> cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(static_cast<unsigned>(cpu), &allowed)) {
            cpus.push_back(cpu);
        }
    }
    return {cpus.front(), cpus.back()};
}

void run_on_cpu(int cpu) {
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(static_cast<unsigned>(cpu), &only);
    sched_setaffinity(0, sizeof only, &only);
}

void allow_descriptors(std::uint64_t wanted) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= wanted) {
        return;
    }
    limit.rlim_cur = wanted;
    limit.rlim_max = std::max<rlim_t>(limit.rlim_max, wanted); // For root only.
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        fail(fmt::format("this needs {} descriptors: raise the limit with `ulimit -n`", wanted));
    }
}

} // namespace bench
