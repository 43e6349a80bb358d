#include "datagram_source.hpp"

#include "line_session.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>

namespace sapwood::collector {

namespace {

/// The longest that UDP carries.
constexpr std::size_t datagram_bytes_max = 64u << 10;

/// What the kernel is asked to keep while we do not look; it gives less where net.core.rmem_max
/// says so.
constexpr int socket_buffer_bytes = 4 << 20;

[[noreturn]] void fail(int error, const std::string& what) {
    throw std::system_error(error, std::generic_category(), what);
}

/// Whether somebody receives at the path.
bool is_alive(const endpoint& at) {
    const owned_fd probe = detail::make_socket(AF_UNIX, SOCK_DGRAM, "cannot look at a socket");
    return ::connect(probe.fd(), at.data(), at.size()) == 0;
}

void remove_dead(const endpoint& at, const std::string& path) {
    struct stat found {};

    if (::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode) && !is_alive(at)) {
        ::unlink(path.c_str());
    }
}

/// A message, its sender and its control data.
struct received_message {
    explicit received_message(char* into) : part{into, datagram_bytes_max} { reset(); }

    void reset() {
        header = {};
        header.msg_name = &name;
        header.msg_namelen = sizeof(name);
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        header.msg_control = control.data();
        header.msg_controllen = control.size();
    }

    iovec part;
    sockaddr_storage name{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control{};
    msghdr header{};
};

/// Of a Unix socket's message.
ucred sender_of(const msghdr& message) {
    ucred who{};
    for (auto* at = CMSG_FIRSTHDR(&message); at != nullptr;
         at = CMSG_NXTHDR(const_cast<msghdr*>(&message), at)) {
        if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_CREDENTIALS) {
            std::memcpy(&who, CMSG_DATA(at), sizeof(who));
        }
    }
    return who;
}

} // namespace

datagram_source::datagram_source(const endpoint& at, mode_t mode)
    : buffer_(new char[datagram_bytes_max]) {
    const std::string purpose = fmt::format("cannot receive at {}", at.to_string());
    socket_ = socket(detail::make_socket(at.family(), SOCK_DGRAM, purpose).release());
    const std::string path = at.path();
    if (!path.empty()) {
        remove_dead(at, path);
    }
    ::setsockopt(socket_.fd(), SOL_SOCKET, SO_RCVBUF, &socket_buffer_bytes,
                 sizeof(socket_buffer_bytes));
    if (at.family() == AF_UNIX) {
        detail::set_option(socket_.fd(), SOL_SOCKET, SO_PASSCRED, 1, purpose);
    }
    // Nobody may send before the mode is what it is to be.
    const mode_t before = ::umask(0777 & ~mode);
    const int bound = ::bind(socket_.fd(), at.data(), at.size());
    const int error = errno;
    ::umask(before);
    if (bound != 0) {
        fail(error, purpose);
    }
    path_ = path;
}

datagram_source::datagram_source(owned_fd inherited)
    : socket_(inherited.release()),
      buffer_(new char[datagram_bytes_max]) {
    if (socket_.local_endpoint().family() == AF_UNIX) {
        detail::set_option(socket_.fd(), SOL_SOCKET, SO_PASSCRED, 1,
                           "cannot see who sends to an inherited socket");
    }
}

datagram_source::~datagram_source() {
    if (!path_.empty()) {
        ::unlink(path_.c_str());
    }
}

task<> datagram_source::run(intake& shared, named_log& to) {
    received_message message(buffer_.get());
    bool was_cancelled = false;
    while (!was_cancelled) {
        message.reset();
        const auto got = co_await as_result(detail::receive_message_op(socket_, message.header, 0));
        if (got) {
            co_await take(shared, to, *got, message.header);
        } else if (got.error() == std::errc::operation_canceled) {
            was_cancelled = true;
        } else if (got.error() == std::errc::not_enough_memory ||
                   got.error() == std::errc::no_buffer_space) {
            continue;
        } else {
            throw std::system_error(got.error(), "receive datagrams");
        }
    }
    co_await take_rest(shared, to);
    throw cancelled{};
}

/// What the kernel has already: without waiting for more.
task<> datagram_source::take_rest(intake& shared, named_log& to) {
    constexpr unsigned rest_max = 100'000; // or it might never end
    received_message message(buffer_.get());
    for (unsigned i = 0; i < rest_max; ++i) {
        message.reset();
        const ssize_t got = ::recvmsg(socket_.fd(), &message.header, MSG_DONTWAIT | MSG_TRUNC);
        if (got < 0) {
            break;
        }
        co_await take(shared, to, static_cast<std::size_t>(got), message.header);
    }
}

task<> datagram_source::take(intake& shared, named_log& to, std::size_t size,
                             const msghdr& message) {
    const std::size_t kept = std::min({size, datagram_bytes_max, shared.limits.line_bytes_max});
    const bool is_cut = kept < size || (message.msg_flags & MSG_TRUNC) != 0;
    source from;
    if (socket_.local_endpoint().family() == AF_UNIX) {
        const ucred who = sender_of(message);
        if (!is_user(users_, who.uid)) {
            ++shared.gate.users_refused;
            co_return;
        }
        from = source::process("unix", who.pid, who.uid, who.gid);
    } else {
        from = source::network(
            "udp", endpoint(static_cast<const sockaddr*>(message.msg_name), message.msg_namelen));
    }
    record made = encode_syslog(to, from, {buffer_.get(), kept}, is_cut);
    shared.counts.record_bytes += made.message().size();
    ++shared.counts.records;
    (void)co_await to.log().append(std::move(made));
}

} // namespace sapwood::collector
