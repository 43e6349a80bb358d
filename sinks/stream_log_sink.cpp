#include <sapwood/stream_log_sink.hpp>

#include <sapwood/connect.hpp>
#include <sapwood/log_escape.hpp>
#include <sapwood/shield.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fmt/format.h>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <new>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace sapwood {

namespace {

/// Framed at a time.
constexpr std::size_t staged_bytes = 64u << 10;

constexpr std::size_t record_bytes_least = 64;

constexpr clock::duration farewell_at_most = std::chrono::seconds(1);

} // namespace

clock::duration detail::random_backoff::failed() {
    const unsigned doublings = std::min(failures_++, 20u);
    clock::duration bound = first_;
    for (unsigned i = 0; i < doublings && bound < max_; ++i) {
        bound *= 2;
    }
    using count = clock::duration::rep;
    std::uniform_int_distribution<count> any(0, std::min(bound, max_).count());
    return clock::duration(any(random_));
}

stream_log_sink::stream_log_sink(const stream_log_options& options)
    : options_(options),
      backoff_(options.retry_first, options.retry_max) {
    if (options.record_bytes_max < record_bytes_least) {
        throw std::invalid_argument(fmt::format(
            "stream_log_options: record_bytes_max must be at least {}", record_bytes_least));
    }
    if (options.retry_first.count() < 0 || options.retry_max.count() < 0) {
        throw std::invalid_argument(
            "stream_log_options: retry_first and retry_max must not be negative");
    }
}

task<> stream_log_sink::open() {
    if (options_.must_connect) {
        co_await connect_again();
    }
}

task<> stream_log_sink::open_in_child() {
    // The parent's objects may have been in the middle of anything: they are left as they are.
    if (connection_.is_open()) {
        ::close(connection_.fd());
    }
    std::construct_at(&connection_);
    std::construct_at(&staged_);
    std::construct_at(&pieces_);
    last_failure_ = {};
    return open();
}

task<> stream_log_sink::connect_again() {
    event_loop& loop = event_loop::current();
    if (last_failure_ && loop.now() < next_attempt_) {
        throw std::system_error(last_failure_, fmt::format("{} could not be reached", describe()));
    }
    try {
        connection_ = co_await timeout(options_.connect_within, connect());
    } catch (const std::system_error& error) {
        last_failure_ = error.code();
        next_attempt_ = saturating_add(loop.now(), backoff_.failed());
        throw;
    }
    last_failure_ = {};
    backoff_.succeeded();
}

task<> stream_log_sink::close() {
    if (!connection_.is_open()) {
        co_return;
    }
    // A reset that meets what the peer has not read yet would take it away: it ends first.
    const auto ended = co_await as_result(connection_.shutdown_write());
    char ignored[512];
    bool may_read = ended.has_value();
    const clock::time_point until = saturating_add(event_loop::current().now(), farewell_at_most);
    while (may_read) {
        const auto got =
            co_await as_result(deadline(until, connection_.read_some(std::span(ignored))));
        may_read = got.has_value() && *got > 0;
    }
    co_await connection_.close();
}

task<> stream_log_sink::write(std::span<const char> lines) {
    const auto shielded = co_await shield();
    std::size_t kept = 0;
    try {
        co_await send({lines.data(), lines.size()}, kept);
    } catch (const std::system_error& error) {
        if (kept == 0) {
            throw;
        }
        throw write_error(error.code(), fmt::format("sending to {}", describe()), kept);
    } catch (const std::bad_alloc&) {
        if (kept == 0) {
            throw;
        }
        throw write_error(make_error_code(std::errc::not_enough_memory), "sending", kept);
    }
}

task<> stream_log_sink::send(std::string_view lines, std::size_t& kept) {
    // A connection of before may be gone without having said so; a new one that fails is a failure.
    bool may_reconnect = connection_.is_open();
    if (connection_.is_open() && peer_has_ended()) {
        co_await connection_.close();
    }
    while (kept < lines.size()) {
        if (!connection_.is_open()) {
            co_await connect_again();
        }
        stage(lines.substr(kept));
        std::size_t sent = 0;
        const std::error_code failure = co_await send_staged(sent);
        kept += lines_within(sent);
        if (failure) {
            co_await connection_.close();
            if (!std::exchange(may_reconnect, false)) {
                throw std::system_error(
                    failure, failure == std::errc::timed_out
                                 ? fmt::format("{} does not read what it is sent", describe())
                                 : fmt::format("sending to {}", describe()));
            }
        }
    }
}

