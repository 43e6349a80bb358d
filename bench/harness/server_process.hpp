// A server to be measured: a program in a process of its own, on a CPU of its own, that tells its
// port and runs until it is stopped. It ends when this process does. For the only thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace bench {

struct cpu_usage {
    std::chrono::microseconds user{};
    std::chrono::microseconds system{};
};

class server_process {
  public:
    struct options {
        std::vector<std::string> arguments; // The program and what it is told.
        std::vector<std::pair<std::string, std::string>> environment;
        int cpu = -1; // -1 for any.
    };

    // Waits for the first line that it prints; the number at the end of it is the port. Throws
    // std::runtime_error where there is none, std::system_error where it cannot be started.
    explicit server_process(options what);
    server_process(const server_process&) = delete;
    server_process& operator=(const server_process&) = delete;
    ~server_process(); // Kills it.

    [[nodiscard]] std::uint16_t port() const { return port_; }

    [[nodiscard]] pid_t pid() const { return pid_; }

    // CPU time until now, of all its threads and of its children that live. To the nanosecond.
    [[nodiscard]] std::chrono::nanoseconds cpu_time() const;

    // Private memory in bytes, as /proc/<pid>/smaps_rollup has it: without what the kernel has for
    // it, and without pages shared with others.
    [[nodiscard]] std::uint64_t private_bytes() const;

    // Ends it, and tells what it and its children used in all their life. How much of it was user's
    // the kernel samples, 250 times a second on most: add up what several runs say.
    cpu_usage stop();

  private:
    void end();

    pid_t pid_ = -1;
    int output_ = -1; // What it prints; nobody reads on after the first line.
    std::uint16_t port_ = 0;
};

// Two CPUs that this process may use, for a server and for who loads it; the same one twice where
// there is no other.
[[nodiscard]] std::pair<int, int> two_cpus();

// From now on this thread runs there only.
void run_on_cpu(int cpu);

// So that this process, and those it starts, may have so many descriptors. Throws
// std::system_error where that is not allowed.
void allow_descriptors(std::uint64_t wanted);

} // namespace bench
