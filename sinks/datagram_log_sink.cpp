#include <sapwood/datagram_log_sink.hpp>

#include <sapwood/log_escape.hpp>
#include <sapwood/poll.hpp>
#include <sapwood/resolve.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fmt/format.h>
#include <memory>
#include <new>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace sapwood {

namespace {

/// In one system call. Few enough that the loop is not held up for longer than a tenth of a
/// millisecond.
constexpr std::size_t datagrams_max = 64;

/// However little a socket takes, so much is sent.
constexpr std::size_t datagram_bytes_least = 64;

/// Errors of a socket that is of no use any more.
bool is_connection_lost(int error) noexcept {
    return error != EAGAIN && error != EINTR && error != EMSGSIZE && error != ENOBUFS &&
           error != ENOMEM;
}

} // namespace

datagram_log_sink::datagram_log_sink(const datagram_limits& limits) : limits_(limits) {
    if (limits.bytes_max < datagram_bytes_least) {
        throw std::invalid_argument(
            fmt::format("datagram_limits: bytes_max must be at least {}", datagram_bytes_least));
    }
}

socket datagram_log_sink::connect_now(const endpoint& to, int type) {
    const std::string purpose = fmt::format("cannot log to {}", to.to_string());
    socket made(detail::make_socket(to.family(), type, purpose).release());
    if (::connect(made.fd(), to.data(), to.size()) != 0) {
        detail::throw_socket_error(errno, purpose);
    }
    return made;
}

task<> datagram_log_sink::open() {
    if (limits_.must_connect) {
        co_await connect_again();
    }
}

task<> datagram_log_sink::open_in_child() {
    // The parent's objects may have been in the middle of anything: they are left as they are.
    if (socket_.is_open()) {
        ::close(socket_.fd());
    }
    std::construct_at(&socket_);
    std::construct_at(&staged_);
    std::construct_at(&pieces_);
    return open();
}

task<> datagram_log_sink::close() {
    if (socket_.is_open()) {
        co_await socket_.close();
    }
}

task<> datagram_log_sink::connect_again() {
    socket_ = co_await connect();
    is_of_network_ = socket_.peer_endpoint().family() != AF_UNIX;
}

task<> datagram_log_sink::send(std::string_view lines) {
    bool may_reconnect = socket_.is_open();
    if (socket_.is_open() && is_outdated()) {
        co_await socket_.close();
    }
    while (kept() < lines.size()) {
        if (!socket_.is_open()) {
            co_await connect_again();
        }
        stage(lines.substr(kept()));
        if (const std::size_t sent = send_staged(); sent > 0) {
            keep(kept() + pieces_[sent - 1].line_end);
            co_await yield(); // others on this loop have their turn
            continue;
        }
        int error = errno;
        if (error == EMSGSIZE) {
            error = send_first_long();
            if (error == 0) {
                keep(kept() + pieces_.front().line_end);
                continue;
            }
        }
        if (error == EAGAIN) {
            co_await wait_for_room();
        } else if (error == ECONNREFUSED && is_of_network_) {
            // It is of a datagram before; this one was not sent.
            refusals_.fetch_add(1, std::memory_order_relaxed);
            if (has_failed()) {
                co_await socket_.close();
            }
        } else if (is_connection_lost(error)) {
            (void)has_failed();
            co_await socket_.close();
            if (!std::exchange(may_reconnect, false)) {
                throw std::system_error(error, std::generic_category(),
                                        fmt::format("sending to {}", describe()));
            }
        } else if (error != EINTR && error != EMSGSIZE) {
            throw std::system_error(error, std::generic_category(),
                                    fmt::format("sending to {}", describe()));
        }
    }
}

task<> datagram_log_sink::wait_for_room() {
    const auto ready = co_await as_result(timeout(limits_.give_up_after, poll(socket_, POLLOUT)));
    if (!ready.has_value()) {
        throw std::system_error(
            ready.error(),
            fmt::format("{} takes nothing: its queue is full; see whether it is alive",
                        describe()));
    }
}

void datagram_log_sink::stage(std::string_view lines) {
    staged_.clear();
    pieces_.clear();
    std::size_t at = 0;
    while (at < lines.size() && pieces_.size() < datagrams_max) {
        const std::size_t end = std::min(lines.find('\n', at), lines.size());
        encode(lines.substr(at, end - at), staged_);
        at = std::min(end + 1, lines.size());
        pieces_.push_back({at, staged_.size()});
    }
}

/// How many went; where it is none, errno says why.
std::size_t datagram_log_sink::send_staged() noexcept {
    std::array<mmsghdr, datagrams_max> messages{};
    std::array<iovec, datagrams_max> parts{};
    std::size_t begin = 0;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
        parts[i] = {staged_.data() + begin, pieces_[i].datagram_end - begin};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        begin = pieces_[i].datagram_end;
    }
    const int sent = ::sendmmsg(socket_.fd(), messages.data(),
                                static_cast<unsigned>(pieces_.size()), MSG_DONTWAIT | MSG_NOSIGNAL);
    return static_cast<std::size_t>(std::max(sent, 0));
}