task<std::error_code> stream_log_sink::send_staged(std::size_t& sent) {
    while (sent < staged_.size()) {
        const std::span<const char> rest(staged_.data() + sent, staged_.size() - sent);
        const auto got =
            co_await as_result(timeout(options_.give_up_after, connection_.write_some(rest)));
        if (!got.has_value()) {
            co_return got.error();
        }
        sent += *got;
    }
    co_return std::error_code();
}

/// Whether the peer is known to be gone: what is sent to it would get lost. What it says is
/// dropped.
bool stream_log_sink::peer_has_ended() noexcept {
    std::array<char, 512> ignored; // NOLINT: filled by recv
    ssize_t got = 0;
    do {
        got = ::recv(connection_.fd(), ignored.data(), ignored.size(), MSG_DONTWAIT);
    } while (got > 0 || (got < 0 && errno == EINTR));
    return got == 0 || errno != EAGAIN;
}

void stream_log_sink::stage(std::string_view lines) {
    staged_.clear();
    pieces_.clear();
    for (std::size_t at = 0; at < lines.size() && staged_.size() < staged_bytes;) {
        const std::size_t end = std::min(lines.find('\n', at), lines.size());
        const std::string_view line = lines.substr(at, end - at);
        if (line.size() <= options_.record_bytes_max) [[likely]] {
            frame(line);
        } else {
            constexpr std::string_view mark = "\\(cut)";
            std::string shorter(
                detail::cut_at_character(line, options_.record_bytes_max - mark.size()));
            frame(shorter += mark);
        }
        at = std::min(end + 1, lines.size());
        pieces_.push_back({at, staged_.size()});
    }
}

void stream_log_sink::frame(std::string_view line) {
    switch (options_.framing) {
    case log_framing::newline:
        staged_ += line;
        staged_ += '\n';
        return;
    case log_framing::octet_counted:
        staged_ += std::to_string(line.size());
        staged_ += ' ';
        staged_ += line;
        return;
    case log_framing::length_prefixed:
        for (int shift = 24; shift >= 0; shift -= 8) {
            staged_ += static_cast<char>(line.size() >> shift & 0xff);
        }
        staged_ += line;
        return;
    case log_framing::nul_ended:
        staged_ += line;
        staged_ += '\0';
        return;
    }
}

/// How many bytes of lines are whole frames within the first `sent` of staged_.
std::size_t stream_log_sink::lines_within(std::size_t sent) const noexcept {
    const auto first_beyond =
        std::ranges::upper_bound(pieces_, sent, {}, [](const piece& one) { return one.frame_end; });
    return first_beyond == pieces_.begin() ? 0 : std::prev(first_beyond)->line_end;
}

// --- TCP ---

tcp_log_sink::tcp_log_sink(tcp_log_sink_options options)
    : stream_log_sink(options.stream),
      host_(std::move(options.host)),
      port_(std::move(options.port)),
      give_up_after_(options.stream.give_up_after) {}

std::string tcp_log_sink::describe() const {
    return fmt::format("tcp:{}:{}", host_, port_);
}

task<stream> tcp_log_sink::connect() {
    tcp_stream made = co_await connect_to(host_, port_);
    const std::string purpose = fmt::format("cannot log to {}", describe());
    // A host that has vanished is noticed: by probes where nothing is sent, and otherwise when it
    // acknowledges nothing.
    detail::set_option(made.fd(), SOL_SOCKET, SO_KEEPALIVE, 1, purpose);
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(give_up_after_).count();
    detail::set_option(made.fd(), IPPROTO_TCP, TCP_USER_TIMEOUT,
                       static_cast<int>(std::clamp<std::int64_t>(ms, 1, 1 << 30)), purpose);
    co_return stream(made.release());
}

} // namespace sapwood
