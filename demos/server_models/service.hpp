// What the models have in common: the service itself, where it listens, how it is told to stop.
// A model is a function that serves until Ctrl-C or SIGTERM and leaves nobody behind.
#pragma once

#include "../print_line.hpp"

#include <cstddef>
#include <fmt/format.h>
#include <span>
#include <string>
#include <utility>

namespace server_models {

/// The most that is read at once, and so the most that a client who does not read its answers
/// makes the server keep.
inline constexpr std::size_t message_bytes_max = std::size_t{16} * 1024;

struct service {
    std::string host;
    std::uint16_t port = 0;
    /// Says only where it listens.
    bool is_quiet = false;
    /// The answer is the message as it is: for who measures the models, not the service.
    bool is_unchanged = false;

    /// Makes the answer of the message, in place: upper case, ASCII only, whatever the locale.
    void answer(std::span<char> message) const noexcept;

    template <class... Args>
    void say(fmt::format_string<Args...> format, Args&&... args) const {
        if (!is_quiet) {
            print_line(format, std::forward<Args>(args)...);
        }
    }
};

/// The models. Each throws std::system_error where it cannot serve at all.
void serve_by_processes(const service& what);
void serve_by_threads(const service& what);
void serve_by_select(const service& what);
void serve_by_poll(const service& what);
void serve_by_epoll(const service& what);
void serve_by_sapwood(const service& what);

} // namespace server_models
