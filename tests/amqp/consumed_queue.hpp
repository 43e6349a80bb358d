// What tests of a queue that a collector consumes begin with.
#pragma once

#include "collector/served.hpp"
#include "fake_broker.hpp"

#include <csignal>
#include <fmt/format.h>
#include <fstream>
#include <string>
#include <sys/resource.h>
#include <utility>
#include <vector>

namespace sapwood::test {

inline std::string url_of(const fake_broker& broker) {
    return fmt::format("amqp://guest:secret@127.0.0.1:{}/", broker.options().to.hosts[0].port);
}

/// Of the log `app` in `directory`.
inline collector::collector_options
consuming(const fake_broker& broker, const std::string& directory,
          collector::log_form form = collector::log_form::text) {
    collector::collector_options options;
    auto& log = options.logs.emplace_back();
    log.name = "app";
    log.path = directory + "/app.log";
    log.form = form;
    auto& queue = options.queues.emplace_back();
    queue.url = url_of(broker);
    queue.queue = "logs";
    return options;
}

/// The log's lines, from the source on.
inline std::vector<std::string> lines_in(const std::string& directory) {
    std::vector<std::string> found;
    std::ifstream log(directory + "/app.log");
    for (std::string line; std::getline(log, line);) {
        const auto source = line.find("amqp ");
        found.push_back(source == line.npos ? line : line.substr(source));
    }
    return found;
}

/// How many messages were acknowledged.
inline std::size_t done(fake_broker& broker) {
    return broker.queues["logs"].done.size();
}

/// While it lives, no file becomes longer.
class limited_files {
  public:
    explicit limited_files(rlim_t bytes) {
        (void)std::signal(SIGXFSZ, SIG_IGN);
        (void)::getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit small{bytes, before_.rlim_max};
        (void)::setrlimit(RLIMIT_FSIZE, &small);
    }

    limited_files(const limited_files&) = delete;
    limited_files& operator=(const limited_files&) = delete;

    ~limited_files() { (void)::setrlimit(RLIMIT_FSIZE, &before_); }

  private:
    rlimit before_{};
};

} // namespace sapwood::test
