// A collector in the test's own loop, on sockets of its own, and a client that says and hears
// bytes.
#pragma once

#include "support/sockets.hpp"
#include "support/temporary_directory.hpp"

#include <collector/collector.hpp>

#include <sapwood/spawn.hpp>
#include <sapwood/tcp.hpp>

#include <fmt/format.h>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sapwood::test {

/// end() must be awaited.
class served {
  public:
    explicit served(collector::collector_options options = {}) : options_(std::move(options)) {
        if (options_.logs.empty()) {
            collector::named_log_options log;
            log.name = "app";
            log.path = directory / "app.log";
            options_.logs.push_back(std::move(log));
        }
        if (options_.listeners.empty()) {
            options_.listeners.emplace_back().at = loopback();
        }
    }

    task<> begin() {
        it = co_await collector::collector::open(options_);
        running_ = spawn(it->run());
    }

    /// Drains it.
    task<> end() {
        it->stop();
        co_await running_;
    }

    /// What the collector says to `request`, whose sender then ends its side.
    task<std::string> exchange(std::string request, std::size_t listener = 0) {
        auto client = co_await tcp_stream::connect(it->endpoints().at(listener));
        co_await client.write_all(std::string_view(request));
        co_await client.shutdown_write();
        co_return co_await read_to_end(client);
    }

    /// POSTs `body` as JSON to `target`.
    task<std::string> post(std::string body, std::string target = "/log", std::string fields = "") {
        return exchange(post_of(body, target, fields));
    }

    static std::string post_of(std::string_view body, std::string_view target = "/log",
                               std::string_view fields = "") {
        return fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{}\r\n{}",
                           target, body.size(), fields, body);
    }

    /// The log's lines, each from its bracket on; of another form, whole.
    [[nodiscard]] std::vector<std::string> lines(const std::string& name = "app.log") const {
        std::vector<std::string> found;
        std::string text = contents_of(directory / name);
        std::size_t begin = 0;
        for (auto end = text.find('\n'); end != text.npos; end = text.find('\n', begin)) {
            const std::string line = text.substr(begin, end - begin);
            const auto bracket = line.find(" [");
            found.push_back(
                line.substr(line.front() == '{' || bracket == line.npos ? 0 : bracket + 1));
            begin = end + 1;
        }
        return found;
    }

    /// What stands behind the bracket in each line.
    [[nodiscard]] std::vector<std::string> records(const std::string& name = "app.log") const {
        std::vector<std::string> found;
        for (const std::string& line : lines(name)) {
            found.push_back(line.substr(line.find("] ") + 2));
        }
        return found;
    }

    temporary_directory directory;
    std::unique_ptr<collector::collector> it;

  private:
    collector::collector_options options_;
    join_handle<void> running_;
};

/// The status of the first answer; 0 where there is none.
inline int status_of(std::string_view answer) {
    constexpr std::string_view version = "HTTP/1.1 ";
    if (!answer.starts_with(version)) {
        return 0;
    }
    return std::stoi(std::string(answer.substr(version.size(), 3)));
}

inline std::size_t count_of(std::string_view text, std::string_view what) {
    std::size_t count = 0;
    for (auto at = text.find(what); at != text.npos; at = text.find(what, at + what.size())) {
        ++count;
    }
    return count;
}

inline bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

} // namespace sapwood::test
