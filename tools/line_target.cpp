#include "secured_peer.hpp"
#include "send_target.hpp"

#include <sapwood/connect.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/unix_socket.hpp>
#include <sapwood/words_of.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <fmt/format.h>
#include <linux/sockios.h>
#include <memory>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <system_error>
#include <type_traits>
#include <utility>

namespace sapwood::tools {

namespace {

using namespace std::chrono_literals;

enum class peer_state : std::uint8_t {
    open,
    /// It has read all, and ended the stream.
    done,
    /// It has ended the stream, and not read all, or nobody knows.
    broken,
};

/// What was written and has not arrived. Of a Unix socket that is what the other side has not read;
/// of TCP what its system has not taken, and what that has may be unread all the same.
bool has_outstanding(int fd) noexcept {
    int bytes = 0;
    return ::ioctl(fd, SIOCOUTQ, &bytes) != 0 || bytes != 0;
}

/// Of a connection whose other side has ended its stream.
peer_state state_at_end(int fd) noexcept {
    int error = 0;
    socklen_t size = sizeof(error);
    const bool is_known = ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0;
    return is_known && error == 0 && !has_outstanding(fd) ? peer_state::done : peer_state::broken;
}

peer_state state_of(int fd) noexcept {
    char byte = 0;
    const ssize_t got = ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) {
        return peer_state::open;
    }
    // A peer of TCP that closes with unread bytes resets the connection, and one of a Unix socket
    // as well. Where its end came before, only the error that is still pending tells.
    return got == 0 ? state_at_end(fd) : peer_state::broken;
}

/// Whether the other side has ended the stream beneath TLS, whatever stands before that end.
bool has_ended(int fd) noexcept {
    pollfd asked{.fd = fd, .events = POLLRDHUP, .revents = 0};
    return ::poll(&asked, 1, 0) == 1;
}

/// What the other side speaks instead of listening to lines, by the first bytes that it says, and
/// what to do; empty where that is not to be seen. Who takes lines says nothing.
std::string_view language_of(std::string_view said) noexcept {
    if (said.starts_with("\x15\x03") || said.starts_with("\x16\x03")) { // an alert, a handshake
        return "the other side speaks TLS: is that a port for TLS? say --tls";
    }
    if (said.starts_with("HTTP/1.")) {
        return "the other side speaks HTTP: say --http";
    }
    return {};
}

/// Of a stream that was to be written to, or ended, or read.
bool is_reset(const std::error_code& why) noexcept {
    return why == std::errc::connection_reset || why == std::errc::not_connected ||
           why == std::errc::broken_pipe;
}

bool has_failed(int fd) noexcept {
    pollfd asked{.fd = fd, .events = 0, .revents = 0};
    return ::poll(&asked, 1, 0) == 1 && (asked.revents & POLLERR) != 0;
}

template <class Stream>
class line_target : public send_target {
  public:
    explicit line_target(clock::duration end_within) noexcept : end_within_(end_within) {}

    task<send_answer> send(std::string_view batch, std::uint64_t records) override {
        bool is_begun = false;
        if (const std::string_view wrong = peer_.is_open() ? heard() : ""; !wrong.empty()) {
            lost_ += unsure_;
            drop();
            co_return send_answer(send_answer::kind::hopeless, std::string(wrong));
        }
        try {
            if (peer_.is_open()) {
                co_await look_at_peer();
            }
            if (!peer_.is_open()) {
                peer_ = co_await connect();
            }
            is_begun = true;
            co_await peer_.write_all(batch);
        } catch (const std::system_error& error) {
            // EPIPE of a Unix socket alone leaves in doubt whether something was lost.
            const bool is_mere_end = std::is_same_v<Stream, unix_stream> &&
                                     error.code() == std::errc::broken_pipe &&
                                     state_of(peer_.fd()) == peer_state::done;
            lost_ += is_mere_end ? 0 : unsure_;
            drop();
            using kind = send_answer::kind;
            send_answer answer(is_hopeless(error.code()) ? kind::hopeless : kind::again,
                               words_of(error));
            answer.is_doubtful = is_begun;
            co_return answer;
        } catch (const cancelled&) {
            drop(); // a part of the batch may be written
            throw;
        }
        unsure_ += records;
        co_return send_answer(send_answer::kind::taken);
    }

