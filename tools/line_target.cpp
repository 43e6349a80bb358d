#include "send_target.hpp"

#include <sapwood/connect.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/unix_socket.hpp>

#include <cerrno>
#include <chrono>
#include <fmt/format.h>
#include <stdexcept>
#include <sys/socket.h>
#include <system_error>
#include <utility>

namespace sapwood::tools {

namespace {

using namespace std::chrono_literals;

/// A peer that reads to the end and keeps the connection has been told; nothing more can be known.
constexpr auto end_within = 2s;

/// Whether the other side has ended the stream, or has broken it off.
bool is_ended(const stream& peer) noexcept {
    char byte = 0;
    const ssize_t got = ::recv(peer.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

template <class Stream>
class line_target : public send_target {
  public:
    task<send_answer> send(std::string_view batch) override {
        try {
            if (peer_.is_open() && is_ended(peer_)) {
                peer_ = {};
            }
            if (!peer_.is_open()) {
                peer_ = co_await timeout(connect_within, connect());
            }
            co_await peer_.write_all(batch);
        } catch (const std::system_error& error) {
            peer_ = {};
            co_return send_answer(send_answer::kind::again, error.what());
        }
        co_return send_answer(send_answer::kind::taken);
    }

    task<send_answer> finish() override {
        if (!peer_.is_open()) {
            co_return send_answer(send_answer::kind::taken);
        }
        try {
            co_await peer_.shutdown_write();
            char ignored[256];
            co_await timeout(end_within, [&]() -> task<> {
                while (co_await peer_.read_some(ignored) > 0) {
                }
            });
        } catch (const std::system_error& error) {
            if (error.code() != std::errc::timed_out) {
                peer_ = {};
                co_return send_answer(
                    send_answer::kind::hopeless,
                    fmt::format("the connection broke at its end, and what was under way may be "
                                "lost: {}",
                                error.what()));
            }
        }
        peer_ = {};
        co_return send_answer(send_answer::kind::taken);
    }

    [[nodiscard]] bool is_acknowledged() const noexcept override { return false; }

  protected:
    [[nodiscard]] virtual task<Stream> connect() = 0;

  private:
    Stream peer_;
};

class unix_lines final : public line_target<unix_stream> {
  public:
    explicit unix_lines(const std::string& path) : place_(unix_place(path)) {}

  protected:
    task<unix_stream> connect() override { return unix_stream::connect(place_); }

  private:
    endpoint place_;
};

class tcp_lines final : public line_target<tcp_stream> {
  public:
    explicit tcp_lines(std::string_view place) : place_(parse_host_and_port(place)) {}

  protected:
    task<tcp_stream> connect() override { return connect_to(place_.host, place_.port); }

  private:
    host_and_port place_;
};

} // namespace

endpoint unix_place(std::string_view path) {
    if (path.starts_with('@')) {
        return endpoint::unix_abstract(path.substr(1));
    }
    return endpoint::unix_path(path);
}

host_and_port parse_host_and_port(std::string_view place) {
    const std::size_t colon = place.rfind(':');
    host_and_port found;
    if (colon != place.npos) {
        found = {std::string(place.substr(0, colon)), std::string(place.substr(colon + 1))};
    }
    if (found.host.starts_with('[') && found.host.ends_with(']')) {
        found.host = found.host.substr(1, found.host.size() - 2);
    } else if (found.host.find(':') != found.host.npos) {
        found.host.clear(); // an address of IPv6 without brackets
    }
    if (found.host.empty() || found.port.empty()) {
        throw std::invalid_argument(
            fmt::format("'{}' is no place: give HOST:PORT, or [ADDRESS]:PORT of IPv6", place));
    }
    return found;
}

std::unique_ptr<send_target> make_unix_lines(const std::string& path) {
    return std::make_unique<unix_lines>(path);
}

std::unique_ptr<send_target> make_tcp_lines(const std::string& place) {
    return std::make_unique<tcp_lines>(place);
}

} // namespace sapwood::tools
