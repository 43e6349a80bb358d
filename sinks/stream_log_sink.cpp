#include <sapwood/stream_log_sink.hpp>

#include <sapwood/connect.hpp>
#include <sapwood/log_escape.hpp>
#include <sapwood/poll.hpp>
#include <sapwood/resolve.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <ctime>
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

stream_log_sink::stream_log_sink(const stream_log_options& options)
    : options_(options),
      backoff_(options.retry_first, options.retry_max),
      crash_patience_ms_(
          std::chrono::duration_cast<std::chrono::milliseconds>(options.crash_patience).count()) {
    if (options.record_bytes_max < record_bytes_least) {
        throw std::invalid_argument(fmt::format(
            "stream_log_options: record_bytes_max must be at least {}", record_bytes_least));
    }
    if (options.retry_first.count() < 0 || options.retry_max.count() < 0) {
        throw std::invalid_argument(
            "stream_log_options: retry_first and retry_max must not be negative");
    }
    if (options.crash_patience.count() < 0) {
        throw std::invalid_argument("stream_log_options: crash_patience must not be negative");
    }
}

task<> stream_log_sink::open() {
    if (options_.must_connect) {
        co_await connect_again();
    }
}

task<> stream_log_sink::open_in_child() {
    // The parent's objects may have been in the middle of anything: they are left as they are.
    fd_.store(-1, std::memory_order_relaxed);
    is_staged_.store(false, std::memory_order_relaxed);
    std::construct_at(&gate_);
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
    (void)gate_.enter(); // this connection no handler has touched
    fd_.store(connection_.fd(), std::memory_order_release);
    gate_.leave();
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
    co_await disconnect();
}

task<> stream_log_sink::disconnect() {
    (void)gate_.enter();
    fd_.store(-1, std::memory_order_relaxed);
    is_staged_.store(false, std::memory_order_relaxed);
    gate_.leave();
    co_await connection_.close();
}

task<> stream_log_sink::send(std::string_view lines) {
    // A connection of before may be gone without having said so; a new one that fails is a failure.
    bool may_reconnect = connection_.is_open();
    if (connection_.is_open() && peer_has_ended()) {
        co_await disconnect();
    }
    while (kept() < lines.size()) {
        if (!connection_.is_open()) {
            co_await connect_again();
        }
        stage(lines.substr(kept()));
        const std::error_code failure = co_await send_staged();
        is_staged_.store(false, std::memory_order_relaxed);
        keep(kept() + lines_within(sent_.load(std::memory_order_relaxed)));
        if (failure) {
            co_await disconnect();
            if (!std::exchange(may_reconnect, false)) {
                throw std::system_error(
                    failure, failure == std::errc::timed_out
                                 ? fmt::format("{} does not read what it is sent", describe())
                                 : fmt::format("sending to {}", describe()));
            }
        }
    }
}

task<std::error_code> stream_log_sink::send_staged() {
    while (sent_.load(std::memory_order_relaxed) < staged_.size()) {
        const int error = send_some();
        if (error == EAGAIN) {
            const auto ready =
                co_await as_result(timeout(options_.give_up_after, poll(connection_, POLLOUT)));
            if (!ready.has_value()) {
                co_return ready.error();
            }
        } else if (error == 0) {
            co_await yield(); // others on this loop have their turn
        } else if (error != EINTR) {
            co_return std::error_code(error, std::generic_category());
        }
    }
    co_return std::error_code();
}