    task<send_answer> finish() override {
        if (!peer_.is_open()) {
            co_return send_answer(send_answer::kind::taken);
        }
        try {
            if constexpr (is_secured) {
                co_await timeout(end_within_, end()); // what it says may wait for room
                co_await arrive();
            } else {
                co_await say_end();
                co_await timeout(end_within_, read_to_end());
            }
            if (const std::string_view wrong = language_of(said_); !wrong.empty()) {
                lost_ += unsure_;
                drop();
                co_return send_answer(send_answer::kind::hopeless, std::string(wrong));
            }
            if (state_at_end(peer_.fd()) == peer_state::broken) {
                lost_ += unsure_;
            }
        } catch (const std::system_error& error) {
            const bool is_late =
                error.code() == std::errc::timed_out && is_end_sent_ && language_of(said_).empty();
            send_answer answer = is_late ? answer_of_late_end() : answer_of_broken_end(error);
            drop();
            co_return answer;
        }
        drop();
        co_return send_answer(send_answer::kind::taken);
    }

    [[nodiscard]] bool is_acknowledged() const noexcept override { return false; }

    [[nodiscard]] std::uint64_t may_be_lost() const noexcept override { return lost_; }

  protected:
    /// In time.
    [[nodiscard]] virtual task<Stream> connect() = 0;

  private:
    static constexpr bool is_secured = std::is_same_v<Stream, secured_peer>;
    static constexpr std::size_t language_bytes = 16;

    task<> say_end() {
        co_await peer_.shutdown_write();
        is_end_sent_ = true;
    }

    /// Says the end, and waits for the other side's.
    task<> end() {
        co_await say_end();
        co_await read_to_end();
    }

    [[nodiscard]] send_answer answer_of_broken_end(const std::system_error& error) {
        lost_ += unsure_;
        const std::string_view wrong = said_.empty() ? heard() : language_of(said_);
        return send_answer(send_answer::kind::hopeless,
                           !wrong.empty() ? std::string(wrong)
                                          : fmt::format("the connection broke at its end ({}){}",
                                                        error.what(), advice_at(error.code())));
    }

    /// The other side was told that there is no more, and keeps the connection.
    [[nodiscard]] send_answer answer_of_late_end() {
        const double seconds = std::chrono::duration<double>(end_within_).count();
        if (has_outstanding(peer_.fd())) {
            lost_ += unsure_;
            return send_answer(
                send_answer::kind::hopeless,
                fmt::format("the other side did not take everything within {:g} seconds of the end",
                            seconds));
        }
        if (std::is_same_v<Stream, unix_stream>) {
            return send_answer(send_answer::kind::taken); // it has read all
        }
        return send_answer(
            send_answer::kind::taken,
            fmt::format("the other side's system has everything; that its program has read it is "
                        "not known, since it did not end the connection within {:g} seconds",
                        seconds));
    }

    /// Under TLS the other side may have ended before it has our end, or has said that it has.
    task<> arrive() {
        for (int i = 0; i < 100 && has_outstanding(peer_.fd()) && !has_failed(peer_.fd()); ++i) {
            co_await sleep_for(10ms);
        }
    }

    /// Of what the other side says only the beginning is looked at.
    task<> read_to_end() {
        char piece[256];
        for (;;) {
            const std::size_t bytes = co_await peer_.read_some(piece);
            if (bytes == 0) {
                co_return;
            }
            if constexpr (!is_secured) {
                said_.append(piece, said_.size() < language_bytes ? bytes : 0);
            }
        }
    }

