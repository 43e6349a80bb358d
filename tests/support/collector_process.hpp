// `sapwood serve` in a process of its own, which may be killed and started again on the same log,
// at the same port and the same path of a Unix socket. Nobody else gets the port meanwhile.
#pragma once

#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/endpoint.hpp>

#include <memory>
#include <string>
#include <vector>

namespace sapwood::test {

class collector_process {
  public:
    /// `more` are options besides those for the log and for the two places of HTTP.
    explicit collector_process(std::string log, std::vector<std::string> more = {});
    collector_process(const collector_process&) = delete;
    collector_process& operator=(const collector_process&) = delete;
    ~collector_process();

    /// It listens when this returns. Throws std::runtime_error, with what it has said, where it
    /// does not come to that.
    void start();

    void signal(int number) const { process_->signal(number); }

    /// Waits for its end.
    program::outcome wait();

    /// SIGKILL.
    void kill();

    /// SIGTERM.
    program::outcome stop();

    [[nodiscard]] const std::string& log() const noexcept { return log_; }

    [[nodiscard]] endpoint tcp() const { return endpoint::parse(place_); }

    [[nodiscard]] endpoint unix_socket() const { return endpoint::unix_path(path_); }

    [[nodiscard]] program& process() noexcept { return *process_; }

  private:
    temporary_directory directory_;
    const std::string log_;
    const std::string path_ = directory_ / "http";
    std::string place_;
    std::vector<std::string> more_;
    /// Bound to the port, so that it is nobody's who wants any.
    int reserved_ = -1;
    std::unique_ptr<program> process_;
};

} // namespace sapwood::test