/// By a system call that does not wait, and not by the ring: so it is known at any moment, in a
/// crash as well, how much of a record has gone.
int stream_log_sink::send_some() noexcept {
    int error = ECONNABORTED; // a handler has sent something: the connection is of no use any more
    if (gate_.enter()) {
        const std::size_t sent = sent_.load(std::memory_order_relaxed);
        const ssize_t got = ::send(connection_.fd(), staged_.data() + sent, staged_.size() - sent,
                                   MSG_DONTWAIT | MSG_NOSIGNAL);
        error = got < 0 ? errno : 0;
        sent_.store(sent + static_cast<std::size_t>(std::max<ssize_t>(got, 0)),
                    std::memory_order_relaxed);
    }
    gate_.leave();
    return error;
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
    is_staged_.store(false, std::memory_order_relaxed);
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
    sent_.store(0, std::memory_order_relaxed);
    is_staged_.store(true, std::memory_order_release);
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

// --- in a crash ---

bool stream_log_sink::write_in_crash(std::span<const char> lines) noexcept {
    gate_.take();
    const bool all = send_in_crash(lines);
    gate_.give_back();
    return all;
}

bool stream_log_sink::send_in_crash(std::span<const char> lines) noexcept {
    const int fd = fd_.load(std::memory_order_acquire);
    if (fd < 0) {
        return false;
    }
    (void)peer_has_ended(); // what it has said, and nobody has read, would have the kernel reset
    std::string_view rest(lines.data(), lines.size());
    bool all = !are_being_sent(lines) || end_write_in_crash(fd, rest);
    while (all && !rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        all = send_line_in_crash(fd, rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    if (!all) {
        // Perhaps in the middle of a record: nothing may come behind it.
        ::shutdown(fd, SHUT_WR);
    }
    return all;
}

/// Ends the record that is sent in part. Leaves in `lines` what nothing has been sent of.
bool stream_log_sink::end_write_in_crash(int fd, std::string_view& lines) noexcept {
    std::size_t done = kept();
    std::string_view begun;
    if (is_staged_.exchange(false, std::memory_order_acquire)) {
        const std::size_t sent = sent_.load(std::memory_order_relaxed);
        const auto next = std::ranges::upper_bound(pieces_, sent, {},
                                                   [](const piece& one) { return one.frame_end; });
        const std::size_t frame = next == pieces_.begin() ? 0 : std::prev(next)->frame_end;
        done += lines_within(sent);
        if (next != pieces_.end() && sent > frame) {
            begun = std::string_view(staged_).substr(sent, next->frame_end - sent);
            done = kept() + next->line_end;
        }
    }
    lines.remove_prefix(std::min(done, lines.size()));
    return begun.empty() || send_parts_in_crash(fd, std::span(&begun, 1));
}

bool stream_log_sink::send_line_in_crash(int fd, std::string_view line) noexcept {
    const bool is_plain = !has_own_form(line);
    const std::string_view before = is_plain ? before_last_words : std::string_view();
    const std::string_view behind = is_plain ? behind_last_words : std::string_view();
    const std::size_t around = std::min(before.size() + behind.size(), options_.record_bytes_max);
    line = line.substr(0, options_.record_bytes_max - around);
    const std::size_t size = around + line.size();
    std::array<char, 24> head; // NOLINT: filled below
    std::size_t head_bytes = 0;
    std::string_view tail;
    switch (options_.framing) {
    case log_framing::newline:
        tail = "\n";
        break;
    case log_framing::octet_counted: {
        char* const end = std::to_chars(head.data(), head.data() + head.size() - 1, size).ptr;
        *end = ' ';
        head_bytes = static_cast<std::size_t>(end + 1 - head.data());
        break;
    }
    case log_framing::length_prefixed:
        for (int shift = 24; shift >= 0; shift -= 8) {
            head[head_bytes++] = static_cast<char>(size >> shift & 0xff);
        }
        break;
    case log_framing::nul_ended:
        tail = std::string_view("\0", 1);
        break;
    }
    const std::string_view parts[] = {{head.data(), head_bytes}, before, line, behind, tail};
    return send_parts_in_crash(fd, parts);
}

bool stream_log_sink::send_parts_in_crash(int fd,
                                          std::span<const std::string_view> parts) noexcept {
    std::array<iovec, 5> left; // NOLINT: filled below
    std::size_t count = 0;
    for (const std::string_view each : parts) {
        left[count++] = {const_cast<char*>(each.data()), each.size()};
    }
    for (std::size_t first = 0; first < count;) {
        if (left[first].iov_len == 0) {
            ++first;
            continue;
        }
        msghdr message{};
        message.msg_iov = &left[first];
        message.msg_iovlen = count - first;
        ssize_t got = ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (got < 0 && (errno == EAGAIN ? !wait_in_crash(fd) : errno != EINTR)) {
            return false;
        }
        for (std::size_t i = first; i < count && got > 0; ++i) {
            const auto taken = std::min(static_cast<std::size_t>(got), left[i].iov_len);
            left[i] = {static_cast<char*>(left[i].iov_base) + taken, left[i].iov_len - taken};
            got -= static_cast<ssize_t>(taken);
        }
    }
    return true;
}

/// For room, as long as there is patience left.
bool stream_log_sink::wait_in_crash(int fd) noexcept {
    const auto now_ms = [] {
        timespec time{};
        ::clock_gettime(CLOCK_MONOTONIC, &time);
        return time.tv_sec * 1000 + time.tv_nsec / 1'000'000;
    };
    const auto began = now_ms();
    pollfd room{.fd = fd, .events = POLLOUT, .revents = 0};
    const int ready =
        ::poll(&room, 1, static_cast<int>(std::clamp<std::int64_t>(crash_patience_ms_, 0, 60'000)));
    crash_patience_ms_ -= now_ms() - began;
    return ready > 0 || (ready < 0 && errno == EINTR && crash_patience_ms_ > 0);
}

// --- TCP ---

tcp_log_sink::tcp_log_sink(tcp_log_sink_options options)
    : stream_log_sink(options.stream),
      host_(std::move(options.host)),
      port_(std::move(options.port)),
      give_up_after_(options.stream.give_up_after),
      names_(std::move(options.names)) {}

std::string tcp_log_sink::describe() const {
    return fmt::format("tcp:{}:{}", host_, port_);
}

task<stream> tcp_log_sink::connect() {
    tcp_stream made;
    if (names_ != nullptr) {
        const auto addresses = co_await names_->resolve(host_, port_);
        made = co_await connect_to_any(detail::by_turns(addresses));
    } else {
        made = co_await connect_to(host_, port_);
    }
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
