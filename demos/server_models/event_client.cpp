#include "event_client.hpp"

#include <array>
#include <cerrno>
#include <sys/socket.h>

namespace server_models {

event_client::event_client(descriptor socket, const service& what)
    : what_(&what),
      socket_(std::move(socket)),
      name_(peer_of(fd())) {
    what_->say("new connection from {}", name_);
}

bool event_client::on_ready() {
    return wants_to_write() ? write() : read();
}

bool event_client::read() {
    std::array<char, message_bytes_max> bytes;
    const ssize_t got = ::recv(fd(), bytes.data(), bytes.size(), 0);
    if (got < 0) {
        return is_still_here(errno);
    }
    if (got == 0) {
        return is_still_here(0);
    }
    const std::span<char> message(bytes.data(), static_cast<std::size_t>(got));
    what_->answer(message);
    // Nearly always it goes out at once, and nothing has to be kept.
    const ssize_t sent = ::send(fd(), message.data(), message.size(), MSG_NOSIGNAL);
    if (sent < 0 && !is_still_here(errno)) {
        return false;
    }
    const auto rest = message.subspan(sent > 0 ? static_cast<std::size_t>(sent) : 0);
    owed_.assign(rest.data(), rest.size());
    return true;
}

bool event_client::write() {
    const ssize_t sent = ::send(fd(), owed_.data(), owed_.size(), MSG_NOSIGNAL);
    if (sent < 0) {
        return is_still_here(errno);
    }
    owed_.erase(0, static_cast<std::size_t>(sent));
    return true;
}

/// Readiness is a hint: it may be over when the call comes.
bool event_client::is_still_here(int error) const {
    if (error == EAGAIN || error == EINTR) {
        return true;
    }
    say_gone(*what_, name_, error);
    return false;
}

} // namespace server_models
