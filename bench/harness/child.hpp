// A child process: a program run to its end, with what it printed and what it cost.
//
// For the process' only thread. Ctrl-C and SIGTERM reach the parent as the exception `interrupted`
// after the child is gone, so destructors clean up; see `interrupts`.
#pragma once

#include <chrono>
#include <exception>
#include <string>
#include <vector>

namespace bench {

class interrupted : public std::exception {
  public:
    [[nodiscard]] const char* what() const noexcept override { return "interrupted"; }
};

// While it lives, SIGINT and SIGTERM are taken only where somebody looks: in run_child and check.
class interrupts {
  public:
    interrupts();
    ~interrupts();
    interrupts(const interrupts&) = delete;
    interrupts& operator=(const interrupts&) = delete;

    // Throws `interrupted` if one of the signals has arrived.
    void check() const;

    [[nodiscard]] int fd() const { return fd_; }

  private:
    int fd_;
};

struct child_result {
    std::string output; // Everything it wrote to stdout.
    std::chrono::microseconds user{};
    std::chrono::microseconds system{};
};

// Runs arguments[0] (looked up in PATH) and waits for it. Its stderr is ours.
// Throws std::runtime_error if it fails, std::system_error if it cannot be run, `interrupted` after
// having killed it if a signal comes first.
[[nodiscard]] child_result run_child(const std::vector<std::string>& arguments,
                                     const interrupts& signals);

} // namespace bench