/// The first one is too long: it goes another way, or is cut, from now on, to half of it.
int datagram_log_sink::send_first_long() {
    const std::string_view first(staged_.data(), pieces_.front().datagram_end);
    const int error = send_long(socket_.fd(), first);
    if (error == EMSGSIZE) {
        if (first.size() <= datagram_bytes_least) {
            throw std::system_error(
                error, std::generic_category(),
                fmt::format("{} takes no datagram of {} bytes", describe(), first.size()));
        }
        limits_.bytes_max = std::max(first.size() / 2, datagram_bytes_least);
    }
    return error;
}

void datagram_log_sink::encode(std::string_view line, std::string& to) {
    if (line.size() <= limits_.bytes_max) [[likely]] {
        to += line;
        return;
    }
    constexpr std::string_view mark = "\\(cut)";
    to += detail::cut_at_character(line, limits_.bytes_max - mark.size());
    to += mark;
    cut_.fetch_add(1, std::memory_order_relaxed);
}

int datagram_log_sink::send_long(int, std::string_view) {
    return EMSGSIZE;
}

bool datagram_log_sink::write_in_crash(std::span<const char> lines) noexcept {
    std::string_view rest(lines.data(), lines.size());
    if (are_being_sent(lines)) {
        rest.remove_prefix(std::min(kept(), rest.size()));
    }
    bool all = socket_.is_open();
    while (all && !rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        all = send_in_crash(socket_.fd(), rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return all;
}

bool datagram_log_sink::send_in_crash(int fd, std::string_view line) noexcept {
    const bool is_plain = !has_own_form(line);
    line = line.substr(0, limits_.bytes_max);
    std::array<iovec, 3> parts{
        {{before_last_words.data(), is_plain ? before_last_words.size() : 0},
         {const_cast<char*>(line.data()), line.size()},
         {behind_last_words.data(), is_plain ? behind_last_words.size() : 0}}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    return ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

// --- UDP ---

udp_log_sink::udp_log_sink(udp_log_sink_options options)
    : datagram_log_sink(options.limits),
      options_(std::move(options)) {
    if (options_.look_up_every.count() < 0) {
        throw std::invalid_argument("udp_log_sink_options: look_up_every must not be negative");
    }
}

std::string udp_log_sink::describe() const {
    return fmt::format("udp:{}:{}", options_.host, options_.port);
}

task<socket> udp_log_sink::connect() {
    if (addresses_.empty()) {
        resolver& names = options_.names != nullptr ? *options_.names : resolver::common();
        addresses_ = co_await timeout(give_up_after(), names.resolve(options_.host, options_.port));
        present_ = 0;
        note_look_up();
    }
    std::error_code first_error;
    std::string reasons;
    for (std::size_t tries = 0; tries < addresses_.size(); ++tries) {
        try {
            co_return connect_now(addresses_[present_], SOCK_DGRAM);
        } catch (const std::system_error& failure) {
            first_error = first_error ? first_error : failure.code();
            reasons += fmt::format("{}{}", reasons.empty() ? "" : "; ", failure.what());
        }
        (void)has_failed();
    }
    addresses_.clear(); // the next attempt looks it up anew
    throw std::system_error(first_error,
                            fmt::format("{} cannot be reached ({})", describe(), reasons));
}

bool udp_log_sink::has_failed() noexcept {
    present_ = addresses_.empty() ? 0 : (present_ + 1) % addresses_.size();
    return addresses_.size() > 1;
}

void udp_log_sink::note_look_up() {
    look_up_at_ = options_.look_up_every.count() > 0
                      ? saturating_add(event_loop::current().now(), options_.look_up_every)
                      : clock::time_point::max();
}

task<> udp_log_sink::look_up(std::shared_ptr<resolver> names, std::string host, std::string port,
                             std::shared_ptr<finding> into) {
    try {
        resolver& by = names != nullptr ? *names : resolver::common();
        into->addresses = co_await by.resolve(std::move(host), std::move(port));
    } catch (const std::system_error&) { // what is known goes on being used
    }
    into->is_done = true;
}

bool udp_log_sink::is_outdated() {
    if (finding_ == nullptr && event_loop::current().now() >= look_up_at_) {
        finding_ = std::make_shared<finding>();
        spawn(look_up(options_.names, options_.host, options_.port, finding_),
              {.name = "log host look-up"})
            .detach();
        note_look_up();
    }
    if (finding_ == nullptr || !finding_->is_done) {
        return false;
    }
    const auto found = std::exchange(finding_, nullptr);
    if (found->addresses.empty() || found->addresses == addresses_) {
        return false;
    }
    addresses_ = std::move(found->addresses);
    present_ = 0;
    return true;
}

} // namespace sapwood