    /// What has come and is not read is a language that is none of lines.
    [[nodiscard]] std::string_view heard() const noexcept {
        if constexpr (!is_secured) {
            char said[language_bytes];
            int bytes = 0;
            // Without any, recv() would take the error that is pending, which state_of() needs.
            if (::ioctl(peer_.fd(), SIOCINQ, &bytes) == 0 && bytes > 0) {
                const ssize_t got = ::recv(peer_.fd(), said, sizeof(said), MSG_PEEK | MSG_DONTWAIT);
                return language_of({said, got > 0 ? static_cast<std::size_t>(got) : 0});
            }
        }
        return {};
    }

    /// A collector resets whom it does not let in, and also what it closes unread.
    [[nodiscard]] static std::string_view advice_at(const std::error_code& end) noexcept {
        return std::is_same_v<Stream, tcp_stream> && is_reset(end)
                   ? "; is that a port for TLS? (--tls)"
                   : "";
    }

    /// Drops a connection that the other side has ended, and counts what it may not have read.
    /// Under TLS its end may have a reason, which is thrown.
    task<> look_at_peer() {
        peer_state state = peer_state::open;
        if constexpr (is_secured) {
            if (has_ended(peer_.fd())) {
                co_await read_to_end();
                state = state_at_end(peer_.fd());
            }
        } else {
            state = state_of(peer_.fd());
        }
        switch (state) {
        case peer_state::open:
            if (std::is_same_v<Stream, unix_stream> && !has_outstanding(peer_.fd())) {
                unsure_ = 0; // it has read all
            }
            co_return;
        case peer_state::broken:
            lost_ += unsure_;
            break;
        case peer_state::done:
            break;
        }
        drop();
    }

    void drop() {
        peer_ = {};
        unsure_ = 0;
        is_end_sent_ = false;
        said_.clear();
    }

    /// For a peer that has been told of the end to end the connection, too, which says that it has
    /// read everything. One that keeps it tells no more.
    const clock::duration end_within_;
    Stream peer_;
    /// Records that were sent by this connection, and are not known to have been read.
    std::uint64_t unsure_ = 0;
    bool is_end_sent_ = false;
    /// By the other side, at the end, in plain text: its beginning.
    std::string said_;
    std::uint64_t lost_ = 0;
};

class unix_lines final : public line_target<unix_stream> {
  public:
    unix_lines(const std::string& path, clock::duration end_within)
        : line_target(end_within),
          place_(unix_place(path)) {}

  protected:
    task<unix_stream> connect() override {
        co_return co_await timeout(connect_within, unix_stream::connect(place_));
    }

  private:
    endpoint place_;
};

class tcp_lines final : public line_target<tcp_stream> {
  public:
    tcp_lines(std::string_view place, clock::duration end_within)
        : line_target(end_within),
          place_(parse_host_and_port(place)) {}

  protected:
    task<tcp_stream> connect() override {
        co_return co_await timeout(connect_within, connect_to(place_.host, place_.port));
    }

  private:
    host_and_port place_;
};

class secured_lines final : public line_target<secured_peer> {
  public:
    secured_lines(std::string_view place, const tls_send_options& options,
                  clock::duration end_within)
        : line_target(end_within),
          place_(parse_host_and_port(place)),
          tls_(context_of(place_, options)) {}

  protected:
    task<secured_peer> connect() override { return secured_peer::connect(place_, tls_); }

  private:
    host_and_port place_;
    std::shared_ptr<const tls_context> tls_;
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

std::unique_ptr<send_target> make_unix_lines(const std::string& path, clock::duration end_within) {
    return std::make_unique<unix_lines>(path, end_within);
}

std::unique_ptr<send_target> make_tcp_lines(const std::string& place, clock::duration end_within) {
    return std::make_unique<tcp_lines>(place, end_within);
}

std::unique_ptr<send_target> make_secured_lines(const std::string& place,
                                                const tls_send_options& options,
                                                clock::duration end_within) {
    return std::make_unique<secured_lines>(place, options, end_within);
}

} // namespace sapwood::tools
